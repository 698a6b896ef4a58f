"""What a notebook shows: a mixture as a drawing, and an answer beside the proposals that it was made from.

Plain HTML and SVG, in the colors of the notebook. Nothing is loaded, and IPython is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from langchain_core.messages import AIMessage

_WIDTH, _HEIGHT = 230, 30
"""Size of a box in pixels."""

_GAP_X, _GAP_Y = 60, 14
_LABEL = 30
"""Maximum number of characters in a box; the whole name is its tooltip."""

_CARD = "border:1px solid color-mix(in srgb, currentColor 30%, transparent);border-radius:6px;padding:8px 12px"


def draw_mixture(layers: Sequence[Sequence[str]], aggregator: str) -> str:
    """Return the layers of a mixture as SVG, from left to right.

    Args:
        layers: The names of the proposers of each layer, first to last.
        aggregator: The name of the model that writes the answer.
    """
    columns = [*layers, [aggregator]]
    rows = max(map(len, columns))
    height = rows * (_HEIGHT + _GAP_Y)
    boxes, lines = [], []
    before: list[tuple[float, float]] = []
    for number, column in enumerate(columns):
        left = number * (_WIDTH + _GAP_X)
        step = height / len(column)
        middles = [(index + 0.5) * step for index in range(len(column))]
        boxes += [_box(name, left, middle) for name, middle in zip(column, middles, strict=True)]
        lines += [_line(start, (left, middle)) for start in before for middle in middles]
        before = [(left + _WIDTH, middle) for middle in middles]
    width = len(columns) * (_WIDTH + _GAP_X) - _GAP_X
    described = " then ".join(", ".join(column) for column in columns)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 0 {width + 2} {height:g}" role="img" '
        f'aria-label="{escape(described)}" style="max-width:{width + 2}px" fill="none" stroke="currentColor" '
        f'font-family="sans-serif" font-size="12">{"".join([*lines, *boxes])}</svg>'
    )


class SideBySide:
    """The proposals of an answer side by side, and the answer below them. A notebook shows it as HTML."""

    def __init__(self, answer: AIMessage) -> None:
        """Take what to show from an answer's metadata.

        Args:
            answer: An answer of a `ChatMoA` that has `include_references=True`.

        Raises:
            ValueError: It has no proposals.
        """
        moa = answer.response_metadata.get("moa", {})
        self._layers: Sequence[Sequence[Mapping[str, Any]]] = moa.get("layers", [])
        self._answer = answer.text
        self._aggregator = (moa.get("aggregator") or {}).get("model") or moa.get("aggregation", "")
        if not any("text" in call for layer in self._layers for call in layer):
            msg = "The answer has no proposals to show: ask a ChatMoA(..., include_references=True)."
            raise ValueError(msg)

    def __repr__(self) -> str:
        """Return everything one below the other, for whoever shows no HTML."""
        parts = [
            f"--- layer {number}, {_heading(call)}\n{_said(call)}"
            for number, layer in enumerate(self._layers, 1)
            for call in layer
        ]
        return "\n".join([*parts, f"--- answer, {self._aggregator}\n{self._answer}"])

    def _repr_html_(self) -> str:
        layers = "".join(
            f'<div style="display:flex;gap:8px;margin-bottom:8px">{"".join(map(_card, layer))}</div>'
            for layer in self._layers
        )
        return f"{layers}{_text(f'answer, {self._aggregator}', self._answer)}"


def _box(name: str, left: float, middle: float) -> str:
    label = name if len(name) <= _LABEL else name[: _LABEL - 1] + "…"
    return (
        f'<g><title>{escape(name)}</title><rect x="{left}" y="{middle - _HEIGHT / 2:g}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" rx="6"/><text x="{left + _WIDTH / 2:g}" y="{middle + 4:g}" text-anchor="middle" '
        f'stroke="none" fill="currentColor">{escape(label)}</text></g>'
    )


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (to_x, to_y) = start, end
    bend = (x + to_x) / 2
    return f'<path d="M{x:g} {y:g}C{bend:g} {y:g} {bend:g} {to_y:g} {to_x:g} {to_y:g}" opacity="0.4"/>'


def _heading(call: Mapping[str, Any]) -> str:
    status = "" if call["status"] == "ok" else f", {call['status']}"
    return f"{call['proposer']}{status}, {call['seconds']:.1f} s"


def _said(call: Mapping[str, Any]) -> str:
    return str(call.get("text") or call["error"] or "")


def _card(call: Mapping[str, Any]) -> str:
    return _text(_heading(call), _said(call))


def _text(heading: str, text: str) -> str:
    return (
        f'<div style="flex:1;min-width:0;{_CARD}"><strong>{escape(heading)}</strong>'
        f'<div style="white-space:pre-wrap;overflow-wrap:anywhere">{escape(text)}</div></div>'
    )
