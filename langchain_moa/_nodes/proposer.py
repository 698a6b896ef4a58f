"""The node that asks a proposer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_moa._aggregation.vote import read_vote
from langchain_moa._messages.answers import add_up
from langchain_moa._messages.conversation import reference_text
from langchain_moa._messages.endings import end_of
from langchain_moa._models.members import Member
from langchain_moa._nodes.budget import Budget
from langchain_moa._nodes.layer import Layer
from langchain_moa._runtime.bills import bill
from langchain_moa._runtime.call_context import CallContext, call_context, child_config
from langchain_moa._runtime.layer_clock import LayerClock, LayerClosedError
from langchain_moa._runtime.sync_bridge import AsyncNode, call
from langchain_moa._runtime.tracing import count_usage
from langchain_moa._runtime.turn_references import Turn
from langchain_moa.answer_keys import AnswerKey
from langchain_moa.exceptions import MoAError, describe
from langchain_moa.prices import is_loaded
from langchain_moa.state import Failure, MoAState, ProposerCall, Reference, Status

logger = logging.getLogger(__name__)


class AskProposer(AsyncNode[MoAState, dict[str, Any]]):
    """A node: one proposer's reference, or why there is none."""

    def __init__(
        self, member: Member, *, layer: Layer, node: str, earlier: Sequence[Layer], answer_key: AnswerKey
    ) -> None:
        """Prepare the node.

        Args:
            member: The proposer.
            layer: Its layer.
            node: The node's name.
            earlier: The layers before, first to last; it sees the references of the last one.
            answer_key: From a text to what it votes for, in a layer that votes.
        """
        self._member = member
        self._layer = layer
        self._node = node
        self._earlier = earlier
        self._before = earlier[-1] if earlier else None
        self._budget = Budget(layer.options)
        self._answer_key = answer_key
        self._about = {"layer": layer.number, "proposer": member.name, "model": member.model_name}
        self._total = len(layer.members)

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        """Ask the proposer."""
        config = config or {}
        context = call_context(config)
        turn = self._layer.turn(input, context)
        if turn and (known := turn.known.get(self._node)) is not None:
            is_left_out = known["calls"][self._node]["status"] == "skipped"
            return self._leave_out(input, turn) if is_left_out else _again(known, self._node)
        if self._budget.leaves_out(self._layer, self._earlier, input):
            return self._leave_out(input, turn)
        is_vote = self._layer.votes and context.answer_form == "text"
        clock = self._layer.clock(input, turn, is_vote=is_vote)
        messages, is_trimmed = self._prompt(input, context)
        # One node of a layer tells of the end of the layer before.
        if self._before and self._node == self._layer.nodes[0]:
            await context.emit(self._before.ended(input))
        await context.emit(("moa_proposer_start", {**self._about, "total": self._total}))
        started = perf_counter()
        prices = self._layer.prices
        child, usage = child_config(config, run_name=self._member.name, tag="moa:proposer", prices=prices), None
        if self._member.provider is None:  # an agent, say, whose answer has the usage of its last call at best
            child, usage = count_usage(child)
        read = _read(await self._reply(messages, child, clock), self._member.provider)
        account = self._account(read, seconds=perf_counter() - started, is_trimmed=is_trimmed)
        used = usage.usage_metadata if usage else None
        if used:
            account["usage"] = add_up(used.values())
        member = self._member
        make_bill = partial(bill, prices, used or read.message, model=member.model_name, provider=member.ls_provider)
        if is_loaded() or self._layer.options.max_cost is not None:
            account = {**account, **await make_bill()}
        else:
            input["run"].unbilled[self._node] = make_bill
        vote = await read_vote(read.text, self._answer_key) if is_vote and read.status == "ok" else None
        done = clock.finish(is_good=read.status == "ok", vote=vote)
        await context.emit(("moa_proposer_end", {**self._about, **account, "done": done, "total": self._total}))
        return self._update(read, account, turn)

    def _leave_out(self, state: MoAState, turn: Turn | None) -> dict[str, Any]:
        """Return what the node writes into the state when it asks nobody: what the layer before gave goes on."""
        update: dict[str, Any] = {"calls": self._layer.skipped([self._node])}
        if turn:  # so that the turn's later steps show the aggregator the same
            turn.given[self._node] = update
        if self._node == self._layer.nodes[0]:
            return {**update, "references": state.get("references", []), "failures": state.get("failures", [])}
        return update

    def _prompt(self, state: MoAState, context: CallContext) -> tuple[list[BaseMessage], bool]:
        """Return what the proposer is asked, and whether references were trimmed to fit."""
        conversation = state["messages"] if context.messages is None else context.messages
        messages = self._member.view(conversation, context.tools)
        if self._before is None:
            return messages, False
        texts = [reference["content"] for reference in self._before.references(state)]
        return self._before.place(messages, texts, reader=self._member)

    async def _reply(self, messages: Sequence[BaseMessage], child: RunnableConfig, clock: LayerClock) -> Any:
        """Return the proposer's reply, or the error: one proposer's failure is data, and the others go on."""
        try:
            clock.check_open()  # with `max_concurrency` its turn may come late
            return await clock.limit(call(self._member.model, messages, child), self._member.timeout)
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            return MoAError(f"it canceled itself: {describe(error)}")
        except Exception as error:
            return error

    def _account(self, read: _Read, *, seconds: float, is_trimmed: bool) -> ProposerCall:
        """Return what the answer's metadata says of the call."""
        metadata = read.message.response_metadata if read.message else {}
        account = ProposerCall(
            proposer=self._member.name,
            model=metadata.get("model_name") or self._member.model_name,
            status=read.status,
            finish_reason=read.finish_reason,
            seconds=round(seconds, 3),
            usage=getattr(read.message, "usage_metadata", None),
            error=describe(read.error) if read.error else None,
        )
        if self._layer.options.include_references and read.text:
            account["text"] = read.text
        if is_trimmed:
            account["references_trimmed"] = True
        return account

    def _update(self, read: _Read, account: ProposerCall, turn: Turn | None) -> dict[str, Any]:
        """Return what the node writes into the state."""
        update: dict[str, Any] = {"calls": {self._node: account}}
        if read.error:
            name, layer = self._member.name, self._layer.number
            logger.warning("Proposer %r of layer %d failed: %s", name, layer, account["error"])
            return {**update, "failures": [Failure(proposer=name, error=read.error)]}
        update["references"] = [Reference(proposer=self._member.name, content=read.text)]
        if turn:
            turn.given[self._node] = update
        return update


class _Read(NamedTuple):
    """What a proposer's reply is worth."""

    message: BaseMessage | None
    text: str
    """What others see of it."""

    status: Status
    error: Exception | None
    finish_reason: str | None = None


def _read(reply: Any, provider: str | None) -> _Read:
    if isinstance(reply, LayerClosedError):
        return _Read(None, "", "cancelled", reply)
    if isinstance(reply, Exception):
        return _Read(None, "", "timeout" if isinstance(reply, TimeoutError | ModelTimeoutError) else "failed", reply)
    if isinstance(reply, str):
        reply = AIMessage(reply)
    if not isinstance(reply, BaseMessage):
        error = TypeError(f"a proposer returns a message, not {type(reply).__name__}")
        return _Read(None, "", "failed", error)
    try:
        text, (ended, why) = reference_text(reply), end_of(reply, provider=provider)
    except Exception as error:  # whatever a model may put into a message
        return _Read(reply, "", "failed", error)
    if not text:
        empty = MoAError(f"empty answer (finish reason: {why})")
        return _Read(reply, text, "filtered" if ended == "filtered" else "empty", empty, why)
    return _Read(reply, text, "truncated" if ended == "unknown" else ended, None, why)


def _again(known: dict[str, Any], node: str) -> dict[str, Any]:
    """Return what a node gave earlier in the turn; its usage was counted when it was asked."""
    again = {**known["calls"][node], "usage": None, "seconds": 0.0, "reused": True}
    if "cost" in again:
        again |= {"cost": 0.0}
        again.pop("unpriced", None)
    return {**known, "calls": {node: again}}
