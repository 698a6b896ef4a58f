"""Read a request body within limits, and parse it as JSON."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any, Never

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from langchain_moa.server.api_errors import ApiError

# For a whole body, so that a slow client can't hold memory forever. Images over a slow connection take a while.
_SECONDS = 120

# A small body can be expensive to process, which blocks the event loop for everyone.
_MAX_DEPTH = 100
_MAX_VALUES = 100_000
_TOO_DEEP = f"it is nested more than {_MAX_DEPTH} levels deep"


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """Return a request's whole body.

    Raises:
        ApiError: Status 413, the body is larger than `max_bytes`; the rest is not read. Status 408, it took too long.
        ClientDisconnect: The client disconnected.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            return await _read(scope, receive, max_bytes)
    except TimeoutError:
        message = f"The request's body took longer than {_SECONDS} seconds."
        raise ApiError(408, message, code="body_timeout", headers={"connection": "close"}) from None


def parse_json(body: bytes, headers: Headers) -> dict[str, Any]:
    """Return a body as a JSON object.

    Raises:
        ApiError: It is not a JSON object, has another content type, or is too large or too deeply nested.
    """
    # A browser lets any page send other content types to a server on loopback without a preflight request (CSRF).
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "Send the body as JSON, with the header 'Content-Type: application/json'.")
    try:
        return load_object(body.decode())
    except TooComplexError as error:
        raise ApiError(400, f"The body is too complex: {error}.", code="too_complex") from None
    except ValueError as error:
        raise ApiError(400, f"The body is not valid: {error}.", code="invalid_json") from None


class TooComplexError(ValueError):
    """JSON that has more values, or more levels, than this server takes."""


def load_object(text: str, *, strict: bool = True) -> dict[str, Any]:
    """Return a JSON object that can be sent to any provider.

    Args:
        text: JSON.
        strict: Refuse line breaks and other control characters in strings, which models write.

    Raises:
        TooComplexError: It is too large or too deeply nested.
        ValueError: It is not JSON, not an object, or has numbers or characters that JSON can't carry.
    """
    try:
        value = json.loads(text, strict=strict, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        raise TooComplexError(_TOO_DEEP) from None
    if not isinstance(value, dict):
        msg = "it must be a JSON object"
        raise ValueError(msg)
    _check_size(value)
    if "\\ud" in text.lower():  # maybe a lone surrogate, which can't be sent
        json.dumps(value, ensure_ascii=False).encode()
    return value


async def _read(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    message = f"The request is larger than {max_bytes} bytes, this server's limit."
    announced = Headers(scope=scope).get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise ApiError(413, message, code="too_large")
    body = bytearray()
    while True:
        part = await receive()
        if part["type"] == "http.disconnect":
            raise ClientDisconnect
        body += part.get("body", b"")
        if len(body) > max_bytes:
            # The rest is not read, so the connection can't be reused.
            raise ApiError(413, message, code="too_large", headers={"connection": "close"})
        if not part.get("more_body"):
            return bytes(body)


def _refuse_constant(name: str) -> Never:
    # Python accepts NaN and Infinity, but they are not JSON and can't be sent to a provider.
    msg = f"{name} is not a JSON number"
    raise ValueError(msg)


def _finite(number: str) -> float:
    if math.isinf(value := float(number)):
        msg = f"{number[:20]} is larger than any number of 64 bits"
        raise ValueError(msg)
    return value


def _check_size(fields: dict[str, Any]) -> None:
    level: list[Any] = [fields]
    values = 0
    for _ in range(_MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
        values += len(level)
        if values > _MAX_VALUES:
            msg = f"it has more than {_MAX_VALUES} values"
            raise TooComplexError(msg)
        if not level:
            return
    raise TooComplexError(_TOO_DEEP)


def _inside(value: Any) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
