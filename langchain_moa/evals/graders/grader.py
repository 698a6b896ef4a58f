"""The grader protocol, and the placeholder for a task that is not graded yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from langchain_moa.evals.statistics.mean_metric import MeanMetric
from langchain_moa.evals.types import Answer, JudgeCall, Judgment, Metric, Question


class Grader(Protocol):
    """Grades answers to the questions of a `Task`."""

    fingerprint: str
    """Identifies the grader and its settings. Judgments with another fingerprint are not reused."""

    score_name: str
    """Name and unit of the score, as in `Benchmark`."""

    def check(self, question: Question) -> None:
        """Check that a question can be graded.

        Raises:
            ValueError: The question lacks what the grader needs.
        """

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return the judge calls for an answer, or its judgments."""

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return the judgments of a failed answer where failures count as wrong: the lowest score possible."""

    def metric(self, questions: Sequence[Question], answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Metric:
        """Return one system's metric."""


class Ungraded:
    """A placeholder grader, for a task that is being answered and not graded yet."""

    fingerprint = "ungraded"
    score_name = "ungraded"

    def check(self, question: Question) -> None:
        """Accept any question."""

    def judge(self, question: Question, answer: Answer) -> Sequence[Judgment]:
        """Return no judgments."""
        return ()

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return no judgments."""
        return ()

    def metric(
        self, questions: Sequence[Question], answers: Sequence[Answer], judgments: Sequence[Judgment]
    ) -> MeanMetric:
        """Return an empty metric."""
        return MeanMetric({}, name=self.score_name, bounds=None, figures={}, breakdowns={}, warnings=[])
