"""One pool of HTTP clients for every model that is built from a string."""

from __future__ import annotations

import asyncio
import importlib
import threading
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import openai

# The SDK accepts clients of the HTTP library that it uses itself: httpx, or httpx2 since openai 3.
_httpx: Any = importlib.import_module(openai.Timeout.__module__.partition(".")[0])

# A pool without a bound gets slower with every connection that it holds open.
_LIMITS = {"max_connections": 100, "max_keepalive_connections": 100, "keepalive_expiry": 30.0}


class _PerLoopTransport:
    """Keep one connection pool per event loop, because a connection belongs to the loop that opened it."""

    def __init__(self) -> None:
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()
        self._lock = threading.Lock()

    async def handle_async_request(self, request: Any) -> Any:
        """Send `request` through the running loop's own pool."""
        loop = asyncio.get_running_loop()
        with self._lock:
            pool = self._pools.get(loop)
            if pool is None:
                pool = self._pools[loop] = _httpx.AsyncHTTPTransport(limits=_httpx.Limits(**_LIMITS))
        return await pool.handle_async_request(request)

    async def __aenter__(self) -> _PerLoopTransport:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the running loop's pool."""
        with self._lock:
            pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.aclose()


@cache
def http_clients() -> dict[str, Any]:
    """Return the process's sync and async client, as keyword arguments of an OpenAI-compatible chat model.

    Every model gets the same two: a client of its own costs a TLS context and a pool each, and dropping one on a
    running event loop can hang the requests of others (openai-python issue 2440).
    """
    transport: Any = _PerLoopTransport()
    return {
        "http_client": openai.DefaultHttpxClient(limits=_httpx.Limits(**_LIMITS)),
        "http_async_client": openai.DefaultAsyncHttpxClient(transport=transport),
    }
