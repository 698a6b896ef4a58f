"""Make requests wait in the admission queue."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from langchain_moa.server.admission_queue import AdmissionQueue


class Admit:
    """ASGI middleware that queues POST requests."""

    def __init__(self, app: ASGIApp, *, queue: AdmissionQueue) -> None:
        self._app = app
        self._queue = queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        async with self._queue.admitted():
            await self._app(scope, receive, send)
