"""One pool of HTTP clients for every model that is built from a string."""

from __future__ import annotations

import asyncio
import atexit
import importlib
from collections.abc import AsyncGenerator
from functools import cache
from typing import Any

import openai

# The SDK accepts clients of the HTTP library that it uses itself: httpx, or httpx2 since openai 3.
_httpx: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])

# A pool without a bound gets slower with every connection that it holds open.
_LIMITS = {"max_connections": 100, "max_keepalive_connections": 100, "keepalive_expiry": 30.0}


class _PerLoopTransport:
    """Keep one connection pool per event loop, because a connection belongs to the loop that opened it."""

    def __init__(self) -> None:
        self._pools: dict[asyncio.AbstractEventLoop, tuple[Any, AsyncGenerator[None]]] = {}

    async def handle_async_request(self, request: Any) -> Any:
        """Send `request` through the running loop's own pool."""
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            pool = _httpx.AsyncHTTPTransport(limits=_httpx.Limits(**_LIMITS))
            closer = self._close_with(loop, pool)
            self._pools[loop] = pool, closer
            await anext(closer)
        return await self._pools[loop][0].handle_async_request(request)

    async def _close_with(self, loop: asyncio.AbstractEventLoop, pool: Any) -> AsyncGenerator[None]:
        # A loop tells nobody that it ends, but `asyncio.run` closes the async generators that still wait in it.
        try:
            yield
        finally:
            del self._pools[loop]
            await pool.aclose()

    async def __aenter__(self) -> _PerLoopTransport:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the running loop's pool."""
        if entry := self._pools.get(asyncio.get_running_loop()):
            await entry[1].aclose()


@cache
def http_clients() -> dict[str, Any]:
    """Return the process's sync and async client, as keyword arguments of an OpenAI-compatible chat model.

    Every model gets the same two: a client of its own costs a TLS context and a pool each, and dropping one on a
    running event loop can hang the requests of others (openai-python issue 2440).
    """
    transport: Any = _PerLoopTransport()
    client = openai.DefaultHttpxClient(limits=_httpx.Limits(**_LIMITS))
    atexit.register(client.close)
    return {
        "http_client": client,
        "http_async_client": openai.DefaultAsyncHttpxClient(transport=transport),
    }
