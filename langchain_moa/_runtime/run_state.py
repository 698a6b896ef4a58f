"""What the nodes of one run share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Self

from langgraph.channels import UntrackedValue

from langchain_moa._messages.costs import Bill
from langchain_moa._runtime.layer_clock import LayerClock
from langchain_moa._runtime.turn_references import Turn


class RunState(dict[str, Any]):
    """The user turn of one run, and the clocks of its layers.

    An empty dict to whoever dumps or pickles it: it is in the graph's state, and the Agent Server keeps states.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started = monotonic()
        self.turn: Turn | None = None
        """Begun by the first node, where proposers are asked once per user turn."""

        self.clocks: dict[int, LayerClock] = {}
        """By layer, from 1; started by the first of its proposers."""

        self.unbilled: dict[str, Callable[[], Awaitable[Bill]]] = {}
        """By node: makes the bill of a reply that came before the prices were loaded. The answer does not wait for
        them."""

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()


class PerRun(UntrackedValue[RunState]):
    """A channel whose value is made anew for each run and never kept in a checkpoint."""

    def from_checkpoint(self, checkpoint: RunState) -> Self:
        """Begin a run."""
        channel = super().from_checkpoint(checkpoint)
        channel.value = self.typ()
        return channel
