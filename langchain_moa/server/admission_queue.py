"""Limit how many requests are answered at once, and how many wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langchain_moa.server.api_errors import ApiError


class AdmissionQueue:
    """Bounds running and waiting requests, first come first served; further ones are rejected."""

    def __init__(self, *, max_concurrency: int, max_queue: int, queue_timeout: float) -> None:
        """Create the queue.

        Args:
            max_concurrency: Maximum number of running requests.
            max_queue: Maximum number of waiting requests.
            queue_timeout: Maximum seconds of waiting.
        """
        self.running = 0
        self.queued = 0
        self._free = asyncio.Semaphore(max_concurrency)
        self._max_queue = max_queue
        self._queue_timeout = queue_timeout

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Wait until a request may run, and hold its place.

        Raises:
            ApiError: Status 503, because the queue is full or the wait took too long.
        """
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._free.release()

    async def _wait(self) -> None:
        if self.queued >= self._max_queue:
            raise _overloaded("the queue is full")
        self.queued += 1
        try:
            async with asyncio.timeout(self._queue_timeout):
                await self._free.acquire()
        except TimeoutError:
            raise _overloaded(f"the request waited {self._queue_timeout:g} seconds in the queue") from None
        finally:
            self.queued -= 1


def _overloaded(why: str) -> ApiError:
    message = f"The server is overloaded: {why}. Try again later."
    return ApiError(503, message, code="overloaded", headers={"retry-after": "1"})
