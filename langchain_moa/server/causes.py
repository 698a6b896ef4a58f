"""What an error is called in one line."""

from __future__ import annotations

from langchain_core.exceptions import ModelAuthenticationError, ModelPermissionDeniedError
from pydantic import ValidationError


def explain(error: BaseException) -> str:
    """Return what went wrong in one line, in the provider's own words where there are any, and without keys."""
    if isinstance(error, ValidationError):
        text = "; ".join(field_error(detail["loc"], detail["msg"]) for detail in error.errors(include_context=False))
    elif isinstance(error, ModelAuthenticationError | ModelPermissionDeniedError):
        text = "the provider refused the server's key"  # its own words may show a part of it
    elif isinstance(body := getattr(error, "body", None), dict) and isinstance(body.get("message"), str):
        text = body["message"]
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def field_error(location: tuple[int | str, ...], message: str) -> str:
    """Return what pydantic says about a field; a validator's own text names it already."""
    if message.startswith("Value error, "):
        return message.removeprefix("Value error, ")
    return f"{'.'.join(map(str, location))}: {message}"
