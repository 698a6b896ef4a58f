"""Trees of what a tool recorded, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

NODES = ["layer_1_proposer_01", "layer_1_proposer_02", "layer_1_proposer_03", "aggregator"]

Line = tuple[int, str]
"""Depth and name."""


class Node(NamedTuple):
    """One thing that was recorded."""

    id: Any
    parent: Any
    """`None` for a root."""
    name: str
    began: int


def inside(
    names: Sequence[str], *, name: str = "{}", models: Sequence[str] = ("a", "b", "c", "aggregator")
) -> list[Line]:
    """Return the tree of one call of the mixture.

    Args:
        names: Of the call's own run and of the graph's.
        name: How the names of nodes are shown.
        models: The names of the models' runs.
    """
    called = [line for node, model in zip(NODES, models, strict=True) for line in [(2, name.format(node)), (3, model)]]
    return [*enumerate(names), *called]


def nodes(spans: Iterable[ReadableSpan]) -> list[Node]:
    """Read spans of OpenTelemetry's."""
    return [Node(s.context.span_id, s.parent and s.parent.span_id, s.name, s.start_time or 0) for s in spans]


def lines(recorded: Sequence[Node]) -> list[Line]:
    """Return (depth, name) of all, in the order of the tree; every parent must have been recorded."""
    known = {node.id for node in recorded}
    assert all(node.parent is None or node.parent in known for node in recorded)
    return list(_below(None, recorded, 0))


def _below(parent: Any, recorded: Sequence[Node], depth: int) -> Iterable[Line]:
    children = [node for node in recorded if node.parent == parent]
    # Proposers start at once, so by name; the steps of an agent in the order of time.
    abreast = any("layer_" in child.name for child in children)
    children.sort(key=lambda child: ("aggregator" in child.name, child.name) if abreast else child.began)
    for child in children:
        yield depth, child.name
        yield from _below(child.id, recorded, depth + 1)


def subtree(tree: Sequence[Line], name: str) -> list[Line]:
    """Return the first part of a tree that begins with `name`, as if it were the root."""
    start = next(index for index, line in enumerate(tree) if line[1] == name)
    depth = tree[start][0]
    below = [line for line in tree[start + 1 :]]
    end = next((index for index, line in enumerate(below) if line[0] <= depth), len(below))
    return [(line[0] - depth, line[1]) for line in [tree[start], *below[:end]]]
