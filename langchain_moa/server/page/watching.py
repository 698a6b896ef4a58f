"""Progress events of a mixture while it answers, for the page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.schema import StreamEvent

from langchain_moa._messages.answers import total_usage
from langchain_moa.chat_models import ChatMoA
from langchain_moa.server.api_errors import error_types
from langchain_moa.server.completion_objects import finish_reason
from langchain_moa.server.page.prompt import PromptListener

Event = dict[str, Any]
"""A JSON-serializable event: its name in `event`, and its data."""


def structure(model: ChatMoA) -> dict[str, Any]:
    """Return the members of a mixture: `layers`, a list of proposer names per layer, first to last."""
    layers: dict[int, list[str]] = {}
    for node in model.graph.nodes.values():
        about = node.metadata or {}
        if about.get("moa_role") == "proposer":
            layers.setdefault(about["moa_layer"], []).append(about["moa_proposer"])
    return {"layers": [layers[number] for number in sorted(layers)]}


async def watch(model: ChatMoA, messages: Sequence[BaseMessage]) -> AsyncGenerator[Event]:
    """Generate one answer and yield its progress events.

    Args:
        model: A mixture with `include_references`, and with `PromptListener` among its `inner_handlers`.
        messages: The conversation, ending with the question.

    Yields:
        `structure`; the progress events, without `moa_` in their names (`proposer_end` has the proposal's `text`); the
            `prompt` that the aggregator saw, again if another one took over; the answer's `token`s; `end`, with the
            account of the whole call.
    """
    yield {"event": "structure", **structure(model)}
    listener = PromptListener()
    config: RunnableConfig = {"callbacks": [listener]}
    happenings = cast("AsyncGenerator[StreamEvent]", model.astream_events(messages, config, version="v2"))
    async with aclosing(happenings):
        try:
            async for happening in happenings:
                if prompt := listener.take():
                    yield {"event": "prompt", "messages": prompt}
                if event := _event(happening):
                    yield event
        except Exception:
            if prompt := listener.take():  # of an aggregator that failed before its first token
                yield {"event": "prompt", "messages": prompt}
            raise


def _event(happening: StreamEvent) -> Event | None:
    data: dict[str, Any] = dict(happening["data"])
    match happening["event"]:
        case "on_custom_event":
            return {"event": happening["name"].removeprefix("moa_"), **error_types(data)}
        case "on_chat_model_stream" if text := data["chunk"].text:
            return {"event": "token", "text": text}
        case "on_chat_model_end":
            return {"event": "end", **_account(data["output"])}
    return None


def _account(answer: AIMessage) -> dict[str, Any]:
    moa = error_types(answer.response_metadata["moa"])
    return {"moa": moa, "usage": total_usage(moa), "finish_reason": finish_reason(answer.response_metadata)}
