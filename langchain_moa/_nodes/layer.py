"""One layer of proposers, as the nodes in it and behind it see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from time import monotonic
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage, HumanMessage

from langchain_moa._aggregation.outcome import reason
from langchain_moa._messages.prompts import (
    Render,
    is_later_turn,
    to_render,
    with_references,
    with_references_at_the_tail,
)
from langchain_moa._messages.trimming import fit_references
from langchain_moa._models.members import Member, Participant
from langchain_moa._runtime.ballot import Ballot
from langchain_moa._runtime.call_context import CallContext, Event
from langchain_moa._runtime.layer_clock import LayerClock, needed_references
from langchain_moa._runtime.run_state import RunState
from langchain_moa._runtime.turn_references import Turn, turn_references
from langchain_moa.exceptions import MoAError, ProposersFailedError, describe
from langchain_moa.options import MoAOptions
from langchain_moa.prices import Prices
from langchain_moa.state import MoAState, ProposerCall, Reference

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of proposers."""

    number: int
    """From 1."""

    of: int
    """Number of layers."""

    members: Sequence[Member]
    options: MoAOptions

    mixture: str
    """Names the proposers of all layers. Mixtures with the same ones share the references of a turn."""

    prices: Prices | None = None

    is_published: bool = False
    """Whether the mixture is a published line-up."""

    @cached_property
    def nodes(self) -> list[str]:
        """Names of the nodes, in the proposers' order."""
        # Padded, because LangGraph merges parallel writes in the order of the nodes' names.
        return [f"layer_{self.number}_proposer_{place:02d}" for place in range(1, len(self.members) + 1)]

    @cached_property
    def render(self) -> Render:
        """How the layer's references are shown to whoever writes from them."""
        return to_render(self.options.prompt)

    @cached_property
    def votes(self) -> bool:
        """Whether the layer's references vote on the answer."""
        return self.options.aggregation == "vote" and self.number == self.of

    @cached_property
    def comes_in_waves(self) -> bool:
        """Whether the layer's proposers are asked a few at a time."""
        return self.votes and self.options.wave is not None and self.options.wave < len(self.members)

    @cached_property
    def entry(self) -> list[str]:
        """Names of the nodes with which the layer begins."""
        return ["first_wave"] if self.comes_in_waves else self.nodes

    def references(self, state: MoAState) -> list[Reference]:
        """Return what the layer gave, in the order in which it is shown.

        It is empty when the layer was not asked, or when the aggregator may answer alone.

        Raises:
            ProposersFailedError: There are too few references.
        """
        references = state.get("references", [])
        if len(references) >= self.options.min_references:
            return self._in_order(references, state)
        if self.options.on_failure == "aggregate_alone" or self.is_skipped(state):
            return []
        errors = {failure["proposer"]: _as_exception(failure["error"]) for failure in state.get("failures", [])}
        causes = "; ".join(f"{proposer}: {describe(error)}" for proposer, error in errors.items())
        needs = self.options.min_references
        msg = f"Layer {self.number} gave {len(references)} references, and needs {needs}. {causes}"
        raise ProposersFailedError(msg, layer=self.number, errors=errors) from next(iter(errors.values()), None)

    def complete(self, references: Sequence[Reference], state: MoAState) -> list[Reference]:
        """Return the references that are whole: what was cut off or filtered is no candidate and has no vote."""
        calls = [state["calls"][node] for node in self.nodes if node in state["calls"]]  # not all, between waves
        whole = {call["proposer"] for call in calls if call["status"] == "ok"}
        return [reference for reference in references if reference["proposer"] in whole]

    def calls(self, state: MoAState) -> list[ProposerCall]:
        """Return what became of each proposer, in their order."""
        return [state["calls"][node] for node in self.nodes]

    def order(self, state: MoAState) -> list[str]:
        """Return the names of the proposers whose references were shown, in the order in which they were."""
        shown = [call["proposer"] for call in self.calls(state) if call["status"] in ("ok", "truncated", "filtered")]
        return self._in_order(shown, state)

    def random(self, state: MoAState) -> Random:
        """Return where random orders come from: the same for the same seed, layer and question."""
        asked = next((m.text for m in reversed(state["messages"]) if isinstance(m, HumanMessage)), "")
        return Random(f"{self.options.shuffle_seed} {self.number} {asked}".encode("utf-8", "backslashreplace"))

    def is_skipped(self, state: MoAState) -> bool:
        """Tell whether the layer was left out, by the gate or because of a budget."""
        return all(call["status"] == "skipped" for call in self.calls(state))

    def skipped(self, nodes: Sequence[str]) -> dict[str, ProposerCall]:
        """Return by node what becomes of proposers that are not asked."""
        return {
            node: ProposerCall(
                proposer=member.name,
                model=member.model_name,
                status="skipped",
                finish_reason=None,
                seconds=0.0,
                usage=None,
                error=None,
            )
            for node, member in zip(self.nodes, self.members, strict=True)
            if node in nodes
        }

    def turn(self, state: MoAState, context: CallContext) -> Turn | None:
        """Return the user turn that a run belongs to; `None` when the proposers are asked at every call."""
        fan_out, run = self.options.fan_out, state["run"]
        if fan_out != "user_turn" and not (fan_out == "auto" and context.answer_form == "tools"):
            return None
        if run.turn is None:
            conversation = state["messages"] if context.messages is None else context.messages
            run.turn = turn_references.begin(conversation, mixture=self.mixture, caller=context.caller)
        return run.turn

    def clock(self, state: MoAState, turn: Turn | None, *, is_vote: bool) -> LayerClock:
        """Return the layer's clock in a run, which starts with the first of its proposers."""
        if (clock := state["run"].clocks.get(self.number)) is None:
            known = turn.known if turn else {}
            statuses = [known[node]["calls"][node]["status"] for node in self.nodes if node in known]
            # Of votes that it does not see, a ballot may not say how probable the lead is.
            confidence = None if known or self.comes_in_waves else self.options.confidence
            ballot = Ballot(len(self.members), confidence=confidence) if is_vote else None
            clock = self.start_clock(state["run"], reused=statuses.count("ok"), ballot=ballot)
        return clock

    def start_clock(
        self, run: RunState, *, reused: int, finished: int | None = None, ballot: Ballot | None, waves: int = 1
    ) -> LayerClock:
        """Start the layer's clock in a run, anew for each wave. See `LayerClock`.

        With a deadline, each layer and each of the `waves` to come may use an even share of the time that is left; the
        aggregator gets what they leave, a share at least.
        """
        options, size = self.options, len(self.members)
        left = None if options.deadline is None else run.started + options.deadline - monotonic()
        clock = run.clocks[self.number] = LayerClock(
            needed=size if options.quorum is None else needed_references(options.quorum, size),
            grace=options.grace,
            closes_in=None if left is None else left / (self.of - self.number + 1 + waves),
            reused=reused,
            finished=finished,
            ballot=ballot,
            at_least=options.min_references,
        )
        return clock

    def place(
        self,
        messages: list[BaseMessage],
        references: Sequence[str],
        *,
        reader: Participant,
        tools: Sequence[object] = (),
        render: Render | None = None,
    ) -> tuple[list[BaseMessage], bool]:
        """Put references into a conversation, for a model that comes after the layer.

        Returns:
            The conversation, and whether references were trimmed to fit into the model's window.
        """
        if not references:
            return messages, False
        render = render or self.render
        at_the_tail = self.options.reference_placement == "tail"
        if self.options.reference_placement == "auto":
            at_the_tail = bool(tools) or (not self.is_published and is_later_turn(messages))

        def placed(texts: Sequence[str]) -> list[BaseMessage]:
            if at_the_tail:
                return with_references_at_the_tail(messages, texts, has_tools=bool(tools), render=render)
            return with_references(messages, texts, render=render)

        fitted = fit_references(
            references,
            beside=placed([""] * len(references)),
            window=reader.window,
            tools=tools,
            max_tokens=reader.max_tokens,
        )
        return placed(fitted), fitted != list(references)

    def ended(self, state: MoAState) -> Event:
        """Return the event that tells of the layer's end."""
        data = {"layer": self.number, "done": len(state.get("references", [])), "total": len(self.nodes)}
        return "moa_layer_end", data

    def _in_order(self, items: Sequence[_T], state: MoAState) -> list[_T]:
        """Return the layer's references in the order in which they are shown to all of their readers.

        A random order differs between questions and layers, and is the same whenever it is asked for again.
        """
        return self.random(state).sample(items, len(items)) if self.options.shuffle else list(items)


async def with_bills(state: MoAState, prices: Prices | None) -> MoAState:
    """Return the state with the proposers' bills that had to wait for the prices."""
    if prices is None:
        return state
    unbilled, calls = state["run"].unbilled, dict(state["calls"])
    for node, call in calls.items():
        if make := unbilled.get(node):
            calls[node] = {**call, **await make()}
        elif "cost" not in call and call["usage"]:  # of a run that went on after a crash
            calls[node] = {**call, "cost": None, "unpriced": [call["model"]]}
    return {**state, "calls": calls}


def last_asked(layers: Sequence[Layer], state: MoAState) -> Layer:
    """Return the last layer that was asked. When the gate has left out all of them, it is the last one."""
    return next((layer for layer in reversed(layers) if not layer.is_skipped(state)), layers[-1])


def degraded_layers(layers: Sequence[Layer], state: MoAState, *, is_vote: bool = False) -> list[dict[str, Any]]:
    """List what the proposers gave less than asked for, in the order in which it happened.

    Args:
        layers: All layers, first to last.
        state: Of the graph after the last one.
        is_vote: Whether their references have voted: a vote that is decided needs no more voters.
    """
    degraded = list(state.get("gate_call", {}).get("degraded", ()))
    fine = ("ok", "skipped", "cancelled") if is_vote else ("ok", "skipped")
    last = last_asked(layers, state)
    for layer in layers:
        if layer.number > last.number:
            degraded.append(reason("budget_reached", skipped=f"layer_{layer.number}"))
        for call in layer.calls(state):
            where: dict[str, Any] = {"layer": layer.number, "proposer": call["proposer"]}
            if call.get("references_trimmed"):
                degraded.append(reason("references_trimmed", **where))
            if call["status"] not in fine:
                degraded.append(reason(f"proposer_{call['status']}", **where))
    if not last.references(state) and not last.is_skipped(state):
        degraded.append(reason("aggregated_alone", layer=last.number))
    return degraded


def _as_exception(error: Exception | str) -> Exception:
    return error if isinstance(error, Exception) else MoAError(error)
