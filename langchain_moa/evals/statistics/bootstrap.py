"""How sure a score is: bootstrap intervals, and differences over the same draws of questions.

Questions are resampled, with everything that was asked about one of them (both turns, all skills) together. Source of
the method: B. Efron, R. Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13, percentile intervals.
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
    """A 95 % interval, in the score's unit."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How one system's score differs from another's, over the questions that count for both."""

    value: float
    """The first's score minus the second's."""

    interval: Interval
    probability_better: float
    """Share of the draws in which the first scores more, 0-1; a tie counts half."""

    questions: int
    """How many count for both."""

    @property
    def outcome(self) -> Outcome:
        """What the interval says of the first system: it decides only when it lies on one side of zero."""
        if self.interval.low > 0:
            return "better"
        return "worse" if self.interval.high < 0 else "not distinguishable"


class Bootstrap:
    """The scores of several systems over the same random draws of questions.

    Two systems are compared over the questions that count for both, and in each draw over the same ones: what makes a
    question hard for both of them cancels out.
    """

    def __init__(self, metrics: Mapping[str, Metric], *, draws: int = DRAWS, seed: int = 0) -> None:
        """Keep what to draw from.

        Args:
            metrics: By system.
            draws: How many times to draw as many questions as there are.
            seed: Of the draws.
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
        """Return the interval of a system's score; `None` with fewer than two questions."""
        return _interval(self._scores(system, tuple(self._metrics[system].questions)))

    def difference(self, system: str, other: str) -> Difference | None:
        """Return how `system` differs from `other`; `None` with fewer than two questions in common."""
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
        """Return the score over some questions: the published one where they are all."""
        if len(questions) == len(self._positions[system]):
            return self._metrics[system].score()
        return self._metrics[system].score([self._positions[system][question] for question in questions])

    def _score_draws(self, system: str, questions: tuple[str, ...]) -> NDArray[np.float64]:
        """Score a system in every draw from `questions`. The same questions give the same draws for any system."""
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
    """Return a percentile of what was measured, interpolated; `None`: nothing was."""
    return float(np.percentile(values, percent)) if values else None


def mean(values: Sequence[float]) -> float | None:
    """Return the mean of what was told; `None`: nothing was."""
    return math.fsum(values) / len(values) if values else None
