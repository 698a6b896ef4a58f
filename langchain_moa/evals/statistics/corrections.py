"""Verdicts for many comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]

from langchain_moa.evals.statistics.differences import Difference
from langchain_moa.evals.statistics.intervals import ALPHA

Outcome = Literal["better", "worse", "not distinguishable"]


def corrected(differences: Sequence[Difference]) -> list[float]:
    """Return the p-values after Holm's correction: with all equal, at most 5 % of reports find any difference.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979); `statsmodels.stats.multitest.multipletests`.
    """
    if not differences:
        return []
    return [float(p) for p in multipletests([one.p_value for one in differences], alpha=ALPHA, method="holm")[1]]


def outcome_of(difference: Difference, p_value: float) -> Outcome:
    """Return whether the first system is better: decided only if its corrected p-value is below 5 %."""
    if p_value >= ALPHA:
        return "not distinguishable"
    return "better" if difference.value > 0 else "worse"
