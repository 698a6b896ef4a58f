"""Which callback handlers see the inside of a `ChatMoA` call, and how they count its usage once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.callbacks import (
    BaseCallbackHandler,
    BaseCallbackManager,
    BaseRunManager,
    CallbackManager,
    UsageMetadataCallbackHandler,
)
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs

# The base of `astream_events`' handler and of LangGraph's for `stream_mode="messages"`; there is no public mark of them
# (langchain-core 1.8, langgraph 1.2).
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.tracers.log_stream import LogStreamCallbackHandler

HandlerTypes = tuple[type[BaseCallbackHandler], ...]


class Audience:
    """The handlers of one `ChatMoA` call: some see every run inside of it, for the others it is one model."""

    def __init__(self, handlers: Iterable[BaseCallbackHandler], named: HandlerTypes) -> None:
        """Find out who sees the runs inside.

        Tracers and the usage handler do, the classes that the user named, and whoever gets into every callback manager
        by itself and so into those of the runs inside: by a hook of core's, as `get_openai_callback`, or because the
        managers are patched, as MLflow, OpenInference and OpenLLMetry do it.

        Args:
            handlers: All handlers of the call.
            named: Classes that the user wants to see every call.
        """
        self.handlers = list(map(_original, handlers))
        arriving = CallbackManager.configure().handlers if self.handlers else []
        self._types = (*named, *map(type, arriving))

    def looks_inside(self, handler: BaseCallbackHandler) -> bool:
        """Tell whether a handler is to see every call."""
        inside = isinstance(handler, (BaseTracer, AsyncBaseTracer, UsageMetadataCallbackHandler, *self._types))
        return inside and not isinstance(handler, LogStreamCallbackHandler)

    def inside(self, parameters: Mapping[str, Any]) -> list[BaseCallbackHandler]:
        """Return the handlers for the runs inside.

        Args:
            parameters: Of the call, which the runs inside must not show: core hands a LangSmith tracer the invocation
                parameters of a chat model as metadata of all runs below it.
        """
        return [_inner(handler, parameters) for handler in self.handlers if self.looks_inside(handler)]

    def hide_usage(self, run: BaseRunManager | BaseCallbackManager) -> None:
        """Keep the sum from the handlers that count the runs inside: they would count everything twice.

        LangSmith adds up the usage of child runs (langsmith-sdk PR 3119).

        Args:
            run: The run of the call, or the manager that it is opened with.
        """
        handlers: list[Any] = [_WithoutUsage(h) if self.looks_inside(h) else h for h in self.handlers]
        run.handlers = handlers


def watching(handlers: Iterable[BaseCallbackHandler]) -> HandlerTypes:
    """Return the classes of the handlers that are no stream of the caller's, who gets the tokens of one model only."""
    return tuple(type(handler) for handler in handlers if not isinstance(handler, _StreamingCallbackHandler))


def count_usage(config: RunnableConfig) -> tuple[RunnableConfig, UsageMetadataCallbackHandler]:
    """Have the usage of all models inside of a Runnable counted: of an agent, a graph, a chain.

    Such a Runnable's answer carries the usage of its last call at best.

    Args:
        config: With which the Runnable would be asked.

    Returns:
        The config to ask it with, and the handler whose `usage_metadata` has the usage by model name afterwards.
    """
    usage = UsageMetadataCallbackHandler()
    return merge_configs(config, {"callbacks": [usage]}), usage


def without(metadata: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata less what stands in `parameters` by the same name and value."""
    missing = object()
    return {name: value for name, value in metadata.items() if parameters.get(name, missing) != value}


def _inner(handler: BaseCallbackHandler, parameters: Mapping[str, Any]) -> BaseCallbackHandler:
    if not isinstance(handler, LangChainTracer):
        return handler
    inner = handler.copy_with_metadata_defaults()
    inner.tracing_metadata = without(handler.tracing_metadata or {}, parameters)
    return inner


class _WithoutUsage:
    """Stands for a handler in everything, but tells it of no usage when a run ends.

    Core and the patches of other packages ask a manager's handlers for their class and compare them, so that none is
    added twice: this one is of its handler's class, and equal to it.
    """

    def __init__(self, handler: BaseCallbackHandler) -> None:
        """Keep the handler."""
        self._handler = handler

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._handler)

    def __eq__(self, other: object) -> bool:
        return bool(self._handler == _original(other))

    def __hash__(self) -> int:
        return hash(self._handler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)

    def copy_with_metadata_defaults(self, **defaults: Any) -> _WithoutUsage:
        """Return what stands for the copy that core makes of a LangSmith tracer as it opens a run."""
        return _WithoutUsage(self._handler.copy_with_metadata_defaults(**defaults))  # type: ignore[attr-defined]

    @property
    def on_llm_end(self) -> Any:
        """The handler's own method, which gets an answer without its usage."""
        method: Any = self._handler.on_llm_end

        def on_llm_end(response: LLMResult, **kwargs: Any) -> Any:
            return method(_without_usage(response), **kwargs)

        async def on_llm_end_async(response: LLMResult, **kwargs: Any) -> Any:
            return await method(_without_usage(response), **kwargs)

        return on_llm_end_async if inspect.iscoroutinefunction(method) else on_llm_end


def _original(handler: Any) -> Any:
    return handler._handler if type(handler) is _WithoutUsage else handler


def _without_usage(response: LLMResult) -> LLMResult:
    generations = [[_generation_without_usage(item) for item in prompt] for prompt in response.generations]
    return response.model_copy(update={"generations": generations, "llm_output": None})


def _generation_without_usage(generation: Any) -> Any:
    if not (isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage)):
        return generation
    message = generation.message
    # Providers' own names of it, which some handlers read as well.
    metadata = {key: value for key, value in message.response_metadata.items() if key not in ("token_usage", "usage")}
    message = message.model_copy(update={"usage_metadata": None, "response_metadata": metadata})
    return generation.model_copy(update={"message": message})
