"""Calls of a chat model that no callback handler hears of, without the run that core would open for each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableConfig, ensure_config

if TYPE_CHECKING:
    _Base = BaseChatModel
else:
    _Base = object


class Unobserved(_Base):
    """The async methods of a chat model, with the same answers and errors as core's.

    For a call, core makes two callback managers, a task and ten frames, and keeps all chunks of a stream to tell its
    handlers of their sum. A mixture makes many calls, and mostly there are no handlers.
    """

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Ask for a whole answer. See `BaseChatModel.ainvoke`."""
        if (
            not self._is_plain(input, kwargs)
            or not is_own(self.agenerate, "langchain_core")
            or self._may_be_cached()
            or self._should_stream(async_api=True, **kwargs)
            or self._is_observed(config)
        ):
            return await super().ainvoke(input, config, stop=stop, **kwargs)
        result = await self._agenerate(cast("list[BaseMessage]", input), stop=stop, **kwargs)
        message = _finish(result.generations[0], f"{_new_id()}-0")
        if len(result.generations) == 1:
            message.response_metadata = {**(result.llm_output or {}), **message.response_metadata}
        return cast("AIMessage", message)

    def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream an answer. See `BaseChatModel.astream`."""
        ordinary = super().astream
        if (
            not self._is_plain(input, kwargs)
            or not is_own(ordinary, "langchain_core")
            or not self._should_stream(async_api=True, **{**kwargs, "stream": True})
            or self._is_observed(config)
        ):
            return ordinary(input, config, stop=stop, **kwargs)
        return self._chunks(cast("list[BaseMessage]", input), stop=stop, **kwargs)

    async def _chunks(self, messages: list[BaseMessage], **kwargs: Any) -> AsyncIterator[AIMessageChunk]:
        made_up, message = _new_id(), None
        async with aclosing(cast("Any", self._astream(messages, **kwargs))) as generations:
            async for generation in generations:
                message = _finish(generation, made_up)
                yield message
        if message is None:
            msg = "No generation chunks were returned"
            raise ValueError(msg)
        if isinstance(message, AIMessageChunk) and not message.chunk_position:
            empty: Any = "" if isinstance(message.content, str) else []
            yield AIMessageChunk(content=empty, chunk_position="last", id=made_up)

    def _is_plain(self, input: LanguageModelInput, kwargs: dict[str, Any]) -> bool:
        """Return whether core would hand everything between its caller and the model's hooks on as it is."""
        return (
            type(input) is list
            and all(map(_is_text, input))
            and _FOR_TRACES.isdisjoint(kwargs)
            and self.rate_limiter is None
            and self.output_version != "v1"
        )

    def _may_be_cached(self) -> bool:
        return self.cache is not False and (self.cache is not None or get_llm_cache() is not None)

    def _is_observed(self, config: RunnableConfig | None) -> bool:
        callbacks = ensure_config(config).get("callbacks")
        return bool(AsyncCallbackManager.configure(callbacks, self.callbacks, self.verbose).handlers)


def _finish(generation: Any, new_id: str) -> Any:
    """Return a generation's message with what core adds to it."""
    message = generation.message
    message.id = message.id or new_id
    if generation.generation_info:
        message.response_metadata = {**generation.generation_info, **message.response_metadata}
    return message


_FOR_TRACES = {"ls_structured_output_format", "structured_output_format"}
"""Arguments that core takes away before it asks the model."""


def is_own(method: Any, package: str) -> bool:
    """Return whether a bound method is a package's own: whoever wraps one to observe it expects to see the calls.

    Args:
        method: The method.
        package: The package's name.
    """
    function = getattr(method, "__func__", None)
    # Wrappers made with `wrapt` have the attributes of what they wrap, but not its type.
    return (
        type(method) is MethodType
        and type(function) is FunctionType
        and function.__globals__["__name__"].startswith(f"{package}.")
    )


def _is_text(message: Any) -> bool:
    """Return whether a message has nothing that core would convert."""
    return isinstance(message, BaseMessage) and type(message.content) is str


def _new_id() -> str:
    # As core makes it up of its run's id.
    return f"lc_run--{uuid4()}"
