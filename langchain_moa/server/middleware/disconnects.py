"""Cancel the answer when the client disconnects, or the server ends."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langchain_moa.server.body import read_body
from langchain_moa.server.closing import Closing, closing_error


class CancelWhenGone:
    """ASGI middleware that cancels an answer, streamed or not, when nobody waits for it any longer."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, closing: Closing) -> None:
        """Wrap an app.

        Args:
            app: The app to run.
            max_bytes: Maximum size of a request body.
            closing: Set when the server ends.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        body = await read_body(scope, receive, self._max_bytes)
        answer = asyncio.create_task(_answer(self._app, scope, body, send))
        # After the body, the only message that can arrive is the disconnect.
        gone = asyncio.create_task(_until_gone(receive))
        closed = asyncio.create_task(self._closing.wait())
        tasks = (answer, gone, closed)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if closed.done() and not scope["state"]["exchange"].is_begun:
                raise closing_error()
            # A stream that has begun says by itself that the server ends.
            await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientDisconnect
            await answer
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(app: ASGIApp, scope: Scope, body: bytes, send: Send) -> None:
    unread: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def receive() -> Message:
        nonlocal unread
        if unread is None:
            await asyncio.Event().wait()  # a disconnect cancels the task instead
        message, unread = unread, None
        assert message
        return message

    await app(scope, receive, send)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
