"""JSON encoding of responses."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response


def to_json(data: Any) -> bytes:
    """Encode as ASCII JSON: models may stream lone surrogates, which only the client can combine."""
    return json.dumps(data, separators=(",", ":")).encode()


class Json(Response):
    """A JSON response in ASCII."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content)
