"""The scores of several systems, question by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from langchain_moa.evals.statistics.differences import Difference, difference_of
from langchain_moa.evals.statistics.intervals import Interval, mean_interval
from langchain_moa.evals.types import Bounds, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Scores:
    """Scores by question, from which the intervals and the paired differences of several systems are computed.

    A question's value is the jackknife's pseudo-value: as many times the score as there are questions, less what the
    score would be without this one. For a mean it is the question's own score; it serves any other score as well, such
    as a mean of means or a refitted regression. Source: J. W. Tukey, Annals of Mathematical Statistics 29 (1958).
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        """Keep the metrics.

        Args:
            metrics: Metrics by system.
        """
        self._metrics = metrics
        self._positions = {
            system: {question: position for position, question in enumerate(metric.questions)}
            for system, metric in metrics.items()
        }
        # A system is compared with several others, mostly on the same questions.
        self.values = cache(self._pseudo_values)

    def interval(self, system: str) -> Interval | None:
        """Return the interval of a system's score. `None`: fewer than two questions."""
        metric = self._metrics[system]
        return mean_interval(self.values(system, tuple(metric.questions)), metric.bounds)

    def difference(self, system: str, other: str) -> Difference | None:
        """Return the paired difference of two systems. `None`: fewer than two questions in common."""
        theirs = self._positions[other]
        common = tuple(question for question in self._metrics[system].questions if question in theirs)
        if len(common) < 2:
            return None
        return difference_of(
            self.values(system, common),
            self.values(other, common),
            value=self._score(system, common) - self._score(other, common),
            bounds=_shared(self._metrics[system].bounds, self._metrics[other].bounds),
        )

    def _score(self, system: str, questions: Sequence[str]) -> float:
        """Return the score over some questions; over all of them it is the published score."""
        if len(questions) == len(self._positions[system]):
            return self._metrics[system].score()
        return self._metrics[system].score([self._positions[system][question] for question in questions])

    def _pseudo_values(self, system: str, questions: tuple[str, ...]) -> NDArray[np.float64]:
        """Return a value per question, whose mean is the score."""
        count = len(questions)
        if count < 2:
            return np.empty(0)
        positions = [self._positions[system][question] for question in questions]
        score, whole = self._metrics[system].score, self._score(system, questions)
        without = np.array([score([*positions[:i], *positions[i + 1 :]]) for i in range(count)])
        pseudo = count * whole - (count - 1) * without
        # Centered on the score, and rounded so that a right answer is worth 100 and not a rounding error less.
        values: NDArray[np.float64] = np.round(pseudo + whole - pseudo.mean(), 6)
        return values


def _shared(bounds: Bounds | None, others: Bounds | None) -> Bounds | None:
    return None if bounds is None or others is None else (min(bounds[0], others[0]), max(bounds[1], others[1]))
