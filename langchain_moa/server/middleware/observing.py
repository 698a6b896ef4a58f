"""Count and log every request."""

from __future__ import annotations

import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langchain_moa.server.exchange import CLIENT_GONE, Exchange
from langchain_moa.server.ignored import IGNORED_HEADER
from langchain_moa.server.metrics import Metrics

logger = logging.getLogger(__name__)


class Observe:
    """ASGI middleware that counts and logs requests, adds an id, and converts errors. The outermost of a route."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        """Wrap an app.

        Args:
            app: The app to observe.
            metrics: The metrics to record to.
        """
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        seen = Exchange()
        scope.setdefault("state", {})["exchange"] = seen

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status, seen.is_begun = message["status"], True
                message["headers"] = [*message.get("headers", []), *_headers(seen)]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            seen.status = CLIENT_GONE
        except Exception as error:
            told = seen.failed(error)
            if seen.is_begun:
                raise
            await told.response()(scope, receive, watched)
        finally:
            seen.status = seen.status or CLIENT_GONE
            self._metrics.count(seen)
            place = {"method": scope["method"], "path": scope["path"]}
            logger.info("request", extra={"fields": {**place, **seen.as_log()}})


def _headers(seen: Exchange) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-request-id", seen.id.encode())]
    if seen.ignored:
        headers.append((IGNORED_HEADER.encode(), ", ".join(seen.ignored).encode("latin-1", "replace")))
    return headers
