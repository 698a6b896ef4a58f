"""One layer of proposers as the nodes around it see it, and a call of a model that is about to be made."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa._messages.prompts import Render, with_references, with_references_at_the_tail
from langchain_moa._messages.trimming import fit_references
from langchain_moa._models.factory import model_profile
from langchain_moa._runtime.events import Event, is_plain
from langchain_moa._runtime.layer_clock import LayerClock, Limits
from langchain_moa.answer_keys import AnswerKey, answer_of
from langchain_moa.exceptions import MoAError, ProposersFailedError, describe
from langchain_moa.state import MoAState, ProposerCall, Reference, Status

_T = TypeVar("_T")

ReferencePlacement = Literal["auto", "system", "tail"]
"""`system`: in front, as the paper has it. `tail`: after the conversation. `auto`: `tail` with tools, else `system`."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What holds for every layer of a mixture."""

    limits: Limits
    min_references: int
    on_failure: Literal["raise", "aggregate_alone"]
    reference_placement: ReferencePlacement

    render: Render
    """How references are shown."""

    shuffle_seed: int | None = None
    """With one, references are shown in a random order."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of proposers."""

    number: int
    """From 1."""

    of: int
    """How many layers there are."""

    nodes: tuple[str, ...]
    """In the proposers' order."""

    rules: Rules

    answer_key: AnswerKey | None = None
    """In the last layer of a mixture that votes: what a proposal votes for."""

    def references(self, state: MoAState) -> list[Reference]:
        """Return what the layer gave, in the order in which it is shown.

        There is nothing when the layer was not asked, or the aggregator may answer alone.

        Raises:
            ProposersFailedError: There are too few.
        """
        references = state.get("references", [])
        if len(references) >= self.rules.min_references:
            return self.in_order(references, state)
        if self.rules.on_failure == "aggregate_alone" or self.is_skipped(state):
            return []
        errors = {failure["proposer"]: _as_exception(failure["error"]) for failure in state.get("failures", [])}
        causes = "; ".join(f"{proposer}: {describe(error)}" for proposer, error in errors.items())
        needs = self.rules.min_references
        msg = f"Layer {self.number} gave {len(references)} references, and needs {needs}. {causes}"
        raise ProposersFailedError(msg, layer=self.number, errors=errors) from next(iter(errors.values()), None)

    def calls(self, state: MoAState) -> list[ProposerCall]:
        """Return what became of each proposer, in their order."""
        return [state["calls"][node] for node in self.nodes]

    def in_order(self, references: Sequence[_T], state: MoAState) -> list[_T]:
        """Return the layer's references in the order in which they are shown to all of their readers.

        A random order is another for every question and layer, and the same whenever it is asked again.
        """
        if (seed := self.rules.shuffle_seed) is None:
            return list(references)
        asked = next((m.text for m in reversed(state["messages"]) if isinstance(m, HumanMessage)), "")
        return random.Random(f"{seed} {self.number} {asked}").sample(references, len(references))

    def order(self, state: MoAState) -> list[str]:
        """Return the proposers whose references were shown, in the order in which they were."""
        shown = [call["proposer"] for call in self.calls(state) if call["status"] in ("ok", "truncated")]
        return self.in_order(shown, state)

    def complete(self, references: Sequence[Reference], state: MoAState) -> list[Reference]:
        """Return those of the references that ended by themselves: what was cut off is no candidate and has no vote."""
        ended = {call["proposer"] for call in self.calls(state) if call["status"] == "ok"}
        return [reference for reference in references if reference["proposer"] in ended]

    def vote(self, text: str, status: Status, config: RunnableConfig) -> Hashable | None:
        """Return what a proposal votes for; `None` when it has no vote, or there is none."""
        if self.answer_key is None or status != "ok" or not is_plain(config):
            return None
        return answer_of(text, self.answer_key)

    def clock(self, state: MoAState) -> LayerClock:
        """Return the clock of this layer in the run of a node."""
        rules, size = self.rules, len(self.nodes)
        return state["shared"].clock(
            self.number, layers=self.of, size=size, at_least=rules.min_references, limits=rules.limits
        )

    def is_skipped(self, state: MoAState) -> bool:
        """Tell whether the user's `fan_out` left the layer out."""
        return all(call["status"] == "skipped" for call in self.calls(state))

    def place(
        self,
        messages: list[BaseMessage],
        references: Sequence[str],
        *,
        reader: Runnable[Any, Any],
        has_tools: bool = False,
        render: Render | None = None,
    ) -> tuple[list[BaseMessage], bool]:
        """Put references into a conversation, for a model that comes after the layer.

        Returns:
            The conversation, and whether references had to be trimmed to fit into the model's window.
        """
        render = render or self.rules.render
        placement = self.rules.reference_placement
        tail = placement == "tail" or (placement == "auto" and has_tools)
        in_front = partial(with_references, render=render)
        at_the_tail = partial(with_references_at_the_tail, has_tools=has_tools, render=render)
        place = at_the_tail if tail else in_front
        window = (model_profile(reader) or {}).get("max_input_tokens")
        fitted = fit_references(references, beside=place(messages, [""] * len(references)), window=window)
        return place(messages, fitted), fitted != list(references)

    def ended(self, state: MoAState) -> Event:
        """Return the event that tells of the layer's end."""
        data = {"layer": self.number, "done": len(state.get("references", [])), "total": len(self.nodes)}
        return "moa_layer_end", data


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """One call of a model, about to be made."""

    messages: list[BaseMessage]

    child: RunnableConfig
    """The model's config."""

    references_trimmed: bool
    """Whether the references had to be cut to fit into the model's window."""

    started: float


def _as_exception(error: Exception | str) -> Exception:
    return error if isinstance(error, Exception) else MoAError(error)
