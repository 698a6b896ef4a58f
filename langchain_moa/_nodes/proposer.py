"""The node that asks a proposer."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_moa._messages.conversation import reference_text
from langchain_moa._messages.endings import finish_reason, is_cut_off
from langchain_moa._models.members import Member
from langchain_moa._nodes.layer import Layer, Question
from langchain_moa._runtime.events import Event, child_config, current_tools, emit
from langchain_moa._runtime.layer_clock import LayerClock, LayerClosedError
from langchain_moa._runtime.sync_bridge import AsyncNode, call
from langchain_moa._runtime.turn_references import Turns
from langchain_moa.exceptions import MoAError, describe
from langchain_moa.state import Failure, MoAState, ProposerCall, Reference, Status

logger = logging.getLogger(__name__)


class AskProposer(AsyncNode[MoAState, dict[str, Any]]):
    """A node: one proposer's reference, or why there is none."""

    def __init__(
        self, member: Member, *, layer: Layer, node: str, before: Layer | None, turns: Turns, keep_text: bool
    ) -> None:
        """Keep who is asked, and where in the graph.

        Args:
            member: Who is asked.
            layer: Where it stands.
            node: The node's name.
            before: The layer whose references it sees; `None` in the first.
            turns: Whether it is asked, and what it gave in the turns before.
            keep_text: Whether the answer's metadata shows the text.
        """
        self._member = member
        self._layer = layer
        self._node = node
        self._before = before
        self._turns = turns
        self._keep_text = keep_text

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Ask the proposer."""
        config = config or {}
        turn = self._turns.current(input, config)
        if (known := turn.known.get(self._node)) is not None:
            return _again(known, self._node)
        member, question, clock = self._member, self._question(input, config), self._layer.clock(input)
        await emit(self._opening(input), config)
        try:
            clock.check_open()  # with `max_concurrency` its turn may come late
            reply = await clock.limit(call(member.model, question.messages, question.child), member.timeout)
        except Exception as error:  # one proposer's failure is data: the others go on
            reply = error
        update, closing = self._update(reply, question, clock, config)
        await emit([closing], config)
        turn.keep(self._node, update)
        return update

    def _question(self, state: MoAState, config: RunnableConfig) -> Question:
        tools = current_tools(config)
        messages = self._member.view(state["messages"], tools)
        trimmed = False
        if self._before:
            texts = [reference["content"] for reference in self._before.references(state)]
            messages, trimmed = self._before.place(messages, texts, reader=self._member.model)
        return Question(
            messages=messages,
            references_trimmed=trimmed,
            child=child_config(config, run_name=self._member.name, tag="moa:proposer"),
            started=perf_counter(),
        )

    def _opening(self, state: MoAState) -> list[Event]:
        start: Event = ("moa_proposer_start", {**self._about(), "total": len(self._layer.nodes)})
        # One node of a layer tells of the end of the layer before.
        news = [self._before.ended(state)] if self._before and self._node == self._layer.nodes[0] else []
        return [*news, start]

    def _about(self) -> dict[str, Any]:
        return {"layer": self._layer.number, "proposer": self._member.name, "model": self._member.model_name}

    def _update(
        self, reply: Any, question: Question, clock: LayerClock, config: RunnableConfig
    ) -> tuple[dict[str, Any], Event]:
        """Turn a reply or an error into what the node writes and what it reports."""
        message, text, error, status = _judge(reply)
        account = ProposerCall(
            proposer=self._member.name,
            model=(message and message.response_metadata.get("model_name")) or self._member.model_name,
            status=status,
            seconds=round(perf_counter() - question.started, 3),
            usage=getattr(message, "usage_metadata", None),
            error=describe(error) if error else None,
        )
        if self._keep_text and text:
            account["text"] = text
        if question.references_trimmed:
            account["references_trimmed"] = True
        update: dict[str, Any] = {"calls": {self._node: account}}
        if error:
            logger.warning("Proposer %r of layer %d is left out: %s", self._member.name, self._layer.number, error)
            update["failures"] = [Failure(proposer=self._member.name, error=error)]
        else:
            update["references"] = [Reference(proposer=self._member.name, content=text)]
        done = clock.finish(is_good=status == "ok", vote=self._layer.vote(text, status, config))
        progress = {"done": done, "total": len(self._layer.nodes)}
        return update, ("moa_proposer_end", {**self._about(), **account, **progress})


def _again(known: dict[str, Any], node: str) -> dict[str, Any]:
    """Return what a node gave earlier in the turn; its usage was counted when it was asked."""
    again = {**known["calls"][node], "usage": None, "seconds": 0.0, "reused": True}
    return {**known, "calls": {node: again}}


def _judge(reply: Any) -> tuple[BaseMessage | None, str, Exception | None, Status]:
    """Tell what a proposer's reply is worth: the message, its text for others, what is wrong, and the status."""
    if isinstance(reply, LayerClosedError):
        return None, "", reply, "cancelled"
    if isinstance(reply, Exception):
        return None, "", reply, "timeout" if isinstance(reply, TimeoutError | ModelTimeoutError) else "failed"
    if isinstance(reply, str):
        reply = AIMessage(reply)
    if not isinstance(reply, BaseMessage):
        return None, "", TypeError(f"a proposer returns a message, not {type(reply).__name__}"), "failed"
    text = reference_text(reply)
    if not text:
        return reply, text, MoAError(f"empty answer (finish reason: {finish_reason(reply)})"), "empty"
    return reply, text, None, "truncated" if is_cut_off(reply) else "ok"
