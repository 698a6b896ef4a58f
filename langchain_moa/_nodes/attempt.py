"""One call of an aggregator for the answer: whole, or chunk by chunk for whoever listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage, message_chunk_to_message
from langchain_core.messages.ai import AIMessageChunk, add_ai_message_chunks
from langchain_core.runnables import RunnableConfig

from langchain_moa._messages.cache_control import arguments_for_provider
from langchain_moa._messages.endings import end_of
from langchain_moa._models.members import Participant
from langchain_moa._runtime.call_context import CallContext
from langchain_moa._runtime.sync_bridge import call, never_blocks
from langchain_moa.exceptions import EmptyAnswerError, FirstTokenTimeoutError

logger = logging.getLogger(__name__)


class Attempt:
    """One call of an aggregator. It ends with `answer`, or with an error."""

    def __init__(self, writer: Participant, context: CallContext, *, first_token_timeout: float) -> None:
        """Prepare the call.

        Args:
            writer: The aggregator.
            context: The caller's arguments, and who listens for chunks.
            first_token_timeout: Seconds until the first token.
        """
        self.writer = writer
        self.answer: AIMessage
        self.first_token_seconds: float | None = None
        self.seconds: float = 0
        self._context = context
        given = context.aggregator_kwargs
        self._arguments = arguments_for_provider(given, writer.provider) if given else {}
        self._patience = first_token_timeout
        self._started = perf_counter()
        self._held: list[AIMessageChunk] = []
        """Chunks that say nothing yet. The caller gets them with the first that does: a fallback may still answer."""
        self._chunks: list[AIMessageChunk] = []

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer is with the caller already."""
        return self.first_token_seconds is not None

    async def write(self, messages: Sequence[BaseMessage], child: RunnableConfig) -> AIMessage:
        """Ask the aggregator.

        Raises:
            FirstTokenTimeoutError: The first token took too long.
            EmptyAnswerError: The aggregator said nothing.
            Exception: Its own error.
        """
        try:
            async with asyncio.timeout(self._patience) as patience:
                if self._context.on_chunk is None:
                    reply = await call(self.writer.model, messages, child, **self._arguments)
                    self.answer = _as_message(reply)
                elif self._context.on_chunks is not None and not never_blocks(self.writer.model):
                    await self._context.on_chunks(self._stream(messages, child), patience)
                    self.answer = self._merged()
                else:
                    await self._pass_on(self.writer.model.astream(messages, child, **self._arguments), patience)
                    self.answer = self._merged()
        except TimeoutError as error:
            if not patience.expired():
                raise  # the model's own
            raise FirstTokenTimeoutError(self.writer.model_name, self._patience) from error
        finally:
            self.seconds = round(perf_counter() - self._started, 3)
        if not _says_something(self.answer):
            raise EmptyAnswerError(self.writer.model_name, end_of(self.answer)[1])
        return self.answer

    def account(self) -> dict[str, Any]:
        """Return what the answer's metadata says of the call."""
        return {
            "model": self.answer.response_metadata.get("model_name") or self.writer.model_name,
            "seconds": self.seconds,
            "first_token_seconds": self.first_token_seconds,
            "usage": self.answer.usage_metadata,
        }

    async def _pass_on(self, stream: AsyncIterator[Any], patience: asyncio.Timeout) -> None:
        """Hand a stream's chunks to the caller as they come."""
        task = asyncio.current_task()
        async with aclosing(cast("Any", stream)) as chunks:
            async for chunk in chunks:
                # A model may swallow a cancellation: `asyncio.wait_for` does in Python 3.11, as a chunk is ready.
                if task and task.cancelling():
                    raise asyncio.CancelledError
                for ready in self._ready(chunk):
                    patience.reschedule(None)
                    await self._context.on_chunk(ready)  # type: ignore[misc]  # asked before

    def _stream(self, messages: Sequence[BaseMessage], child: RunnableConfig) -> Generator[AIMessageChunk]:
        """Yield a sync stream's chunks, the first when it says something."""
        stream = self.writer.model.stream(messages, child, **self._arguments)
        try:
            for chunk in stream:
                yield from self._ready(chunk)
        finally:  # whoever goes away closes this one
            if isinstance(stream, Generator):
                stream.close()

    def _ready(self, message: Any) -> list[AIMessageChunk]:
        """Return the chunks that the caller gets now."""
        chunk = _as_chunk(message)
        self._chunks.append(chunk)
        if not self.has_begun:
            self._held.append(chunk)
            if not _says_something(chunk):
                return []
            self.first_token_seconds = round(perf_counter() - self._started, 3)
            held, self._held = self._held, []
            return held
        return [chunk]

    def _merged(self) -> AIMessage:
        if not self._chunks:
            return AIMessage("")
        # Merged once: adding chunks up one by one costs quadratic time.
        return cast("AIMessage", message_chunk_to_message(add_ai_message_chunks(*self._chunks)))


def _as_message(reply: Any) -> AIMessage:
    if isinstance(reply, str):
        return AIMessage(reply)
    if not isinstance(reply, AIMessage):
        msg = f"an aggregator returns a message of the assistant, not {type(reply).__name__}"
        raise TypeError(msg)
    return reply


def _as_chunk(message: Any) -> AIMessageChunk:
    """Return what a stream yielded as a chunk: a Runnable may yield texts, or a whole message."""
    if isinstance(message, AIMessageChunk):
        return message
    return AIMessageChunk(**_as_message(message).model_dump(exclude={"type"}))


def _says_something(message: AIMessage) -> bool:
    """Tell whether a message carries text, reasoning, a tool call or a refusal, and not just a role."""
    if isinstance(message.content, str):
        if message.content:
            return True
    elif any(_has_content(block) for block in message.content):
        return True
    calls = message.tool_call_chunks if isinstance(message, AIMessageChunk) else message.tool_calls
    return bool(calls or message.invalid_tool_calls or any(message.additional_kwargs.values()))


def _has_content(block: Any) -> bool:
    if not isinstance(block, dict):
        return bool(block)
    told = {key: value for key, value in block.items() if key not in ("type", "id", "index", "annotations")}
    return any(told.values())
