"""Asking an aggregator for the answer: whole, or chunk by chunk for whoever listens."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping
from time import perf_counter
from typing import Any, cast

from langchain_core.messages import AIMessage, message_chunk_to_message
from langchain_core.messages.ai import AIMessageChunk, add_ai_message_chunks
from langchain_core.runnables import Runnable

from langchain_moa._models.factory import model_name
from langchain_moa._nodes.layer import Question
from langchain_moa._runtime.sync_bridge import call
from langchain_moa.exceptions import describe

logger = logging.getLogger(__name__)


class Attempt:
    """One call of an aggregator. When it was made, it has an answer or an error."""

    def __init__(
        self,
        *,
        model: Runnable[Any, Any],
        question: Question,
        arguments: Mapping[str, Any],
        on_chunk: Callable[[AIMessageChunk], None] | None,
        on_chunks: Callable[[Generator[AIMessageChunk]], Awaitable[None]] | None,
    ) -> None:
        """Keep what is asked.

        Args:
            model: The aggregator.
            question: What it is asked.
            arguments: The caller's, for this call.
            on_chunk: Takes the chunks as they come; `None`: a whole answer is wanted.
            on_chunks: Draws them, for a sync caller.
        """
        self.model = model
        self.question = question
        self.answer: AIMessage
        self.error: Exception | None = None
        self.first_token_seconds: float | None = None
        self._arguments = arguments
        self._on_chunk = on_chunk
        self._on_chunks = on_chunks
        self._chunks: list[AIMessageChunk] = []

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer is with the caller already."""
        return self.first_token_seconds is not None

    async def ask(self) -> None:
        """Ask; what goes wrong is kept."""
        question = self.question
        try:
            if self._on_chunk is None:
                self.answer = await call(self.model, question.messages, question.child, **self._arguments)
                return
            if self._on_chunks is not None:
                await self._on_chunks(self._stream())
            else:
                async for chunk in self.model.astream(question.messages, question.child, **self._arguments):
                    self._on_chunk(self._keep(chunk))
            self.answer = self._merged()
        except Exception as error:
            self.error = error

    def account(self) -> dict[str, Any]:
        """Return what the answer's metadata says about the call that wrote it."""
        return {
            "model": self.answer.response_metadata.get("model_name") or model_name(self.model),
            "seconds": self.seconds(),
            "first_token_seconds": self.first_token_seconds,
            "usage": self.answer.usage_metadata,
        }

    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return round(perf_counter() - self.question.started, 3)

    def failure(self, error: Exception) -> dict[str, Any]:
        """Return what the answer's metadata says about an aggregator that failed, and say it in the log."""
        logger.warning("Aggregator %r failed before its first token: %s", model_name(self.model), error)
        return {"reason": "aggregator_failed", "model": model_name(self.model), "error": describe(error)}

    def _stream(self) -> Generator[AIMessageChunk]:
        stream = self.model.stream(self.question.messages, self.question.child, **self._arguments)
        try:
            for chunk in stream:
                yield self._keep(chunk)
        finally:  # whoever goes away closes this one
            if isinstance(stream, Generator):
                stream.close()

    def _keep(self, message: AIMessage) -> AIMessageChunk:
        """Keep what a stream yielded: a chunk, or a whole message when the model does not stream."""
        if not isinstance(message, AIMessageChunk):
            message = AIMessageChunk(**message.model_dump(exclude={"type"}))
        # Providers open a stream with a chunk that says nothing but the role.
        if not self.has_begun and (message.content or message.tool_call_chunks or message.additional_kwargs):
            self.first_token_seconds = self.seconds()
        self._chunks.append(message)
        return message

    def _merged(self) -> AIMessage:
        # Merged once: adding chunks up one by one costs quadratic time.
        return cast("AIMessage", message_chunk_to_message(add_ai_message_chunks(*self._chunks)))
