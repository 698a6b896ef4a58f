"""The node that asks a proposer."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa.events import Event, aemit, child_config, current_tools, emit, shared_by
from langchain_moa.exceptions import MoAError
from langchain_moa.layer import Layer, Question, describe
from langchain_moa.limits import LayerClock, LayerClosedError
from langchain_moa.proposers import Member
from langchain_moa.state import Failure, MoAState, ProposerCall, Reference, Status
from langchain_moa.turns import Turns
from langchain_moa.views import reference_text

logger = logging.getLogger(__name__)


class AskProposer(Runnable[MoAState, dict[str, Any]]):
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

    def invoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Ask the proposer."""
        config = config or {}
        if (settled := self._settled(input, config)) is not None:
            return settled
        question, clock = self._question(input, config), self._layer.clock(input, config)
        emit(question.opening, question.config)
        try:
            reply = self._member.race.ask(question.messages, question.child, clock)
        except Exception as error:  # one proposer's failure is data: the others go on
            reply = error
        update, closing = self._update(reply, question, clock)
        emit([closing], config)
        self._turns.keep(input["messages"], self._node, update, has_tools=bool(current_tools(config)))
        return update

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Ask the proposer."""
        config = config or {}
        if (settled := self._settled(input, config)) is not None:
            return settled
        question, clock = self._question(input, config), self._layer.clock(input, config)
        await aemit(question.opening, question.config)
        try:
            reply = await self._member.race.aask(question.messages, question.child, clock)
        except Exception as error:  # one proposer's failure is data: the others go on
            reply = error
        update, closing = self._update(reply, question, clock)
        await aemit([closing], config)
        self._turns.keep(input["messages"], self._node, update, has_tools=bool(current_tools(config)))
        return update

    def _settled(self, state: MoAState, config: RunnableConfig) -> dict[str, Any] | None:
        """Return what the node writes without asking: nothing if it is left out, or what it gave in this turn."""
        has_tools = bool(current_tools(config))
        turn = shared_by(state, config).decide(lambda: self._turns.begin(state["messages"], has_tools=has_tools))
        if turn.is_skipped:
            return {"calls": {self._node: self._call(status="skipped", seconds=0.0)}}
        known = turn.known.get(self._node)
        if known is None:
            return None
        # Its usage was counted when it was asked.
        again = {**known["calls"][self._node], "usage": None, "seconds": 0.0, "reused": True}
        return {**known, "calls": {self._node: again}}

    def _question(self, state: MoAState, config: RunnableConfig) -> Question:
        tools = current_tools(config)
        messages = self._member.view(state["messages"], tools)
        trimmed = False
        if self._before:
            messages, trimmed = self._before.place(messages, state, reader=self._member.model, has_tools=False)
        start: Event = ("moa_proposer_start", {**self._about(), "total": len(self._layer.nodes)})
        # One node of a layer tells of the end of the layer before.
        news = [self._before.ended(state)] if self._before and self._node == self._layer.nodes[0] else []
        return Question(
            messages=messages,
            references_trimmed=trimmed,
            config=config,
            child=child_config(config, run_name=self._member.name, tag="moa:proposer"),
            opening=[*news, start],
            started=perf_counter(),
        )

    def _call(
        self,
        *,
        status: Status,
        seconds: float,
        usage: UsageMetadata | None = None,
        error: str | None = None,
        model: str | None = None,
    ) -> ProposerCall:
        return ProposerCall(
            proposer=self._member.name,
            model=model or self._member.model_name,
            status=status,
            seconds=seconds,
            usage=usage,
            error=error,
        )

    def _about(self) -> dict[str, Any]:
        return {"layer": self._layer.number, "proposer": self._member.name, "model": self._member.model_name}

    def _update(self, reply: Any, question: Question, clock: LayerClock) -> tuple[dict[str, Any], Event]:
        """Turn a reply or an error into what the node writes and what it reports."""
        message, text, error, status = _judge(reply)
        call = self._call(
            status=status,
            seconds=round(perf_counter() - question.started, 3),
            usage=getattr(message, "usage_metadata", None),
            error=describe(error) if error else None,
            model=message.response_metadata.get("model_name") if message else None,
        )
        if self._keep_text and text:
            call["text"] = text
        if question.references_trimmed:
            call["references_trimmed"] = True
        update: dict[str, Any] = {"calls": {self._node: call}}
        if error:
            logger.warning("Proposer %r of layer %d is left out: %s", self._member.name, self._layer.number, error)
            update["failures"] = [Failure(proposer=self._member.name, error=error)]
        else:
            update["references"] = [Reference(proposer=self._member.name, content=text)]
        progress = {"done": clock.finish(is_good=status == "ok"), "total": len(self._layer.nodes)}
        return update, ("moa_proposer_end", {**self._about(), **call, **progress})


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
    reason = reply.response_metadata.get("finish_reason") or reply.response_metadata.get("stop_reason")
    text = reference_text(reply)
    if not text:
        return reply, text, MoAError(f"empty answer (finish reason: {reason})"), "empty"
    return reply, text, None, "truncated" if reason in ("length", "max_tokens") else "ok"
