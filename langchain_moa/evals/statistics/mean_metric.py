"""Mean scores, overall and by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from langchain_moa.evals.types import Bounds, Judgment, Question


def means_by(values: Iterable[tuple[str, float]], order: Sequence[str]) -> dict[str, float]:
    """Return the mean of each group's values.

    Args:
        values: Pairs of group and value.
        order: The groups to return, in this order; groups without a value are left out.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for group, value in values:
        groups[group].append(value)
    return {group: fmean(groups[group]) for group in order if groups[group]}


def scores_by_question(
    questions: Iterable[Question], judgments: Iterable[Judgment], *, scale: float = 1.0
) -> dict[str, list[tuple[str, float]]]:
    """Return the scores by question, in a single group, for `MeanMetric`. Unscored questions are left out."""
    scores: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for judgment in judgments:
        if judgment.score is not None:
            scores[judgment.question].append(("", scale * judgment.score))
    return {question.id: scores[question.id] for question in questions if question.id in scores}


class MeanMetric:
    """A `Metric` that is the mean over groups of the mean within each group."""

    def __init__(
        self,
        values: Mapping[str, Sequence[tuple[str, float]]],
        *,
        name: str,
        figures: Mapping[str, float],
        breakdowns: Mapping[str, Mapping[str, float]],
        warnings: Sequence[str],
        bounds: Bounds | None,
    ) -> None:
        """Compute the mean.

        Args:
            values: Pairs of group and value for each scored question, in the benchmark's order.
            name: Name of the mean in `figures`.
            figures: Further scores.
            breakdowns: As in `Metric`.
            warnings: As in `Metric`.
            bounds: Lowest and highest value possible; a value beyond them extends them. `None`: not known.
        """
        self.questions: Sequence[str] = tuple(values)
        self._values = tuple(values.values())
        known = [value for pairs in self._values for _, value in pairs]
        self.bounds: Bounds | None = bounds and (min(bounds[0], *known), max(bounds[1], *known)) if known else bounds
        self.figures: Mapping[str, float] = {name: self.score(), **figures}
        self.breakdowns: Mapping[str, Mapping[str, float]] = breakdowns
        self.warnings: Sequence[str] = warnings

    def score(self, sample: Sequence[int] | None = None) -> float:
        """Return the mean over the questions at these positions; `nan` if there are none."""
        groups: dict[str, list[float]] = defaultdict(list)
        for position in range(len(self._values)) if sample is None else sample:
            for group, value in self._values[position]:
                groups[group].append(value)
        return fmean(map(fmean, groups.values())) if groups else float("nan")
