"""What no choice among several models' answers can pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from langchain_moa.evals.statistics.intervals import Interval, share_interval
from langchain_moa.evals.statistics.jackknife import Scores
from langchain_moa.evals.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """On how many questions any of the single models is right, and on how many all fail, in percent."""

    members: Sequence[str]
    """The single models."""

    questions: int
    """Questions that count for all of them."""

    oracle: float
    """Share on which at least one is right: the accuracy of an oracle that always chooses the right answer."""

    oracle_interval: Interval | None
    beta: float
    """Share on which all fail."""

    beta_interval: Interval | None
    """Exact intervals (Clopper-Pearson)."""


def ceiling_of(metrics: Mapping[str, Metric], scores: Scores) -> Ceiling | None:
    """Return the ceiling of several models whose answers are right or wrong.

    Args:
        metrics: The single models' metrics.
        scores: Scores by question.

    Returns:
        The ceiling. `None`: there are fewer than two models or questions, or an answer may be partly right.
    """
    values = _common(metrics, scores)
    bounds = {metric.bounds for metric in metrics.values()}
    if values is None or len(bounds) != 1 or (limits := bounds.pop()) is None or not np.isin(values, limits).all():
        return None
    right, total = int((values == limits[1]).any(axis=0).sum()), values.shape[1]
    return Ceiling(
        members=tuple(metrics),
        questions=total,
        oracle=100 * right / total,
        oracle_interval=share_interval(right, total),
        beta=100 * (total - right) / total,
        beta_interval=share_interval(total - right, total),
    )


def _common(metrics: Mapping[str, Metric], scores: Scores) -> NDArray[np.float64] | None:
    """Return the scores by model and question, for the questions that count for all models."""
    if len(metrics) < 2:
        return None
    first, *others = metrics.values()
    counted = [set(metric.questions) for metric in others]
    common = tuple(question for question in first.questions if all(question in one for one in counted))
    return np.array([scores.values(system, common) for system in metrics]) if len(common) > 1 else None
