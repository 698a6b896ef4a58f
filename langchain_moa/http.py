"""One pool of HTTP clients for every model that is built from a string."""

from __future__ import annotations

import asyncio
import atexit
import importlib
from collections.abc import AsyncGenerator
from functools import cache
from typing import Any

import aiohttp
import openai

from langchain_moa.limits import check_not_left_behind

# The HTTP library that the SDK uses: httpx, or httpx2 since openai 3.
_httpx: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])

# A mixture makes several calls at once, and one pool serves all mixtures of an event loop.
_LIMITS = {"max_connections": 5000, "max_keepalive_connections": 500, "keepalive_expiry": 30.0}


class _Client(openai.DefaultHttpxClient):
    """Send no request for a call that nobody waits for: the SDK would try a slow one three times."""

    def send(self, request: Any, **options: Any) -> Any:
        """Send `request`."""
        check_not_left_behind()
        return super().send(request, **options)


class _PerLoopClient(openai.DefaultAsyncHttpxClient):
    """Send each request through a client of the running event loop, because a connection belongs to its loop."""

    def __init__(self) -> None:
        super().__init__()
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
    limits = _httpx.Limits(**_LIMITS)
    try:
        return openai.DefaultAioHttpClient(limits=limits)
    except RuntimeError:  # an SDK that was installed without it
        return openai.DefaultAsyncHttpxClient(limits=limits)


@cache
def http_clients() -> dict[str, Any]:
    """Return the process's sync and async client, as keyword arguments of an OpenAI-compatible chat model.

    Every model gets the same two: a client of its own costs a TLS context and a pool each, and dropping one on a
    running event loop can hang the requests of others (openai-python issue 2440).
    """
    client = _Client(limits=_httpx.Limits(**_LIMITS))
    atexit.register(client.close)
    return {"http_client": client, "http_async_client": _PerLoopClient()}
