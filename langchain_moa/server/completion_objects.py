"""Convert messages to OpenAI's JSON, as a whole or in chunks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.server.api_errors import ApiError, error_types
from langchain_moa.server.streaming import DONE, KEEP_ALIVE, to_event

# OpenAI's finish reasons, and those of Anthropic and Google.
_FINISH_REASONS = {
    **{reason: reason for reason in ("stop", "length", "tool_calls", "content_filter")},
    **dict.fromkeys(("max_tokens", "MAX_TOKENS"), "length"),
    **dict.fromkeys(("refusal", "SAFETY"), "content_filter"),
}


@dataclass(frozen=True, kw_only=True)
class OpenAIResponse:
    """Renders one answer as OpenAI's JSON, as a whole or in chunks."""

    model: str
    """The model name in the request."""

    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time()))

    def whole(self, answer: AIMessage) -> dict[str, Any]:
        """Return a `chat.completion`, with data about all calls in the field `moa`."""
        message = {
            "role": "assistant",
            "content": answer.text or (None if answer.tool_calls else ""),
            "refusal": answer.additional_kwargs.get("refusal"),
        }
        if calls := tool_calls(answer):
            message["tool_calls"] = calls
        choice = {
            "index": 0,
            "message": message,
            "logprobs": answer.response_metadata.get("logprobs"),
            "finish_reason": final_reason(finish_reason(answer.response_metadata), has_calls=bool(calls)),
        }
        account = {"moa": to_account(answer.response_metadata["moa"])}
        return self._object("chat.completion", choices=[choice], usage=_to_usage(answer.usage_metadata), **account)

    def chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None, **choice: Any) -> dict[str, Any]:
        """Return a `chat.completion.chunk`.

        Args:
            delta: The part of the message in this chunk.
            finish_reason: Set in the last chunk.
            **choice: Further fields of the choice.
        """
        choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason, **choice}]
        return self._object("chat.completion.chunk", choices=choices)

    def usage(self, usage: UsageMetadata | None) -> dict[str, Any]:
        """Return the usage chunk of a stream."""
        return self._object("chat.completion.chunk", choices=[], usage=_to_usage(usage))

    def _object(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, **fields}


class CompletionStream:
    """Converts one answer to a chat completion, or its chunks to server-sent events."""

    def __init__(self, response: OpenAIResponse, *, include_usage: bool) -> None:
        """Start a stream.

        Args:
            response: Renders the JSON.
            include_usage: Whether to end with a usage chunk.
        """
        self._response = response
        self._include_usage = include_usage
        self._opening: dict[str, Any] = {"role": "assistant"}
        self._calls_begun = 0
        self._finish_reason: str | None = None
        self._last = AIMessageChunk(content="")

    @property
    def account(self) -> dict[str, Any]:
        """The `response_metadata["moa"]` of the answer, available after the last chunk."""
        account: dict[str, Any] = self._last.response_metadata["moa"]
        return account

    def whole(self, answer: AIMessage) -> dict[str, Any]:
        """Return the whole answer."""
        return self._response.whole(answer)

    def idle(self) -> bytes:
        """Return what is sent when there was no chunk for a while."""
        return KEEP_ALIVE

    def delta(self, chunk: AIMessageChunk) -> bytes:
        """Return the event for a chunk; empty if it has only metadata."""
        self._finish_reason = finish_reason(chunk.response_metadata) or self._finish_reason
        self._last = chunk
        delta = to_delta(chunk, calls_begun=self._calls_begun)
        if not delta:
            return b""
        self._calls_begun += sum(bool(call["id"]) for call in chunk.tool_call_chunks)
        opening, self._opening = self._opening, {}
        logprobs = chunk.response_metadata.get("logprobs")
        return to_event(self._response.chunk({**opening, **delta}, **({"logprobs": logprobs} if logprobs else {})))

    def end(self) -> bytes:
        """Return the last events: finish reason with data about all calls, usage, and `[DONE]`."""
        reason = final_reason(self._finish_reason, has_calls=self._calls_begun > 0)
        last = {**self._response.chunk(self._opening, finish_reason=reason), "moa": to_account(self.account)}
        usage = to_event(self._response.usage(self._last.usage_metadata)) if self._include_usage else b""
        return to_event(last) + usage + DONE

    def failed(self, error: ApiError) -> bytes:
        """Return the last event of a stream that ends with an error."""
        return to_event(error.body())


def to_delta(chunk: AIMessageChunk, *, calls_begun: int) -> dict[str, Any]:
    """Return the delta of a chunk; empty if it has only metadata.

    Args:
        chunk: A chunk of the aggregator.
        calls_begun: Number of tool calls started in earlier chunks, for models that don't number them.
    """
    delta: dict[str, Any] = {}
    if chunk.text:
        delta["content"] = chunk.text
    if refusal := chunk.additional_kwargs.get("refusal"):
        delta["refusal"] = refusal
    if chunk.tool_call_chunks:
        delta["tool_calls"] = [
            _call_delta(call, calls_begun + place) for place, call in enumerate(chunk.tool_call_chunks)
        ]
    return delta


def _call_delta(call: Mapping[str, Any], place: int) -> dict[str, Any]:
    index = call["index"] if isinstance(call["index"], int) else place
    delta: dict[str, Any] = {"index": index, "function": {"arguments": call["args"] or ""}}
    if call["id"]:  # the first part of a call
        delta |= {"id": call["id"], "type": "function"}
    if call["name"]:
        delta["function"]["name"] = call["name"]
    return delta


def tool_calls(answer: AIMessage) -> list[dict[str, Any]]:
    """Return an answer's tool calls. Arguments that are not valid JSON are passed on unchanged."""
    calls = [(call, json.dumps(call["args"], ensure_ascii=False)) for call in answer.tool_calls]
    broken = [(call, call["args"] or "") for call in answer.invalid_tool_calls]
    return [
        {
            "id": call["id"] or f"call_{uuid4().hex}",
            "type": "function",
            "function": {"name": call["name"], "arguments": arguments},
        }
        for call, arguments in [*calls, *broken]
    ]


def finish_reason(metadata: Mapping[str, Any]) -> str | None:
    """Return OpenAI's finish reason, if the metadata has one."""
    reason = metadata.get("finish_reason") or metadata.get("stop_reason")
    return _FINISH_REASONS.get(reason, "stop") if reason else None


def final_reason(reason: str | None, *, has_calls: bool) -> str:
    """Return the final finish reason; some providers report `stop` when the model called a tool."""
    return "tool_calls" if has_calls and reason in (None, "stop") else reason or "stop"


def _to_usage(usage: UsageMetadata | None) -> dict[str, Any] | None:
    """Convert usage, summed over all calls of the mixture. `None`: no provider reported any."""
    if usage is None:
        return None
    read, written = usage.get("input_token_details", {}), usage.get("output_token_details", {})
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": read.get("cache_read", 0)},
        "completion_tokens_details": {"reasoning_tokens": written.get("reasoning", 0)},
    }


def to_account(moa: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field `moa` of a response: the metadata without the texts of models and providers."""
    account: dict[str, Any] = _without_texts(error_types(moa))
    return account


def _without_texts(account: Any) -> Any:
    """Remove texts of models from `moa` metadata."""
    if isinstance(account, Mapping):
        kept = {name: value for name, value in account.items() if name not in ("text", "analysis")}
        return {name: _without_texts(value) for name, value in kept.items()}
    return [_without_texts(item) for item in account] if isinstance(account, list) else account
