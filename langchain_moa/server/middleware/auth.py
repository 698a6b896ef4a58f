"""Require an API key."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from langchain_moa.server.api_errors import ApiError


class RequireKey:
    """ASGI middleware that requires the API key, if one is set."""

    def __init__(self, app: ASGIApp, *, api_key: str | None) -> None:
        """Wrap an app.

        Args:
            app: The app to protect.
            api_key: The accepted key. `None`: no key is required.
        """
        self._app = app
        self._api_key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if self._api_key is not None:
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            # Starlette decodes headers as Latin-1. The comparison takes constant time, against timing attacks.
            is_right = hmac.compare_digest(given.strip().encode("latin-1"), self._api_key)
            if scheme.lower() != "bearer" or not is_right:
                message = "The API key is missing or wrong; send it as 'Authorization: Bearer KEY'."
                headers = {"www-authenticate": "Bearer"}
                raise ApiError(401, message, code="invalid_api_key", headers=headers)
        await self._app(scope, receive, send)
