"""The node that asks the next proposers of a vote, while the vote is open."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from langchain_moa._aggregation.vote import read_vote
from langchain_moa._nodes.budget import Budget
from langchain_moa._nodes.layer import Layer
from langchain_moa._runtime.ballot import Ballot
from langchain_moa._runtime.call_context import call_context
from langchain_moa._runtime.sync_bridge import AsyncNode
from langchain_moa.answer_keys import AnswerKey
from langchain_moa.state import MoAState, Wave


class AskWave(AsyncNode[MoAState, Command[str]]):
    """A node: on to the next proposers of the last layer, or past the rest when the vote is closed.

    It runs before the layer and after each of its waves, and decides by the graph's state: a run that goes on from a
    checkpoint asks the same proposers.
    """

    def __init__(
        self, layer: Layer, *, earlier: Sequence[Layer], is_first: bool, answer_key: AnswerKey, otherwise: str
    ) -> None:
        """Prepare the node.

        Args:
            layer: The layer that votes.
            earlier: The layers before, first to last.
            is_first: Whether it runs before the layer, and not after a wave.
            answer_key: From a text to what it votes for.
            otherwise: The node that is next when the vote is closed.
        """
        self._layer = layer
        self._earlier = earlier
        self._budget = Budget(layer.options)
        self._is_first = is_first
        self._answer_key = answer_key
        self._otherwise = otherwise

    async def ainvoke(self, input: MoAState, config: RunnableConfig | None = None, **_: Any) -> Command[str]:
        """Ask the next proposers, if the vote is open."""
        if self._is_first and self._budget.leaves_out(self._layer, self._earlier, input):
            return self._past_all(input)
        wave = self._wave(input)
        asked = len(wave["references"]) + len(wave["failures"])
        rest = self._layer.nodes[asked:]
        if call_context(config or {}).answer_form != "text":
            if self._is_first:  # nobody votes, and waiting gains nothing
                return self._on_to(rest, wave)
        elif rest and await self._is_open(input, wave, asked):
            return self._on_to(rest[: self._layer.options.wave], wave)
        return Command(
            update={
                "references": wave["references"],
                "failures": wave["failures"],
                "wave": Wave(before=[], references=[], failures=[]),
                "calls": self._layer.skipped(rest),
            },
            goto=self._otherwise,
        )

    def _past_all(self, state: MoAState) -> Command[str]:
        """Ask nobody: what the layer before gave goes on."""
        given = {"references": state.get("references", []), "failures": state.get("failures", [])}
        return Command(update={**given, "calls": self._layer.skipped(self._layer.nodes)}, goto=self._otherwise)

    def _wave(self, state: MoAState) -> Wave:
        """Return what there is before the next wave: the graph's topics hold what the last nodes gave, and no more."""
        references, failures = state.get("references", []), state.get("failures", [])
        if self._is_first:
            return Wave(before=references, references=[], failures=[])
        earlier = state["wave"]
        return Wave(
            before=earlier["before"],
            references=[*earlier["references"], *references],
            failures=[*earlier["failures"], *failures],
        )

    async def _is_open(self, state: MoAState, wave: Wave, asked: int) -> bool:
        """Tell whether more votes are wanted, and if so start the layer's clock for them."""
        layer, run = self._layer, state["run"]
        before = run.clocks.get(layer.number)
        if before and before.is_settled:
            return False
        whole = layer.complete(wave["references"], state)
        votes: list[Hashable | None] = [await read_vote(each["content"], self._answer_key) for each in whole]
        votes += [None] * (asked - len(votes))
        size = len(layer.members)
        clock = layer.start_clock(
            run,
            reused=len(whole),
            finished=asked,
            ballot=Ballot(size, confidence=layer.options.confidence, votes=votes),
            waves=math.ceil((size - asked) / (layer.options.wave or size)),
        )
        return not clock.is_settled

    def _on_to(self, nodes: list[str], wave: Wave) -> Command[str]:
        """Ask proposers, as if the layer before had just answered."""
        return Command(update={"references": wave["before"], "wave": wave}, goto=nodes)
