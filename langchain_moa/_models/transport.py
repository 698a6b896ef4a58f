"""One pool of HTTP clients for every model that is built from a string."""

from __future__ import annotations

import asyncio
import atexit
import importlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import cache, partial
from time import monotonic
from typing import Any

import aiohttp
import openai

from langchain_moa._runtime.sync_bridge import check_not_left_behind

# The HTTP library that the SDK uses: httpx, or httpx2 since openai 3.
_httpx: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])


_KEPT_SECONDS = 30.0
"""That a connection without a request stays open."""


class _Client(openai.DefaultHttpxClient):
    """Send each request through a client that no other request is using.

    A pool of httpx looks through all of its connections, under a lock, for every request: one for all threads would
    cost a third of a call more at a hundred calls at once.
    """

    def __init__(self) -> None:
        super().__init__(verify=_tls())
        self._idle: deque[tuple[float, Any]] = deque()
        """Clients, and until when they are kept. The last one in is the first one out, so that the others can close."""
        self._lock = threading.Lock()

    def send(self, request: Any, **options: Any) -> Any:
        """Send `request`, unless nobody waits for it any more: the SDK would try a slow one three times."""
        check_not_left_behind()
        client = self._take()
        try:
            response = client.send(request, **options)
        except BaseException:
            self._give_back(client)
            raise
        if response.is_closed:
            self._give_back(client)
        else:
            response.stream = _Lent(response.stream, partial(self._give_back, client))
        return response

    def _take(self) -> Any:
        with self._lock:
            if self._idle:
                return self._idle.pop()[1]
        limits = _httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEPT_SECONDS)
        return openai.DefaultHttpxClient(limits=limits, verify=_tls())

    def _give_back(self, client: Any) -> None:
        now = monotonic()
        late = []
        with self._lock:
            self._idle.append((now + _KEPT_SECONDS, client))
            while self._idle[0][0] < now:
                late.append(self._idle.popleft()[1])
        for one in late:
            one.close()

    def close(self) -> None:
        """Close the connections that wait for a request."""
        with self._lock:
            idle = [client for _, client in self._idle]
            self._idle.clear()
        for client in idle:
            client.close()
        super().close()


class _Lent(_httpx.SyncByteStream):  # type: ignore[misc]
    """A response's stream, which gives its client back when it is closed."""

    def __init__(self, stream: Any, give_back: Callable[[], None]) -> None:
        self._stream = stream
        self._give_back = give_back

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
        self._give_back()


class _PerLoopClient(openai.DefaultAsyncHttpxClient):
    """Send each request through a client of the running event loop, because a connection belongs to its loop."""

    def __init__(self) -> None:
        super().__init__(verify=_tls())
        self._clients: dict[asyncio.AbstractEventLoop, tuple[Any, AsyncGenerator[None]]] = {}

    async def send(self, request: Any, **options: Any) -> Any:
        """Send `request` through the running loop's own client."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = _async_client()
            closer = self._close_with(loop, client)
            self._clients[loop] = client, closer
            await anext(closer)
        try:
            return await self._clients[loop][0].send(request, **options)
        except _httpx.ConnectTimeout as error:
            # The SDK's aiohttp transport calls a dropped connection a timeout (openai 3.54).
            if isinstance(error.__cause__, aiohttp.ServerDisconnectedError):
                raise _httpx.RemoteProtocolError("The server dropped the connection.", request=request) from error
            raise

    async def _close_with(self, loop: asyncio.AbstractEventLoop, client: Any) -> AsyncGenerator[None]:
        # A loop tells nobody that it ends, but `asyncio.run` closes the async generators that still wait in it.
        try:
            yield
        finally:
            del self._clients[loop]
            await client.aclose()

    async def aclose(self) -> None:
        """Close the running loop's client."""
        if entry := self._clients.get(asyncio.get_running_loop()):
            await entry[1].aclose()


def _async_client() -> Any:
    """Return a client on aiohttp's transport: httpx's pool looks through all of its connections at every request."""
    # A mixture makes several calls at once, and one pool serves all mixtures of an event loop.
    limits = _httpx.Limits(max_connections=5000, max_keepalive_connections=500, keepalive_expiry=_KEPT_SECONDS)
    try:
        return openai.DefaultAioHttpClient(limits=limits)
    except RuntimeError:  # an SDK that was installed without it
        return openai.DefaultAsyncHttpxClient(limits=limits)


@cache
def _tls() -> Any:
    """Return the process's TLS context: to build one takes longer than all the rest of a client."""
    return _httpx.create_ssl_context()


@cache
def http_clients() -> dict[str, Any]:
    """Return the process's sync and async client, as keyword arguments of an OpenAI-compatible chat model.

    Every model gets the same two: a client of its own costs a TLS context and a pool each, and dropping one on a
    running event loop can hang the requests of others (openai-python issue 2440).
    """
    client = _Client()
    atexit.register(client.close)
    return {"http_client": client, "http_async_client": _PerLoopClient()}
