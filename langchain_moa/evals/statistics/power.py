"""How small a difference so many questions can show, and how many questions a difference takes.

Source: the power of the paired t-test, `statsmodels.stats.power.TTestPower`.
"""

from __future__ import annotations

from bisect import bisect_left

from statsmodels.stats.power import TTestPower  # type: ignore[import-untyped]

from langchain_moa.evals.statistics.intervals import ALPHA

POWER = 0.8
"""The chance at which a difference is to be found."""

_MOST = 10**8


def detectable(spread: float, questions: int, *, comparisons: int = 1) -> float | None:
    """Return the smallest difference that is found in four evaluations of five.

    Args:
        spread: Standard deviation of the paired difference at one question.
        questions: Questions that count for both systems.
        comparisons: Comparisons of the report: Holm's correction tests the clearest one at 5 % divided by their number.

    Returns:
        The difference, in the unit of `spread`. `None`: there are fewer than three questions, or no spread.
    """
    if questions < 3 or not spread:
        return None
    return spread * float(TTestPower().solve_power(nobs=questions, alpha=ALPHA / comparisons, power=POWER))


def questions_for(difference: float, spread: float, *, comparisons: int = 1) -> int | None:
    """Return how many questions it takes to find a difference in four evaluations of five. `None`: there is no spread.

    Args:
        difference: The difference, more than 0.
        spread: As for `detectable`.
        comparisons: As for `detectable`.
    """
    if not spread:
        return None
    test, alpha = TTestPower(), ALPHA / comparisons
    sizes = range(3, _MOST)
    return sizes[bisect_left(sizes, POWER, key=lambda size: float(test.power(difference / spread, size, alpha)))]
