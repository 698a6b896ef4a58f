"""What one call of a `ChatMoA` tells the nodes of its graph, and the progress events that the nodes report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    BaseCallbackManager,
    adispatch_custom_event,
)
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer

from langchain_moa._runtime.tracing import with_costs
from langchain_moa.prices import Prices

# Keys with two underscores are left out of traces' metadata.
_KEY = "__moa_call"

# What libraries add, which differs between the steps of one conversation.
_OF_LIBRARIES = ("__", "langgraph_", "checkpoint_", "ls_", "lc_", "moa_", "run_", "task_")

_NO_LISTENERS = (BaseCallbackHandler.on_custom_event, AsyncCallbackHandler.on_custom_event)

AnswerForm = Literal["text", "tools", "schema"]
"""What the aggregator answers with: a text in its own words, tool calls, or a text in a schema."""

Event = tuple[str, dict[str, Any]]
"""Name and data of a progress event."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CallContext:
    """What one call of a `ChatMoA` tells the nodes."""

    messages: Sequence[BaseMessage] | None = None
    """The conversation as it was given. The graph's state has copies, because LangGraph merges messages by their ids.
    `None` when the graph runs by itself: then the state has it."""

    listeners: RunnableConfig
    """Config whose callbacks hear of progress; their parent is the `ChatMoA` run."""

    write: Callable[[Any], None] | None = None
    """Stream writer of the enclosing LangGraph node, if there is one."""

    on_chunk: Callable[[AIMessageChunk], Awaitable[None]] | None = None
    """Takes the aggregator's chunks as they come, and has it wait for a caller who is behind with reading; `None` asks
    it for a whole answer."""

    on_chunks: Callable[[Generator[AIMessageChunk], asyncio.Timeout], Awaitable[None]] | None = None
    """For a sync caller: reads a sync stream of the aggregator to its end; the timeout runs until its first chunk."""

    aggregator_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the call, which only the aggregator gets."""

    answer_form: AnswerForm = "text"

    told: Sequence[Mapping[str, Any]] = ()
    """The caller's `configurable` and metadata."""

    @property
    def tools(self) -> Sequence[Any]:
        """Schemas of the tools that the aggregator has."""
        return self.aggregator_kwargs.get("tools") or ()

    @property
    def caller(self) -> dict[str, Any]:
        """What the caller says of itself, and libraries don't: it tells one tenant from another."""
        return {key: value for told in self.told for key, value in told.items() if not key.startswith(_OF_LIBRARIES)}

    def as_configurable(self) -> dict[str, Any]:
        """Return the entry of a config's `configurable` that `call_context` finds."""
        return {_KEY: self}

    async def emit(self, *events: Event) -> None:
        """Report progress: custom events for callbacks, and items of a graph's `stream_mode="custom"`."""
        for name, data in events:
            if self.write:
                self.write({"event": name, **data})
            if self._has_listeners:
                await adispatch_custom_event(name, data, config=self.listeners)

    @cached_property
    def _has_listeners(self) -> bool:
        """Whether a handler does anything with custom events: dispatching one costs as much as a node."""
        callbacks = self.listeners.get("callbacks")
        if not isinstance(callbacks, BaseCallbackManager):
            return bool(callbacks)
        return any([getattr(h.on_custom_event, "__func__", None) not in _NO_LISTENERS for h in callbacks.handlers])


def call_context(config: RunnableConfig) -> CallContext:
    """Return the context of the call that a node belongs to; one of its own when the graph runs by itself."""
    configurable = config.get("configurable", {})
    context: CallContext | None = configurable.get(_KEY)
    if context is None:
        told = (configurable, config.get("metadata") or {})
        context = CallContext(listeners=config, write=enclosing_writer(), told=told)
    return context


def child_config(config: RunnableConfig, *, run_name: str, tag: str, prices: Prices | None = None) -> RunnableConfig:
    """Return the config with which a node asks its model: named and tagged, and not part of the call around it.

    With prices, the tools that take a cost learn what the model's calls cost.
    """
    if prices:
        config = with_costs(config, prices)
    configurable = dict(config.get("configurable", {}))
    configurable.pop(_KEY, None)
    return {**config, "configurable": configurable, "tags": [*(config.get("tags") or []), tag], "run_name": run_name}


def enclosing_writer() -> Callable[[Any], None] | None:
    """Return the stream writer of the LangGraph node that is running, if there is one."""
    try:
        return get_stream_writer()
    except (RuntimeError, KeyError):  # no runnable context, or one that is not a graph's
        return None
