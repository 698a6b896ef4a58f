"""JSON as it is sent."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response


def to_json(data: Any) -> bytes:
    """Return data as JSON in ASCII: models stream halves of characters, which only the client can put together."""
    return json.dumps(data, separators=(",", ":")).encode()


class Json(Response):
    """A response of JSON in ASCII."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content)
