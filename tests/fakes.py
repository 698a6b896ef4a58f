"""The one scripted chat model of the tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.messages.ai import UsageMetadata, add_ai_message_chunks
from langchain_core.messages.tool import tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field


class ScriptedChatModel(BaseChatModel):
    """Answers what it is told to, and records the conversations and arguments that it got."""

    reply: str | Callable[[list[BaseMessage]], str] = "reply"
    error: Exception | None = None
    error_after: int | None = None
    """Tokens streamed before the error; `None`: the error comes at once."""
    finish_reason: str = "stop"
    usage: UsageMetadata | None = None
    model_name: str = "scripted"
    waits_for: threading.Event | None = Field(default=None, exclude=True)
    """The answer waits until this is set."""
    seen: list[list[BaseMessage]] = Field(default_factory=list, exclude=True)
    kwargs: list[dict[str, Any]] = Field(default_factory=list, exclude=True)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _answer(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> str:
        self.seen.append(messages)
        self.kwargs.append(kwargs if stop is None else {**kwargs, "stop": stop})
        if self.error is not None and self.error_after is None:
            raise self.error
        return self.reply(messages) if callable(self.reply) else self.reply

    def _metadata(self) -> dict[str, Any]:
        return {"finish_reason": self.finish_reason, "model_name": self.model_name}

    def _result(self, text: str) -> ChatResult:
        message = AIMessage(text, usage_metadata=self.usage, response_metadata=self._metadata())
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _chunks(self, text: str) -> Iterator[ChatGenerationChunk]:
        for number, token in enumerate(text.split(" ")):
            if self.error is not None and number == self.error_after:
                raise self.error
            yield ChatGenerationChunk(message=AIMessageChunk(token if number == 0 else f" {token}"))
        last = AIMessageChunk("", usage_metadata=self.usage, response_metadata=self._metadata())
        yield ChatGenerationChunk(message=last)

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        text = self._answer(messages, stop, kwargs)
        if self.waits_for:
            self.waits_for.wait(10)
        return self._result(text)

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        text = self._answer(messages, stop, kwargs)
        while self.waits_for and not self.waits_for.is_set():
            await asyncio.sleep(0.005)
        return self._result(text)

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        text = self._answer(messages, stop, kwargs)
        for chunk in self._chunks(text):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        text = self._answer(messages, stop, kwargs)
        for chunk in self._chunks(text):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


class CallingChatModel(ScriptedChatModel):
    """Calls the tool `look_up` at its steps, with an id as providers make them."""

    call_id: Callable[[], str] = lambda: f"call_{uuid4().hex}"
    calls: Callable[[list[BaseMessage]], bool] = lambda messages: True
    """From the conversation to whether the tool is called."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _result(self, text: str) -> ChatResult:
        result = super()._result(text)
        if self.calls(self.seen[-1]):
            result.generations[0].message.tool_calls = [tool_call(name="look_up", args={"n": 1}, id=self.call_id())]
        return result

    def _chunks(self, text: str) -> Iterator[ChatGenerationChunk]:
        if self.calls(self.seen[-1]):
            call = tool_call_chunk(name="look_up", args='{"n": 1}', id=self.call_id(), index=0)
            yield ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[call]))
        yield from super()._chunks(text)


class ChunkedChatModel(ScriptedChatModel):
    """Streams the chunks that it is told, and then fails if it is told to; unstreamed it answers with their sum."""

    chunks: list[AIMessageChunk]

    def _result(self, text: str) -> ChatResult:
        if self.error_after is not None:
            raise self.error or AssertionError
        first, *others = self.chunks
        message = message_chunk_to_message(add_ai_message_chunks(first, *others))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _chunks(self, text: str) -> Iterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk.model_copy())
        if self.error_after is not None:
            raise self.error or AssertionError
