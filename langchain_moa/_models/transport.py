"""One pool of HTTP clients for every model that is built from a string."""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib
import os
import socket
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from math import inf
from time import monotonic
from typing import Any

import aiohttp
import openai

from langchain_moa._runtime.forks import keep_collecting
from langchain_moa._runtime.sync_bridge import check_not_left_behind, when_left_behind

# The HTTP library that the SDK uses: httpx, or httpx2 since openai 3.
_httpx: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])


# The SDK loads it at its first retry (openai 3.57, anyio 4). Python does not release a lock on a module that another
# thread was importing when the process forked: the child would wait for it forever.
with suppress(ImportError):
    importlib.import_module("anyio._backends._asyncio")

# The connections of a busy process are among what its collector closes.
keep_collecting()


_KEPT_SECONDS = 30.0
"""That a connection without a request stays open."""


class _Connection:
    """A client that serves one request at a time, and whose sockets another thread may shut down."""

    def __init__(self, proxy: str | None) -> None:
        limits = _httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEPT_SECONDS)
        self.client = openai.DefaultHttpxClient(limits=limits, verify=_tls(), proxy=proxy)
        self._sockets: list[socket.socket] = []
        """One for each server that it was connected to. Which of them serves a request httpx does not tell."""

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Note a connection when it is made: httpx's `trace` extension."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            stream = info["return_value"]
            made = stream.get_extra_info("socket")
            self._sockets = [*(one for one in self._sockets if one.fileno() >= 0), made]
            try:
                check_not_left_behind()
            except BaseException:
                stream.close()  # httpcore drops a connection whose tracer raises, and leaves it open
                raise

    def shut_down(self) -> None:
        """End what a thread is reading; closing the socket would not wake it.

        The other sockets are idle, and the client connects again when it needs them.
        """
        for one in self._sockets:
            with suppress(OSError):  # it is closed
                # An SSLSocket's own method would take away what the other thread is using.
                socket.socket.shutdown(one, socket.SHUT_RDWR)


class _Client(openai.DefaultHttpxClient):
    """Send each request through a client that no other request is using.

    A pool of httpx looks through all of its connections, under a lock, for every request: one for all threads would
    cost a third of a call more at a hundred calls at once.
    """

    def __init__(self, proxy: str | None = None) -> None:
        super().__init__(verify=_tls())
        self._proxy = proxy
        self.forget()

    def build_request(self, method: str, url: Any, **options: Any) -> Any:
        """Build a request."""
        return super().build_request(method, _parsed(url), **options)

    def forget(self) -> None:
        """Drop all connections without a word to the server: a forked process must not use its parent's."""
        self._idle: deque[tuple[float, _Connection]] = deque()
        """Until when they are kept. The last one in is the first one out, so that the others can close."""
        self._lock = threading.Lock()

    def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Send `request`, as long as somebody waits for it: the SDK would try a slow one three times."""
        check_not_left_behind()
        connection = self._take()
        try:
            stop_watching = when_left_behind(connection.shut_down)
        except BaseException:
            self._give_back(connection)
            raise

        def end() -> None:
            stop_watching()
            self._give_back(connection)

        request.extensions["trace"] = connection.trace
        ends_at = None if stream else monotonic() + (_read_timeout(request) or inf)
        try:
            response = connection.client.send(request, stream=True, **options)
        except BaseException:
            end()
            check_not_left_behind()
            raise
        response.stream = _Lent(response.stream, end, request, ends_at)
        if not stream:
            try:
                response.read()
            except BaseException:
                response.close()
                raise
        return response

    def _take(self) -> _Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()[1]
        return _Connection(self._proxy)

    def _give_back(self, connection: _Connection) -> None:
        now = monotonic()
        late = []
        with self._lock:
            self._idle.append((now + _KEPT_SECONDS, connection))
            while self._idle[0][0] < now:
                late.append(self._idle.popleft()[1])
        for one in late:
            one.client.close()

    def close(self) -> None:
        """Close the connections that wait for a request."""
        with self._lock:
            idle = [connection for _, connection in self._idle]
            self._idle.clear()
        for connection in idle:
            connection.client.close()
        super().close()


class _Lent(_httpx.SyncByteStream):  # type: ignore[misc]
    """A response's stream, which gives its connection back when it is closed."""

    def __init__(self, stream: Any, end: Callable[[], None], request: Any, ends_at: float | None) -> None:
        self._stream = stream
        self._end: Callable[[], None] | None = end
        self._request = request
        self._ends_at = ends_at

    def __iter__(self) -> Iterator[bytes]:
        try:
            if self._ends_at is None:
                yield from self._stream
            else:
                yield from self._in_time(self._ends_at)
        except Exception:
            check_not_left_behind()
            raise

    def _in_time(self, ends_at: float) -> Iterator[bytes]:
        # httpx's timeout is for each read: a byte a second would never end.
        for data in self._stream:
            if monotonic() > ends_at:
                raise _httpx.ReadTimeout("The answer took too long.", request=self._request)
            yield data

    def close(self) -> None:
        """Close the stream."""
        end, self._end = self._end, None
        try:
            self._stream.close()
        finally:
            if end:
                end()


class _PerLoopClient(openai.DefaultAsyncHttpxClient):
    """Send each request through a client of the running event loop, because a connection belongs to its loop."""

    def __init__(self, proxy: str | None = None) -> None:
        super().__init__(verify=_tls())
        self._proxy = proxy
        self._clients: dict[asyncio.AbstractEventLoop, tuple[Any, AsyncGenerator[None]]] = {}

    def build_request(self, method: str, url: Any, **options: Any) -> Any:
        """Build a request."""
        return super().build_request(method, _parsed(url), **options)

    def forget(self) -> None:
        """Drop all connections without a word to the server: a forked process must not use its parent's."""
        # Kept: to collect them would take their sockets out of the parent's selector, which the child shares.
        _inherited.append(self._clients)
        self._clients = {}

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Send `request` through the running loop's own client."""
        client = await self._of_loop(asyncio.get_running_loop())
        try:
            # The transport's timeout is for each read: a byte a second would never end.
            async with asyncio.timeout(None if stream else _read_timeout(request)):
                return await client.send(request, stream=stream, **options)
        except TimeoutError as error:
            raise _httpx.ReadTimeout("The answer took too long.", request=request) from error
        except _httpx.TimeoutException as error:
            # The SDK's aiohttp transport calls every failure of a connection a timeout (openai 3.57).
            if isinstance(error.__cause__, aiohttp.ClientError) and not isinstance(error.__cause__, TimeoutError):
                raise _httpx.NetworkError(str(error), request=request) from error.__cause__
            raise

    async def _of_loop(self, loop: asyncio.AbstractEventLoop) -> Any:
        if entry := self._clients.get(loop):
            return entry[0]
        closed = [one for one in list(self._clients) if one.is_closed()]
        if len(closed) >= _MOST_CLOSED_LOOPS:
            for one in closed:
                if entry := self._clients.pop(one, None):
                    await entry[0].aclose()
            gc.collect()  # a closed loop's transports can't be closed: their sockets go with them
        client = _async_client(self._proxy)
        closer = self._close_with(loop, client)
        self._clients[loop] = client, closer
        await anext(closer)
        return client

    async def _close_with(self, loop: asyncio.AbstractEventLoop, client: Any) -> AsyncGenerator[None]:
        # A loop tells nobody that it ends, but `asyncio.run` closes the async generators that still wait in it.
        try:
            yield
        finally:
            self._clients.pop(loop, None)
            await client.aclose()

    async def aclose(self) -> None:
        """Close the running loop's client."""
        if entry := self._clients.get(asyncio.get_running_loop()):
            await entry[1].aclose()


# Many frameworks close their loops without closing the async generators in them. Collecting garbage is too slow to do
# it for each.
_MOST_CLOSED_LOOPS = 8

_inherited: list[Any] = []


@lru_cache
def _parsed(url: Any) -> Any:
    """Return an address as httpx has it: all requests go to a few, and parsing is slow."""
    return _httpx.URL(url)


def _read_timeout(request: Any) -> float | None:
    timeout: float | None = request.extensions.get("timeout", {}).get("read")
    return timeout


def _async_client(proxy: str | None) -> Any:
    """Return a client on aiohttp's transport: httpx's pool looks through all of its connections at every request."""
    # A mixture makes several calls at once, and one pool serves all mixtures of an event loop.
    limits = _httpx.Limits(max_connections=5000, max_keepalive_connections=500, keepalive_expiry=_KEPT_SECONDS)
    try:
        return openai.DefaultAioHttpClient(limits=limits, verify=_tls(), proxy=proxy)
    except RuntimeError:  # an SDK that was installed without it
        return openai.DefaultAsyncHttpxClient(limits=limits, verify=_tls(), proxy=proxy)


@cache
def _tls() -> Any:
    """Return the process's TLS context: to build one takes longer than all the rest of a client."""
    return _httpx.create_ssl_context()


@cache
def http_clients(proxy: str | None = None) -> dict[str, Any]:
    """Return the process's sync and async client, as keyword arguments of an OpenAI-compatible chat model.

    Every model gets the same two: a client of its own costs a TLS context and a pool each, and dropping one on a
    running event loop can hang the requests of others (openai-python issue 2440).

    Args:
        proxy: The address of a proxy, which has two clients of its own.
    """
    client, async_client = _Client(proxy), _PerLoopClient(proxy)
    atexit.register(client.close)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=client.forget)
        os.register_at_fork(after_in_child=async_client.forget)
    return {"http_client": client, "http_async_client": async_client}
