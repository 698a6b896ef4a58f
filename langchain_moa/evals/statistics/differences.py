"""Paired differences between two systems that answered the same questions.

Where every answer is right or wrong, the interval is Tango's score interval, which agrees with McNemar's test: it holds
zero exactly where the test finds no difference. Newcombe's interval strays further from 95 % where the two differ on
few questions (tests/benchmarks/README.md). Other scores have Wilson's interval with the effective sample
size, on the scale of the largest difference seen. Sources: T. Tango, Statistics in Medicine 17 (1998), 891-908;
Q. McNemar, Psychometrika 12 (1947); `intervals.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq  # type: ignore[import-untyped]
from scipy.stats import norm  # type: ignore[import-untyped]
from statsmodels.stats.contingency_tables import mcnemar  # type: ignore[import-untyped]

from langchain_moa.evals.statistics.intervals import ALPHA, Interval, effective_size, mean_interval
from langchain_moa.evals.types import Bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What differences that should be equal may differ by: values per question are rounded to six digits.
_SAME = 1e-5


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Paired difference between the scores of two systems, over the questions scored for both."""

    value: float
    """The first's score minus the second's."""

    interval: Interval
    p_value: float
    """Probability of a difference this large, either way, if there were none. Not corrected for other comparisons."""

    spread: float
    """Standard deviation of the difference at one question."""

    questions: int
    """Number of questions scored for both."""


def difference_of(
    values: NDArray[np.float64], others: NDArray[np.float64], *, value: float, bounds: Bounds | None
) -> Difference:
    """Return the paired difference of two systems.

    Args:
        values: The first system's, one per question.
        others: The second system's, in the same order.
        value: The difference of the two scores.
        bounds: Lowest and highest score possible. `None`: not known.
    """
    differences = values - others
    if bounds is not None and np.isin([values, others], bounds).all():
        interval, p_value = _of_shares(differences / (bounds[1] - bounds[0]), bounds[1] - bounds[0])
    else:
        interval, p_value = _of_scores(differences, bounds)
    return Difference(
        value=value,
        interval=interval,
        p_value=p_value,
        spread=float(differences.std(ddof=1)),
        questions=len(differences),
    )


def _of_shares(differences: NDArray[np.float64], scale: float) -> tuple[Interval, float]:
    """Return Tango's interval and the p-value of McNemar's test, for differences of -1, 0 and 1."""
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    count = len(differences)
    table = [[count - better - worse, better], [worse, 0]]
    p_value = mcnemar(table, exact=False, correction=False).pvalue if better + worse else 1.0
    low, high = tango(better, worse, count)
    return Interval(low=scale * low, high=scale * high), float(p_value)


def tango(better: int, worse: int, count: int) -> tuple[float, float]:
    """Return Tango's interval of the difference of two paired shares.

    Args:
        better: Questions that only the first system answered right.
        worse: Questions that only the second answered right.
        count: All questions.
    """
    z = float(norm.isf(ALPHA / 2))
    observed = (better - worse) / count

    def distance(difference: float) -> float:
        """Return how many standard errors the observation is above a difference: equation 11."""
        b = -better - worse + (2 * count - better + worse) * difference
        c = -worse * difference * (1 - difference)
        expected = (sqrt(max(b * b - 8 * count * c, 0)) - b) / (4 * count)
        variance = count * (2 * expected + difference * (1 - difference))
        gap = better - worse - count * difference
        return gap / sqrt(variance) if variance > 0 else np.inf * gap if gap else 0.0

    return _crossing(lambda x: distance(x) - z, -1.0, observed), _crossing(lambda x: distance(x) + z, observed, 1.0)


def _crossing(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a falling function is zero; the outer end where that is beyond it."""
    inside = 1e-9
    low, high = max(low, -1 + inside), min(high, 1 - inside)
    first, last = function(low), function(high)
    if low >= high or first <= 0 or last >= 0:
        return -1.0 if first <= 0 else 1.0
    return float(brentq(function, low, high))


def _of_scores(differences: NDArray[np.float64], bounds: Bounds | None) -> tuple[Interval, float]:
    """Return the interval and the p-value of differences of any size."""
    largest = float(np.abs(differences).max())
    if bounds and float(np.ptp(differences)) < _SAME:  # they say nothing about larger and smaller ones
        largest = bounds[1] - bounds[0]
    if not largest:
        return Interval(low=0.0, high=0.0), 1.0
    scale = (-largest, largest)
    interval = mean_interval(differences, scale)
    assert interval is not None, "there are two questions or more"
    # Of the score that the interval consists of, at no difference: there the two bounds are equally frequent.
    share = (float(differences.mean()) / largest + 1) / 2
    z = (share - 0.5) * 2 * sqrt(effective_size(differences, scale))
    return interval, float(2 * norm.sf(abs(z)))
