"""Tell the answers that are still being written that the server ends."""

from __future__ import annotations

import asyncio

from langchain_moa.server.api_errors import ApiError


class Closing:
    """Set once, when running answers have no more time. Unlike `asyncio.Event` it belongs to no event loop."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: set[asyncio.Future[None]] = set()

    def set(self) -> None:
        """Wake everybody who waits. Called on their event loop."""
        self._is_set = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def wait(self) -> None:
        """Wait until it is set."""
        if self._is_set:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)


def closing_error() -> ApiError:
    """Return the error of an answer that was not complete when the server had to end."""
    message = "The server is shutting down and could not finish the answer. Try again later."
    return ApiError(503, message, code="shutting_down", headers={"retry-after": "1"})
