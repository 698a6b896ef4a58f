"""Which callback handlers see the inside of a `ChatMoA` call, and how they count its usage once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, BaseRunManager, UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.tracers.log_stream import LogStreamCallbackHandler

HandlerTypes = tuple[type[BaseCallbackHandler], ...]


def looks_inside(handler: BaseCallbackHandler, others: HandlerTypes) -> bool:
    """Tell handlers that are to see every call from those for which a `ChatMoA` is one model.

    Args:
        handler: One of a call's handlers.
        others: What the user wants to see every call, beside tracers and the usage handler.
    """
    inside = isinstance(handler, (BaseTracer, AsyncBaseTracer, UsageMetadataCallbackHandler, *others))
    return inside and not isinstance(handler, LogStreamCallbackHandler)


def inner_handler(handler: BaseCallbackHandler, parameters: Mapping[str, Any]) -> BaseCallbackHandler:
    """Return the handler for the runs inside, which must not show the parameters of the run around them.

    Core hands a LangSmith tracer the invocation parameters of a chat model as metadata of all runs below it.
    """
    if not isinstance(handler, LangChainTracer):
        return handler
    inner = handler.copy_with_metadata_defaults()
    inner.tracing_metadata = without(handler.tracing_metadata or {}, parameters)
    return inner


def without(metadata: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata less what stands in `parameters` by the same name and value."""
    missing = object()
    return {name: value for name, value in metadata.items() if parameters.get(name, missing) != value}


class ForeseenRun(BaseRunManager):
    """What a run will be that core opens out of our reach."""


def hide_usage(run: BaseRunManager, others: HandlerTypes) -> None:
    """Keep a run's usage from the handlers that count the runs inside: they would count the sum again.

    LangSmith adds up the usage of child runs (langsmith-sdk PR 3119).
    """
    handlers: list[Any] = [
        _WithoutUsage(handler) if looks_inside(handler, others) else handler for handler in run.handlers
    ]
    run.handlers = handlers


class _WithoutUsage:
    """Stands for a handler in everything, but tells it of no usage when a run ends."""

    def __init__(self, handler: BaseCallbackHandler) -> None:
        """Keep the handler."""
        self._handler = handler

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._handler, name)
        if name != "on_llm_end":
            return attribute

        def on_llm_end(response: LLMResult, **kwargs: Any) -> Any:
            return attribute(_without_usage(response), **kwargs)

        async def on_llm_end_async(response: LLMResult, **kwargs: Any) -> Any:
            return await attribute(_without_usage(response), **kwargs)

        return on_llm_end_async if inspect.iscoroutinefunction(attribute) else on_llm_end


def _without_usage(response: LLMResult) -> LLMResult:
    generations = [[_generation_without_usage(item) for item in prompt] for prompt in response.generations]
    return response.model_copy(update={"generations": generations})


def _generation_without_usage(generation: Any) -> Any:
    if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
        message = generation.message.model_copy(update={"usage_metadata": None})
        return generation.model_copy(update={"message": message})
    return generation
