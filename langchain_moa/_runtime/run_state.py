"""What the nodes of one run share."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Self, TypeVar

from langgraph.channels import UntrackedValue

from langchain_moa._runtime.layer_clock import LayerClock, Limits

_Decision = TypeVar("_Decision")


class Shared(dict[str, Any]):
    """The clocks of one run's layers, by number, and what is decided once for all of its nodes.

    An empty dict to whoever dumps or pickles it: it stands in the graph's state, and the Agent Server keeps states.
    """

    def __init__(self) -> None:
        """Start the run's time."""
        super().__init__()
        self._clocks: dict[int, LayerClock] = {}
        self._started = monotonic()
        self._decision: Any = None

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()

    def decide(self, how: Callable[[], _Decision]) -> _Decision:
        """Return what `how` returned to the first node that asked."""
        if self._decision is None:
            self._decision = how()
        decision: _Decision = self._decision
        return decision

    def clock(self, number: int, *, layers: int, size: int, at_least: int, limits: Limits) -> LayerClock:
        """Return the clock of a layer, which starts when the first of its proposers does.

        Args:
            number: Of the layer, from 1.
            layers: How many there are. Each may take an even share of what is left of the deadline; the aggregator
                gets what they leave, a share at least.
            size: Of the layer.
            at_least: References without which no vote closes it.
            limits: The mixture's.
        """
        if number not in self._clocks:
            left = None if limits.deadline is None else self._started + limits.deadline - monotonic()
            share = None if left is None else left / (layers - number + 2)
            needed = limits.needed(size)
            self._clocks[number] = LayerClock(
                size=size, needed=needed, at_least=at_least, grace=limits.grace, closes_in=share
            )
        return self._clocks[number]


class PerRun(UntrackedValue[Shared]):
    """A channel whose value is made anew for each run, and never kept in a checkpoint."""

    def from_checkpoint(self, checkpoint: Shared) -> Self:
        """Begin a run."""
        channel = super().from_checkpoint(checkpoint)
        channel.value = self.typ()
        return channel
