"""What one call may use, and whether the next part of it would use too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_moa._aggregation.outcome import reason
from langchain_moa._messages.answers import usage_of
from langchain_moa._nodes.layer import Layer
from langchain_moa.options import MoAOptions
from langchain_moa.state import MoAState

Call = Mapping[str, Any]
"""A call, as the answer's metadata shows it."""

_ANSWERED = ("ok", "truncated", "filtered", "empty")


class Budget:
    """The budgets of one call, `max_cost` and `max_total_tokens`.

    A further call is expected to use what the calls of the last layer used on average. That is an estimate: an answer
    that reads all proposals may well use more.
    """

    def __init__(self, options: MoAOptions) -> None:
        """Take the budgets from the options."""
        limits = {"max_cost": options.max_cost, "max_total_tokens": options.max_total_tokens}
        self._limits = {name: limit for name, limit in limits.items() if limit is not None}

    def leaves_out(self, layer: Layer, earlier: Sequence[Layer], state: MoAState) -> bool:
        """Tell whether a layer, and the answer after it, would pass a budget. The first layer is always asked."""
        if not earlier or not self._limits:
            return False
        before = earlier[-1]
        return before.is_skipped(state) or not self.has_room(len(layer.members) + 1, state, earlier, like=before)

    def has_room(
        self, calls: int, state: MoAState, layers: Sequence[Layer], *, like: Layer, steps: Sequence[Call] = ()
    ) -> bool:
        """Tell whether a number of further calls would stay within the budgets.

        Args:
            calls: Their number.
            state: The graph's.
            layers: Those that have ended.
            like: The one whose calls tell what a further one will use.
            steps: The calls after the layers.
        """
        if not self._limits:
            return True
        made = [*(call for layer in layers for call in layer.calls(state)), *steps, state.get("gate_call", {})]
        for name, limit in self._limits.items():
            known = [used for call in like.calls(state) if (used := _used(name, call)) and not call.get("reused")]
            expected = calls * sum(known) / len(known) if known else 0
            if _sum(name, made) + expected > limit:
                return False
        return True

    def degraded(self, made: Sequence[Call]) -> list[dict[str, Any]]:
        """Return what the metadata's `degraded` tells at the end: budgets that were passed, or could not be kept.

        Args:
            made: All calls.
        """
        entries = []
        for name, limit in self._limits.items():
            if (used := _sum(name, made)) > limit:
                entries.append(reason("budget_passed", budget=name, limit=limit, used=used))
            if unknown := list(dict.fromkeys(model for call in made for model in _unknown(name, call))):
                entries.append(reason("budget_unknown", budget=name, models=unknown))
        return entries


def _used(name: str, call: Call) -> float | None:
    """Return what a call used of a budget; `None`: nobody knows."""
    if name == "max_cost":
        return call.get("cost")
    usage = usage_of(call)
    return usage["total_tokens"] if usage else None


def _sum(name: str, calls: Sequence[Call]) -> float:
    return round(sum(_used(name, call) or 0 for call in calls), 12)


def _unknown(name: str, call: Call) -> Sequence[str]:
    """Return the models of a call of which nobody knows what they used of a budget."""
    if name == "max_cost":
        return list(call.get("unpriced", ()))
    is_answered = call.get("status", "ok") in _ANSWERED and not call.get("error") and not call.get("reused")
    return [call["model"]] if is_answered and "model" in call and _used(name, call) is None else ()
