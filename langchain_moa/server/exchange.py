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

from langchain_moa._messages.usage import total_usage
from langchain_moa.server.api_errors import ApiError, to_api_error

logger = logging.getLogger(__name__)

# What nginx logs when nobody waits for the answer any more; nothing is sent.
CLIENT_GONE = 499


@dataclass(kw_only=True)
class Exchange:
    """One request and its answer, without their contents."""

    id: str = field(default_factory=lambda: f"req_{uuid4().hex}")
    started: float = field(default_factory=perf_counter)
    status: int = 0
    """Of the response, or of the error that a stream ended with."""

    is_begun: bool = False
    """Whether the response has its headers."""

    model: str = ""
    """As it is listed; a name that is not listed is not kept."""

    is_variant: bool = False
    """Whether the client changed the mixture: then the proposers' names are the client's."""

    is_stream: bool = False
    first_token_seconds: float | None = None
    usage: UsageMetadata | None = None
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Proposers that gave no whole reference, and how they ended."""

    error: str | None = None
    """The code of an error, also of one in the middle of a stream."""

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return perf_counter() - self.started

    def began(self) -> None:
        """Note the answer's first token."""
        if self.first_token_seconds is None:
            self.first_token_seconds = self.seconds

    def answered(self, moa: dict[str, Any]) -> None:
        """Note the account of an answer, its `response_metadata["moa"]`."""
        self.usage = total_usage(moa)
        failed = [item for item in moa["degraded"] if item["reason"].startswith("proposer_")]
        self.failures = [(item["proposer"], item["reason"].removeprefix("proposer_")) for item in failed]

    def failed(self, error: Exception) -> ApiError:
        """Note an error, and return what the client is told of it."""
        told = to_api_error(error)
        self.status, self.error = told.status, told.code
        if told.code == "internal_error":
            # Without its text, which may quote the conversation.
            where = "".join(format_tb(error.__traceback__))
            fields = {"id": self.id, "error": type(error).__name__, "traceback": where}
            logger.error("unexpected error", extra={"fields": fields})
        return told

    def as_log(self) -> dict[str, Any]:
        """Return the fields of its line in the log."""
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
            "proposer_failures": [f"{name}: {status}" for name, status in self.failures],
            "error": self.error,
        }
        return {name: value for name, value in fields.items() if value not in (None, "", [])}


def exchange(request: Request) -> Exchange:
    """Return what is known of a request that `Observe` is around."""
    known: Exchange = request.state.exchange
    return known
