"""What a grader is, and the one for a task that is not graded yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from langchain_moa.evals.statistics.mean_metric import MeanMetric
from langchain_moa.evals.types import Answer, JudgeCall, Judgment, Metric, Question


class Grader(Protocol):
    """Judges the answers to an own task's questions."""

    fingerprint: str
    """What decides what a judgment means."""

    score_name: str
    """As a benchmark has it."""

    def check(self, question: Question) -> None:
        """Look for what is needed of a question.

        Raises:
            ValueError: The question lacks it.
        """

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return what to ask a judge about an answer, or the verdict."""

    def metric(self, questions: Sequence[Question], answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Metric:
        """Return how one system did."""


class Ungraded:
    """The grader of a task whose questions are only answered so far."""

    fingerprint = "ungraded"
    score_name = "ungraded"

    def check(self, question: Question) -> None:
        """Accept any question."""

    def judge(self, question: Question, answer: Answer) -> Sequence[Judgment]:
        """Return no verdict."""
        return ()

    def metric(
        self, questions: Sequence[Question], answers: Sequence[Answer], judgments: Sequence[Judgment]
    ) -> MeanMetric:
        """Return a metric in which nothing counts."""
        return MeanMetric({}, name=self.score_name, figures={}, breakdowns={}, warnings=[])
