"""A streamed chat completion, chunk by chunk."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessageChunk

from langchain_moa.server.responses import Answer, ending, finish_reason, to_delta, without_texts
from langchain_moa.server.streaming import DONE, to_event


class CompletionStream:
    """Turns the chunks of one answer into events."""

    def __init__(self, answer: Answer, *, include_usage: bool) -> None:
        """Begin an answer.

        Args:
            answer: Its JSON.
            include_usage: Whether to end with the usage.
        """
        self._answer = answer
        self._include_usage = include_usage
        self._opening: dict[str, Any] = {"role": "assistant"}
        self._calls_begun = 0
        self._finish_reason: str | None = None
        self._last = AIMessageChunk(content="")

    @property
    def account(self) -> dict[str, Any]:
        """What all calls did, once the last chunk is there."""
        account: dict[str, Any] = self._last.response_metadata["moa"]
        return account

    def delta(self, chunk: AIMessageChunk) -> bytes:
        """Return the event of a chunk; nothing for one that only brings metadata."""
        self._finish_reason = finish_reason(chunk.response_metadata) or self._finish_reason
        self._last = chunk
        delta = to_delta(chunk, calls_begun=self._calls_begun)
        if not delta:
            return b""
        self._calls_begun += sum(bool(call["id"]) for call in chunk.tool_call_chunks)
        opening, self._opening = self._opening, {}
        logprobs = chunk.response_metadata.get("logprobs")
        return to_event(self._answer.chunk({**opening, **delta}, **({"logprobs": logprobs} if logprobs else {})))

    def end(self) -> bytes:
        """Return the last events: why the answer ended, with the account of all calls, and what it used."""
        reason = ending(self._finish_reason, has_calls=self._calls_begun > 0)
        last = {**self._answer.chunk(self._opening, finish_reason=reason), "moa": without_texts(self.account)}
        usage = to_event(self._answer.usage(self._last.usage_metadata)) if self._include_usage else b""
        return to_event(last) + usage + DONE
