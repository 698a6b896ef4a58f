"""A tracer that keeps whole trees, and the tree that a mixture has, for tests."""

from __future__ import annotations

from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

INSIDE = [
    (0, "llm", "ChatMoA"),
    (1, "chain", "MoA"),
    (2, "chain", "layer_1_proposer_01"),
    (3, "llm", "a"),
    (2, "chain", "layer_1_proposer_02"),
    (3, "llm", "b"),
    (2, "chain", "aggregator"),
    (3, "llm", "aggregator"),
]
"""The tree of one call of a mixture of `a` and `b`, as (depth, type, name)."""


class TreeTracer(BaseTracer):
    """Keeps the root runs, with their children."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)

    def tree(self) -> list[tuple[int, str, str]]:
        """Return (depth, type, name) of all runs, in the order of the tree; siblings by name."""
        return [line for root in self.roots for line in _lines(root, 0)]

    def runs(self) -> list[Run]:
        """Return all runs."""
        return [run for root in self.roots for run in _all(root)]


def _lines(run: Run, depth: int) -> list[tuple[int, str, str]]:
    children = sorted(run.child_runs, key=lambda child: (child.run_type, child.name == "aggregator", child.name))
    return [(depth, run.run_type, run.name), *(line for child in children for line in _lines(child, depth + 1))]


def _all(run: Run) -> list[Run]:
    return [run, *(inner for child in run.child_runs for inner in _all(child))]
