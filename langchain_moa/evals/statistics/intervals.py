"""Confidence intervals for scores, from one value per question.

Right or wrong answers have Wilson's score interval. Other bounded scores have the same interval with the effective
sample size: the number of right or wrong answers that would tell as much about the mean. Neither collapses where all
questions have the same score. Sources: E. B. Wilson, JASA 22 (1927); E. L. Korn and B. I. Graubard, Survey Methodology
24 (1998), for the effective sample size; `statsmodels.stats.proportion.proportion_confint`, `scipy.stats.ttest_1samp`.
How often these intervals hold the true score is in tests/benchmarks/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

try:
    import numpy as np
    from scipy.stats import ttest_1samp  # type: ignore[import-untyped]
    from statsmodels.stats.proportion import proportion_confint  # type: ignore[import-untyped]
except ImportError as error:
    msg = 'Intervals and reports need scipy and statsmodels: pip install "langchain-moa[evals]"'
    raise ImportError(msg) from error

from langchain_moa.evals.types import Bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHA = 0.05
"""All intervals are at 95 %."""

_PRIOR = 1.0
"""Observations of the widest spread possible that count beside the measured ones, so that a few alike are no proof.

The coverage of other values was simulated too: 0.5 is too narrow for 5 questions, 2 too wide for 50.
"""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval, in the score's unit."""

    low: float
    high: float


def mean_interval(values: NDArray[np.float64], bounds: Bounds | None) -> Interval | None:
    """Return the interval of a mean.

    Args:
        values: One per question.
        bounds: Lowest and highest score possible. `None`: not known; then it is Student's t interval.

    Returns:
        The interval. `None`: there are fewer than two questions, or all scores are the same and their bounds unknown.
    """
    if len(values) < 2:
        return None
    if bounds is None:
        if np.ptp(values) == 0:
            return None
        limits = ttest_1samp(values, 0).confidence_interval(1 - ALPHA)
        return Interval(low=float(limits.low), high=float(limits.high))
    low, high = bounds
    share = float(np.clip((values.mean() - low) / (high - low), 0, 1))
    size = effective_size(values, bounds)
    # `count` may lie a rounding error above `nobs`.
    limits = proportion_confint(min(share * size, size), size, alpha=ALPHA, method="wilson")
    return Interval(low=low + (high - low) * float(limits[0]), high=low + (high - low) * float(limits[1]))


def share_interval(count: int, total: int) -> Interval | None:
    """Return the exact interval of a share in percent (C. J. Clopper and E. S. Pearson, Biometrika 26, 1934).

    Args:
        count: Questions with the property.
        total: All questions. None: there is no interval.
    """
    if not total:
        return None
    low, high = proportion_confint(count, total, alpha=ALPHA, method="beta")
    return Interval(low=100 * float(low), high=100 * float(high))


def effective_size(values: NDArray[np.float64], bounds: Bounds) -> float:
    """Return how many observations of nothing but the two bounds tell as much about the mean as these do.

    It is the number of values where each of them is a bound, and larger the less they spread.
    """
    low, high = bounds
    share = float(np.clip((values.mean() - low) / (high - low), 0, 1))
    widest = share * (1 - share)
    count = len(values)
    spread = (count * float(values.var()) / (high - low) ** 2 + _PRIOR * widest) / (count + _PRIOR)
    return count * widest / spread if widest and spread else float(count)
