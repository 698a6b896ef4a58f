"""One layer of proposers as the nodes around it see it, and a call of a model that is about to be made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa.events import Event, shared_by
from langchain_moa.exceptions import MoAError, ProposersFailedError
from langchain_moa.fitting import fit_references
from langchain_moa.limits import LayerClock, Limits
from langchain_moa.models import model_profile
from langchain_moa.prompts import with_references, with_references_at_the_tail
from langchain_moa.state import MoAState

ReferencePlacement = Literal["auto", "system", "tail"]
"""`system`: in front, as the paper has it. `tail`: after the conversation. `auto`: `tail` with tools, else `system`."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of proposers."""

    number: int
    """From 1."""

    of: int
    """How many layers there are."""

    nodes: tuple[str, ...]
    """In the proposers' order."""

    limits: Limits

    min_references: int
    on_failure: Literal["raise", "aggregate_alone"]
    reference_placement: ReferencePlacement

    def references(self, state: MoAState) -> list[str]:
        """Return the texts that the layer gave; none when it was not asked, or the aggregator may answer alone.

        Raises:
            ProposersFailedError: There are too few.
        """
        references = state.get("references", [])
        if len(references) >= self.min_references:
            return [reference["content"] for reference in references]
        if self.on_failure == "aggregate_alone" or self.is_skipped(state):
            return []
        errors = {failure["proposer"]: _as_exception(failure["error"]) for failure in state.get("failures", [])}
        causes = "; ".join(f"{proposer}: {describe(error)}" for proposer, error in errors.items())
        msg = f"Layer {self.number} gave {len(references)} references, and needs {self.min_references}. {causes}"
        raise ProposersFailedError(msg, layer=self.number, errors=errors) from next(iter(errors.values()), None)

    def clock(self, state: MoAState, config: RunnableConfig) -> LayerClock:
        """Return the clock of this layer in the run of a node."""
        shared = shared_by(state, config)
        return shared.clock(self.number, layers=self.of, size=len(self.nodes), limits=self.limits)

    def is_skipped(self, state: MoAState) -> bool:
        """Tell whether the user's `fan_out` left the layer out."""
        return all(state["calls"][node]["status"] == "skipped" for node in self.nodes)

    def place(
        self, messages: list[BaseMessage], state: MoAState, *, reader: Runnable[Any, Any], has_tools: bool
    ) -> tuple[list[BaseMessage], bool]:
        """Put the layer's references into a conversation, for a model that comes after the layer.

        Returns:
            The conversation, and whether references had to be trimmed to fit into the model's window.
        """
        tail = self.reference_placement == "tail" or (self.reference_placement == "auto" and has_tools)
        place = partial(with_references_at_the_tail, has_tools=has_tools) if tail else with_references
        references = self.references(state)
        window = (model_profile(reader) or {}).get("max_input_tokens")
        fitted = fit_references(references, beside=place(messages, [""] * len(references)), window=window)
        return place(messages, fitted), fitted != references

    def ended(self, state: MoAState) -> Event:
        """Return the event that tells of the layer's end."""
        data = {"layer": self.number, "done": len(state.get("references", [])), "total": len(self.nodes)}
        return "moa_layer_end", data


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """One call of a model, about to be made."""

    messages: list[BaseMessage]
    config: RunnableConfig
    """The node's own."""

    child: RunnableConfig
    """The model's."""

    references_trimmed: bool
    """Whether the references had to be cut to fit into the model's window."""

    opening: list[Event]
    """What is reported before it."""

    started: float


def describe(error: Exception) -> str:
    """Return an error as metadata and messages show it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _as_exception(error: Exception | str) -> Exception:
    return error if isinstance(error, Exception) else MoAError(error)
