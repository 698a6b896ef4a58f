"""Progress events, and what one `ChatMoA` call tells the nodes of its graph."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    BaseCallbackManager,
    adispatch_custom_event,
)
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer

# Two underscores keep it out of traces' metadata.
_CALL = "__moa_call"

_DEAF = (BaseCallbackHandler.on_custom_event, AsyncCallbackHandler.on_custom_event)

Event = tuple[str, dict[str, Any]]
"""Its name, and plain data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """What one call of a `ChatMoA` hands to the nodes. Absent when the graph runs by itself."""

    listeners: RunnableConfig
    """Carries the callbacks that hear of progress, with the `ChatMoA` run as their parent."""

    write: Callable[[Any], None]
    """The stream writer of the graph that the `ChatMoA` is called in; does nothing outside of one."""

    on_chunk: Callable[[AIMessageChunk], None] | None = None
    """Takes the aggregator's chunks as they come; `None` asks it for a whole answer."""

    on_chunks: Callable[[Generator[AIMessageChunk]], Awaitable[None]] | None = None
    """For a sync caller: draws them all from the aggregator's stream."""

    aggregator_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """The call-time arguments, which are the aggregator's alone."""

    def as_configurable(self) -> dict[str, Any]:
        """Return the entry of a config's `configurable` that `current_call` finds."""
        return {_CALL: self}


def current_call(config: RunnableConfig) -> Call | None:
    """Return what the `ChatMoA` call around a node told it, if there is one."""
    call: Call | None = config.get("configurable", {}).get(_CALL)
    return call


def current_tools(config: RunnableConfig) -> Sequence[Any]:
    """Return the schemas of the tools that the aggregator has in the call around a node."""
    call = current_call(config)
    return (call.aggregator_kwargs.get("tools") if call else None) or ()


def is_plain(config: RunnableConfig) -> bool:
    """Tell whether the answer is a text of the aggregator's own form: no tools, and no schema."""
    call = current_call(config)
    arguments = call.aggregator_kwargs if call else {}
    # Where the OpenAI SDK is not to parse the answer, its format is in the request's body.
    in_body = (arguments.get("extra_body") or {}).get("response_format")
    return not (arguments.get("tools") or arguments.get("response_format") or in_body)


def child_config(config: RunnableConfig, *, run_name: str, tag: str) -> RunnableConfig:
    """Return the config with which a node asks its model: named and tagged, and not part of the call around it."""
    configurable = {key: value for key, value in config.get("configurable", {}).items() if key != _CALL}
    tags = [*(config.get("tags") or []), tag]
    return {**config, "configurable": configurable, "tags": tags, "run_name": run_name}


def enclosing_writer() -> Callable[[Any], None]:
    """Return the stream writer of the LangGraph node that is running; one that does nothing outside of a graph."""
    try:
        return get_stream_writer()
    except (RuntimeError, KeyError):  # no runnable context, or one that is not a graph's
        return lambda _: None


async def emit(events: Iterable[Event], config: RunnableConfig) -> None:
    """Report progress: custom events for callbacks, and items of a graph's `stream_mode="custom"`.

    Args:
        events: In the order in which they are reported.
        config: The node's config.
    """
    call = current_call(config)
    write, listeners = (call.write, call.listeners) if call else (enclosing_writer(), config)
    for name, data in events:
        write({"event": name, **data})
        if _anyone_listens(listeners):
            await adispatch_custom_event(name, data, config=listeners)


def _anyone_listens(config: RunnableConfig) -> bool:
    """Tell whether a handler does anything with custom events: dispatching one costs as much as a node."""
    callbacks = config.get("callbacks")
    if not isinstance(callbacks, BaseCallbackManager):
        return bool(callbacks)
    return any(getattr(h.on_custom_event, "__func__", None) not in _DEAF for h in callbacks.handlers)
