"""Make a request wait for its turn."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from langchain_moa.server.admission_queue import AdmissionQueue


class Admit:
    """Answer a POST when it is its turn."""

    def __init__(self, app: ASGIApp, *, queue: AdmissionQueue) -> None:
        """Keep the gate."""
        self._app = app
        self._queue = queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        async with self._queue.admitted():
            await self._app(scope, receive, send)
