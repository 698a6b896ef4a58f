"""Run the graph for one answer and show its progress."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.runnables import RunnableConfig
    from langgraph.types import StreamMode

    from langchain_moa.chat_models import ChatMoA
    from langchain_moa.state import ProposerCall


_TICK_SECONDS = 0.1


class View(Protocol):
    """Shows the progress of an answer."""

    def progress(self, event: dict[str, Any]) -> None:
        """Show a progress event of the graph."""

    def references(self, calls: Sequence[tuple[int, ProposerCall]]) -> None:
        """Show all references with their layers; called once, before the answer's first token."""

    def token(self, text: str) -> None:
        """Show the next part of the answer."""

    def tick(self) -> None:
        """Update elapsed times; called several times a second."""


async def run_answer(
    model: ChatMoA,
    messages: Sequence[BaseMessage],
    view: View,
    *,
    num_proc: int | None = None,
    stream: bool = True,
) -> AIMessage:
    """Generate one answer.

    Args:
        model: The mixture.
        messages: The conversation, ending with the question.
        view: The view that shows the progress.
        num_proc: Maximum number of concurrent calls. Default: a whole layer.
        stream: Whether to show the answer while it is written.

    Returns:
        The answer, with `response_metadata["moa"]`.
    """
    clock = asyncio.create_task(_tick(view))
    try:
        return await _run(model, messages, view, num_proc, shows_tokens=stream)
    finally:
        clock.cancel()


async def _tick(view: View) -> None:
    while True:
        started = monotonic()
        view.tick()
        # A long code block takes a while to draw: the answer goes first.
        await asyncio.sleep(max(_TICK_SECONDS, 4 * (monotonic() - started)))


async def _run(
    model: ChatMoA, messages: Sequence[BaseMessage], view: View, num_proc: int | None, *, shows_tokens: bool
) -> AIMessage:
    from langchain_core.messages import AIMessageChunk

    calls: dict[str, ProposerCall] = {}
    answer: AIMessage | None = None
    streamed = introduced = False
    config: RunnableConfig = {"max_concurrency": num_proc} if num_proc else {}
    modes: list[StreamMode] = ["custom", "messages", "updates"]
    # LangGraph's types know no list of modes: with one, each item comes with its mode.
    stream: Any = model.graph.astream({"messages": list(messages)}, config, stream_mode=modes)  # type: ignore[call-overload]
    async for mode, item in stream:
        if not introduced and _begins_the_answer(mode, item):
            introduced = True
            view.references([(_layer(node), calls[node]) for node in sorted(calls)])
        if mode == "custom":
            view.progress(item)
        elif mode == "updates":
            for update in item.values():
                calls |= update.get("calls", {})
                answer = update["messages"][-1] if "messages" in update else answer
        elif shows_tokens and _is_the_answers(item):
            # A model that does not stream comes as one whole message; one that does may come again as a whole.
            if text := item[0].text if isinstance(item[0], AIMessageChunk) or not streamed else "":
                streamed = True
                view.token(text)
    assert answer is not None
    if not streamed:
        view.token(answer.text)
    return answer


def _begins_the_answer(mode: str, item: Any) -> bool:
    """Whether all references are there: the aggregator starts, or the answer is one of the references."""
    if mode == "custom":
        return bool(item["event"] == "moa_aggregator_start")
    return mode == "messages" and _is_the_answers(item)


def _is_the_answers(item: Any) -> bool:
    return bool(item[1]["langgraph_node"] == "aggregator")


def _layer(node: str) -> int:
    return int(node.split("_")[1])  # layer_1_proposer_02
