"""One request and its response, as metrics and logs see it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from time import perf_counter
from traceback import format_tb
from typing import Any
from uuid import uuid4

from langchain_core.messages.ai import UsageMetadata
from starlette.requests import Request

from langchain_moa._messages.answers import total_usage
from langchain_moa.server.api_errors import ApiError, to_api_error

logger = logging.getLogger(__name__)

# nginx's status for a client that closed the connection; it is logged, not sent.
CLIENT_GONE = 499


@dataclass(kw_only=True)
class Exchange:
    """Data about one request and its response, without their contents."""

    id: str = field(default_factory=lambda: f"req_{uuid4().hex}")
    started: float = field(default_factory=perf_counter)
    status: int = 0
    """HTTP status of the response, or of the error that a stream ended with."""

    is_begun: bool = False
    """Whether the response headers were sent."""

    model: str = ""
    """Name of the served model; empty for unknown models."""

    is_variant: bool = False
    """Whether the request changes the mixture; proposer names are then chosen by the client."""

    is_stream: bool = False
    ignored: list[str] = field(default_factory=list)
    """The request's fields that have no effect, as the response's headers tell."""

    first_token_seconds: float | None = None
    usage: UsageMetadata | None = None
    cost: float | None = None
    """US dollars, as far as prices are known."""

    failures: list[tuple[str, str]] = field(default_factory=list)
    """Proposers without a complete reference, with their status."""

    error: str | None = None
    """The code of an error, including one in the middle of a stream."""

    @property
    def seconds(self) -> float:
        """Seconds since the request started."""
        return perf_counter() - self.started

    def began(self) -> None:
        """Record the time of the first token."""
        if self.first_token_seconds is None:
            self.first_token_seconds = self.seconds

    def answered(self, moa: dict[str, Any]) -> None:
        """Record usage, cost and failures from an answer's `response_metadata["moa"]`."""
        self.usage = total_usage(moa)
        self.cost = moa.get("cost", {}).get("total")
        failed = [item for item in moa["degraded"] if item["reason"].startswith("proposer_")]
        self.failures = [(item["proposer"], item["reason"].removeprefix("proposer_")) for item in failed]

    def failed(self, error: Exception) -> ApiError:
        """Record an error, and return the error to send to the client."""
        told = to_api_error(error)
        self.status, self.error = told.status, told.code
        if told.code == "internal_error":
            # Without the message, which may quote the conversation.
            where = "".join(format_tb(error.__traceback__))
            fields = {"id": self.id, "error": type(error).__name__, "traceback": where}
            logger.error("unexpected error", extra={"fields": fields})
        return told

    def as_log(self) -> dict[str, Any]:
        """Return the fields of the log line."""
        first, usage = self.first_token_seconds, self.usage
        fields = {
            "id": self.id,
            "status": self.status,
            "model": self.model,
            "stream": self.is_stream,
            "seconds": round(self.seconds, 3),
            "first_token_seconds": None if first is None else round(first, 3),
            "prompt_tokens": usage and usage["input_tokens"],
            "completion_tokens": usage and usage["output_tokens"],
            "cost_usd": self.cost,
            "proposer_failures": [f"{name}: {status}" for name, status in self.failures],
            "error": self.error,
        }
        return {name: value for name, value in fields.items() if value not in (None, "", [])}


def exchange(request: Request) -> Exchange:
    """Return the `Exchange` that the middleware `Observe` attached to a request."""
    known: Exchange = request.state.exchange
    return known
