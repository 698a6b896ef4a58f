"""What the nodes of one run share."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Self

from langgraph.channels import UntrackedValue

from langchain_moa._runtime.layer_clock import LayerClock
from langchain_moa._runtime.turn_references import Turn


class RunState(dict[str, Any]):
    """The turn of one run, and the clocks of its layers.

    An empty dict to whoever dumps or pickles it: it is in the graph's state, and the Agent Server keeps states.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started = monotonic()
        self._turn: Turn | None = None
        self._clocks: dict[int, LayerClock] = {}

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()

    def turn(self, begin: Callable[[], Turn]) -> Turn:
        """Return the run's turn, which the first node that asks begins."""
        if self._turn is None:
            self._turn = begin()
        return self._turn

    def clock(self, layer: int, start: Callable[[], LayerClock]) -> LayerClock:
        """Return the clock of a layer (from 1), which the first of its proposers starts."""
        if layer not in self._clocks:
            self._clocks[layer] = start()
        return self._clocks[layer]


class PerRun(UntrackedValue[RunState]):
    """A channel whose value is made anew for each run and never kept in a checkpoint."""

    def from_checkpoint(self, checkpoint: RunState) -> Self:
        """Begin a run."""
        channel = super().from_checkpoint(checkpoint)
        channel.value = self.typ()
        return channel
