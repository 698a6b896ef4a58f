"""Errors in OpenAI's shape: https://platform.openai.com/docs/guides/error-codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from json import JSONDecodeError
from typing import Any

import openai
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAuthenticationError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
)
from pydantic import ValidationError
from starlette.responses import Response

from langchain_moa.exceptions import LocalModelError, MoAError, ProposersFailedError
from langchain_moa.server.encoding import Json

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

# Provider statuses that are due to the client's request; all others are reported as server errors.
_CLIENTS_OWN = (400, 413, 422)

# Characters of an error about a field, which may quote it.
_LONGEST = 500


class UnknownModelError(MoAError, LookupError):
    """No model of that name is served."""


class UnavailableModelError(MoAError):
    """The model of that name can't be built: a key, a package or the local model's weights are missing."""


class ApiError(Exception):
    """An error response of the API."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Create an error.

        Args:
            status: HTTP status.
            message: What went wrong and what to do.
            code: Machine-readable error code.
            param: The request field that caused it.
            headers: Response headers.
            details: Further fields of the error object.
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})
        self.details = dict(details or {})

    def body(self) -> dict[str, Any]:
        """Return the error as OpenAI's JSON, also used for a stream's error event."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code, **self.details}
        return {"error": error}

    def response(self) -> Response:
        """Return the error as an HTTP response."""
        return Json(self.body(), self.status, self.headers)


def to_api_error(error: Exception) -> ApiError:
    """Convert an error to what the client is told. Internal errors are reported without details."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UnknownModelError):
        return ApiError(404, str(error), code="model_not_found", param="model")
    if isinstance(error, UnavailableModelError | LocalModelError):
        # Retrying would not help; the OpenAI SDKs honor this header.
        return ApiError(503, explain(error), code="model_unavailable", headers={"x-should-retry": "false"})
    if isinstance(error, ProposersFailedError):
        return _proposers_failed(error)
    if (upstream := _upstream(error)) is not None:
        return upstream
    return ApiError(500, "The server failed to answer; its log says more.", code="internal_error")


def _proposers_failed(error: ProposersFailedError) -> ApiError:
    causes = {proposer: explain(cause) for proposer, cause in error.errors.items()}
    told = "; ".join(f"{proposer}: {cause}" for proposer, cause in causes.items())
    return ApiError(
        502,
        f"Too few proposers of layer {error.layer} answered. {told}",
        code="proposers_failed",
        headers=None if error.is_retryable else {"x-should-retry": "false"},
        details={"layer": error.layer, "causes": causes},
    )


def _upstream(error: Exception) -> ApiError | None:
    """Convert an error of the provider. `None`: it is another kind of error.

    LangChain's error types cover most cases. The others come from the OpenAI SDK (LangChain has no `ModelError` for
    status 422, for example) or from the HTTP client, when a connection breaks or sends invalid JSON mid-answer.
    """
    text = explain(error)
    status = getattr(error, "status_code", None)
    if isinstance(error, ContextOverflowError):
        return ApiError(400, text, code="context_length_exceeded", param="messages")
    if isinstance(error, ModelRateLimitError) or status == 429:
        return ApiError(429, text, code="rate_limit_exceeded", headers=_retry_after(error))
    if isinstance(error, ModelInvalidRequestError) or status in _CLIENTS_OWN:
        return ApiError(status or 400, text, code="upstream_refused")
    if isinstance(error, TimeoutError) or _is_timeout(error):
        return ApiError(504, text, code="timeout")
    if isinstance(error, ModelNotFoundError):
        return ApiError(502, f"The provider does not know the aggregator: {text}", code="upstream_error")
    is_http = type(error).__module__.partition(".")[0] in ("httpx", "httpcore", "httpx2", "httpcore2", "aiohttp")
    # An error with a file name is not a connection error, and would disclose paths of this machine.
    is_broken = isinstance(error, OSError) and error.filename is None
    is_told = isinstance(error, ModelError | openai.OpenAIError | JSONDecodeError) or _body(error) is not None
    if is_http or is_broken or is_told:
        return ApiError(502, f"The aggregator failed: {text}", code="upstream_error")
    return None


def _is_timeout(error: Exception) -> bool:
    """Recognize timeouts by class name, because SDKs and HTTP clients have their own types."""
    return any("Timeout" in cls.__name__ for cls in type(error).__mro__)


def _retry_after(error: Exception) -> dict[str, str]:
    headers = getattr(getattr(error, "response", None), "headers", {})
    return {name: headers[name] for name in ("retry-after", "retry-after-ms") if name in headers}


def explain(error: BaseException) -> str:
    """Return an error message on one line without keys; the provider's own message if there is one."""
    if isinstance(error, ValidationError):
        text = "; ".join(field_error(detail["loc"], detail["msg"]) for detail in error.errors(include_context=False))
    elif isinstance(error, LocalModelError):
        # The original message has paths of this machine.
        text = "the server's local model does not run; `moa ask --model local` on that machine says why"
    elif isinstance(error, ModelAuthenticationError | ModelPermissionDeniedError):
        text = "the provider refused the server's key"  # the original message may contain part of it
    elif (body := _body(error)) and isinstance(body.get("message"), str):
        text = body["message"]
    elif isinstance(error, OSError) and error.filename is not None:
        text = type(error).__name__  # the message discloses paths of this machine
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def _body(error: BaseException) -> dict[str, Any] | None:
    """Return the provider's own account of an error, if there is one."""
    body = getattr(error, "body", None)
    if body is None and isinstance(error, ValueError) and error.args:
        body = error.args[0]  # langchain-openai 1.7, of an answer with status 200 that is an error
    return body if isinstance(body, dict) else None


def error_types(told: Any) -> Any:
    """Reduce the errors in an answer's metadata, or in an event, to their types: the texts may quote anything."""
    if isinstance(told, Mapping):
        return {
            name: value.partition(":")[0] if name == "error" and isinstance(value, str) else error_types(value)
            for name, value in told.items()
        }
    return [error_types(item) for item in told] if isinstance(told, list) else told


def malformed(error: ValidationError, fields: Mapping[str, Any]) -> ApiError:
    """Convert pydantic's first error about a request's fields."""
    first = error.errors(include_context=False, include_url=False, include_input=False)[0]
    param = ".".join(map(str, _path(first["loc"], fields)))
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"{param} is not known to this server.", code="unknown_parameter", param=param)
    return ApiError(400, field_error((param,), first["msg"][:_LONGEST]), code="invalid_value", param=param)


def _path(location: tuple[int | str, ...], value: Any) -> Iterator[int | str]:
    """Leave out of a location what is no place in the value: the name of a union's member."""
    for number, step in enumerate(location, 1):
        is_there = step in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(step, int)
        if is_there:
            value = value[step]
            yield step
        elif number == len(location) and isinstance(value, Mapping):
            yield step


def field_error(location: tuple[int | str, ...], message: str) -> str:
    """Return pydantic's message with the field's name; a validator's own message has it already."""
    if message.startswith("Value error, "):
        return message.removeprefix("Value error, ")
    return f"{'.'.join(map(str, location))}: {message}"
