"""How many requests are answered at once, and how many wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langchain_moa.server.api_errors import ApiError


class AdmissionQueue:
    """Lets so many answers run at a time and so many wait, first come first served; turns the rest away."""

    def __init__(self, *, max_concurrency: int, max_queue: int, queue_timeout: float) -> None:
        """Open the gate.

        Args:
            max_concurrency: Answers in the making.
            max_queue: Requests that wait for their turn.
            queue_timeout: Seconds that one of them waits at most.
        """
        self.running = 0
        self.queued = 0
        self._free = asyncio.Semaphore(max_concurrency)
        self._max_queue = max_queue
        self._queue_timeout = queue_timeout

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Wait for one's turn.

        Raises:
            ApiError: Status 503; too many wait already, or it took too long.
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
            raise _overloaded("too many requests wait already")
        self.queued += 1
        try:
            async with asyncio.timeout(self._queue_timeout):
                await self._free.acquire()
        except TimeoutError:
            raise _overloaded(f"it waited {self._queue_timeout:g} seconds for its turn") from None
        finally:
            self.queued -= 1


def _overloaded(why: str) -> ApiError:
    message = f"The server is overloaded: {why}. Try again later."
    return ApiError(503, message, code="overloaded", headers={"retry-after": "1"})
