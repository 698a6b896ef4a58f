"""Verdicts for many comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from langchain_moa.evals.statistics.differences import Difference
from langchain_moa.evals.statistics.intervals import ALPHA

Outcome = Literal["better", "worse", "not distinguishable"]


def corrected(differences: Sequence[Difference]) -> list[float]:
    """Return the p-values after Holm's correction: with all equal, at most 5 % of reports find any difference.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979). `multipletests` of statsmodels 0.14 does the same, and
    has the garbage collector look through the whole process at each call.
    """
    p_values = np.array([one.p_value for one in differences])
    order = p_values.argsort()
    multiplied = p_values[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(multiplied), 1)
    return [float(p) for p in adjusted]


def outcome_of(difference: Difference, p_value: float) -> Outcome:
    """Return whether the first system is better: decided only if its corrected p-value is below 5 %."""
    if p_value >= ALPHA:
        return "not distinguishable"
    return "better" if difference.value > 0 else "worse"
