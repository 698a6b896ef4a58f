"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from langchain_moa.server.closing import Closing, closing_error
from langchain_moa.server.encoding import to_json

_Item = TypeVar("_Item")

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

# Items that wait for a client who is slow to read; then the model waits too.
_MOST_UNREAD = 64


def to_event(data: Any, *, name: str | None = None) -> bytes:
    """Return a server-sent event with JSON data."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + to_json(data) + b"\n\n"


async def with_keep_alive(
    items: AsyncGenerator[_Item], seconds: float, *, closing: Closing
) -> AsyncGenerator[_Item | None]:
    """Yield the items as they arrive, and `None` whenever none arrived for `seconds`.

    Args:
        items: They are asked for only as fast as they are read here.
        seconds: Between two signs of life.
        closing: Set when the server ends.

    Raises:
        ApiError: `closing` was set before the last item.
    """
    queue: asyncio.Queue[_Item | asyncio.Task[Any] | None] = asyncio.Queue()
    room = asyncio.Semaphore(_MOST_UNREAD)
    loop = asyncio.get_running_loop()
    latest = loop.time()

    async def pump() -> None:
        nonlocal latest
        async with aclosing(items):
            async for item in items:
                latest = loop.time()
                await room.acquire()
                queue.put_nowait(item)

    async def beat() -> None:
        # One timer for all items is cheaper than a timeout per item.
        nonlocal latest
        while True:
            await asyncio.sleep(latest + seconds - loop.time())
            if loop.time() >= latest + seconds:
                latest = loop.time()
                if queue.empty():  # else the reader is behind
                    queue.put_nowait(None)

    # One task for all items: a generator must not change its context in the middle.
    pumping, closed = asyncio.create_task(pump()), asyncio.create_task(closing.wait())
    tasks = [pumping, closed, asyncio.create_task(beat())]
    for task in (pumping, closed):
        task.add_done_callback(queue.put_nowait)
    try:
        while not isinstance(item := await queue.get(), asyncio.Task):
            if item is not None:
                room.release()
            yield item
        if item is closed:
            raise closing_error()
        await item  # re-raises its error, if any
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class EventStream(Response):
    """A streaming response of server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes]) -> None:
        """Create the response.

        Args:
            first: The first events, sent right after the headers.
            rest: The further events. It must be started already; it is always closed at the end.
        """
        # Without this header, nginx buffers the stream.
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        async with aclosing(self._rest):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for events in self._rest:
                await send({"type": "http.response.body", "body": events, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
