"""Which callback handlers see the inside of a `ChatMoA` call, and how they count its usage once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Self
from uuid import UUID

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

from langchain_moa._messages.costs import cost_of
from langchain_moa.prices import Cost, Prices

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
        handlers: list[Any] = [_WithoutUsage(h) if self.looks_inside(h) else _telling(h, None) for h in self.handlers]
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


def with_costs(config: RunnableConfig, prices: Prices) -> RunnableConfig:
    """Have LangSmith and Langfuse learn what each model call costs that is made with a config."""
    manager = config.get("callbacks")
    if not isinstance(manager, BaseCallbackManager) or not any(map(_takes_costs, manager.handlers)):
        return config
    manager = manager.copy()
    manager.handlers = [_telling(handler, prices) for handler in manager.handlers]
    manager.inheritable_handlers = [_telling(handler, prices) for handler in manager.inheritable_handlers]
    return {**config, "callbacks": manager}


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


class _StandIn:
    """Stands for a handler in everything, but tells it something else when a model's run ends.

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

    def copy_with_metadata_defaults(self, **defaults: Any) -> Self:
        """Return what stands for the copy that core makes of a LangSmith tracer as it opens a run."""
        return self._like(self._handler.copy_with_metadata_defaults(**defaults))  # type: ignore[attr-defined]

    def _like(self, handler: BaseCallbackHandler) -> Self:
        return type(self)(handler)


class _WithoutUsage(_StandIn):
    """Tells a handler of no usage when a run ends."""

    @property
    def on_llm_end(self) -> Any:
        """The handler's own method, which gets an answer without its usage."""
        method: Any = self._handler.on_llm_end

        def on_llm_end(response: LLMResult, **kwargs: Any) -> Any:
            return method(_without_usage(response), **kwargs)

        async def on_llm_end_async(response: LLMResult, **kwargs: Any) -> Any:
            return await method(_without_usage(response), **kwargs)

        return on_llm_end_async if inspect.iscoroutinefunction(method) else on_llm_end


class _WithCost(_StandIn):
    """Tells LangSmith's tracer or Langfuse's handler what the calls of a run have cost.

    LangSmith takes costs from the usage (`langsmith.schemas.UsageMetadata`). Core can't add up usages that have them
    (langchain-core 1.8), so that nobody else may see these.
    """

    def __init__(self, handler: BaseCallbackHandler, prices: Prices | None) -> None:
        """Keep the handler, and the prices of its runs; `None`: only what answers tell of themselves."""
        super().__init__(handler)
        self._prices = prices
        self._begun: dict[UUID, Mapping[str, Any]] = {}
        """Metadata of the runs that have not ended."""

    def _like(self, handler: BaseCallbackHandler) -> Self:
        return type(self)(handler, self._prices)

    def on_chat_model_start(self, *args: Any, run_id: UUID, **kwargs: Any) -> Any:
        """Remember whose model it is."""
        self._begun[run_id] = kwargs.get("metadata") or {}
        return self._handler.on_chat_model_start(*args, run_id=run_id, **kwargs)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> Any:
        """Tell the cost with the answer."""
        about = self._begun.pop(run_id, {})
        message = _only_message(response)
        if message and (cost := self._cost(message, about)):
            # Langfuse 5 has no public way to a run's observation, and takes no cost from LangChain's messages.
            if observation := getattr(self._handler, "_runs", {}).get(run_id) if _is_langfuse(self._handler) else None:
                observation.update(cost_details=_named(cost, ""))
            elif isinstance(self._handler, LangChainTracer) and message.usage_metadata:
                response = _with_usage(response, {**message.usage_metadata, **_named(cost, "_cost")})
        return self._handler.on_llm_end(response, run_id=run_id, **kwargs)

    def _cost(self, message: AIMessage, about: Mapping[str, Any]) -> Cost | None:
        name, provider = about.get("ls_model_name") or "", about.get("ls_provider")
        return cost_of(message, self._prices, model=name, provider=provider)


def _telling(handler: Any, prices: Prices | None) -> Any:
    return _WithCost(_original(handler), prices) if _takes_costs(handler) and not _is_told_less(handler) else handler


def _is_told_less(handler: Any) -> bool:
    return type(handler) is _WithoutUsage


def _takes_costs(handler: Any) -> bool:
    return isinstance(handler, LangChainTracer) or _is_langfuse(handler)


def _is_langfuse(handler: Any) -> bool:
    return any(cls.__module__.startswith("langfuse.") for cls in handler.__class__.__mro__)


def _named(cost: Cost, ending: str) -> dict[str, float]:
    return {f"{name}{ending}": value for name, value in cost._asdict().items() if value is not None}


def _only_message(response: LLMResult) -> AIMessage | None:
    """Return the one message of an answer; `None` when there are several, whose costs LangSmith can't tell apart."""
    match response.generations:
        case [[ChatGeneration(message=AIMessage() as message)]]:
            return message
    return None


def _with_usage(response: LLMResult, usage: Any) -> LLMResult:
    ((generation,),) = response.generations
    message = generation.message.model_copy(update={"usage_metadata": usage})  # type: ignore[union-attr]
    return response.model_copy(update={"generations": [[generation.model_copy(update={"message": message})]]})


def _original(handler: Any) -> Any:
    return handler._handler if issubclass(type(handler), _StandIn) else handler


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
