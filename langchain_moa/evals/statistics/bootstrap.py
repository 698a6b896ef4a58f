"""Bootstrap confidence intervals for scores and for paired differences.

Questions are resampled as a whole, with all their judgments (both turns, all skills). Source of the method:
B. Efron, R. Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13, percentile intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

try:
    import numpy as np
except ImportError as error:
    msg = 'Intervals and reports need numpy: pip install "langchain-moa[evals]"'
    raise ImportError(msg) from error

from langchain_moa.evals.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS = 2000

_PERCENTILES = (2.5, 97.5)

Outcome = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % confidence interval, in the score's unit."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Paired difference between the scores of two systems, over the questions scored for both."""

    value: float
    """The first's score minus the second's."""

    interval: Interval
    probability_better: float
    """Share of bootstrap samples in which the first system scores higher, 0-1; a tie counts half."""

    questions: int
    """Number of questions scored for both."""

    @property
    def outcome(self) -> Outcome:
        """Whether the first system is better: decided only if the interval excludes zero."""
        if self.interval.low > 0:
            return "better"
        return "worse" if self.interval.high < 0 else "not distinguishable"


class Bootstrap:
    """Bootstrap of several systems over the same random samples of questions.

    Two systems are compared on the questions scored for both, with the same sample for both each time (paired), so that
    the difficulty of a question cancels out.
    """

    def __init__(self, metrics: Mapping[str, Metric], *, draws: int = DRAWS, seed: int = 0) -> None:
        """Set up the bootstrap.

        Args:
            metrics: Metrics by system.
            draws: Number of bootstrap samples.
            seed: Random seed.
        """
        self._metrics = metrics
        self._positions = {
            system: {question: position for position, question in enumerate(metric.questions)}
            for system, metric in metrics.items()
        }
        self._draws = draws
        self._seed = seed
        # One set of questions is drawn from for the interval and for each difference. A fit takes milliseconds.
        self._scores = cache(self._score_draws)

    def interval(self, system: str) -> Interval | None:
        """Return the interval of a system's score. `None`: fewer than two questions."""
        return _interval(self._scores(system, tuple(self._metrics[system].questions)))

    def difference(self, system: str, other: str) -> Difference | None:
        """Return the paired difference of two systems. `None`: fewer than two questions in common."""
        theirs = self._positions[other]
        common = tuple(question for question in self._metrics[system].questions if question in theirs)
        differences = self._scores(system, common) - self._scores(other, common)
        interval = _interval(differences)
        if interval is None:
            return None
        differences = differences[~np.isnan(differences)]
        return Difference(
            value=self._score(system, common) - self._score(other, common),
            interval=interval,
            probability_better=float(np.mean((differences > 0) + 0.5 * (differences == 0))),
            questions=len(common),
        )

    def _score(self, system: str, questions: Sequence[str]) -> float:
        """Return the score over some questions; over all of them it is the published score."""
        if len(questions) == len(self._positions[system]):
            return self._metrics[system].score()
        return self._metrics[system].score([self._positions[system][question] for question in questions])

    def _score_draws(self, system: str, questions: tuple[str, ...]) -> NDArray[np.float64]:
        """Score a system in every bootstrap sample. The same questions give the same samples for any system."""
        if len(questions) < 2:
            return np.empty(0)
        positions = np.array([self._positions[system][question] for question in questions])
        shape = (self._draws, len(questions))
        drawn = np.random.default_rng(self._seed).integers(len(questions), size=shape)
        score = self._metrics[system].score
        return np.array([score(positions[draw].tolist()) for draw in drawn], dtype=float)


def _interval(values: NDArray[np.float64]) -> Interval | None:
    values = values[~np.isnan(values)]  # a draw may hold nothing that can be scored
    if not values.size:
        return None
    low, high = np.percentile(values, _PERCENTILES)
    return Interval(low=float(low), high=float(high))


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile, linearly interpolated. `None`: there are no values."""
    return float(np.percentile(values, percent)) if values else None


def mean(values: Sequence[float]) -> float | None:
    """Return the mean. `None`: there are no values."""
    return math.fsum(values) / len(values) if values else None
