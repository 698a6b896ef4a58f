"""A benchmark whose questions are asked several times, to average out what sampling does to the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from langchain_moa.evals.types import Answer, Benchmark, Bounds, JudgeCall, Judgment, Metric, Question

_Item = TypeVar("_Item", Answer, Judgment)


def with_repeats(benchmark: Benchmark, repeats: int) -> Benchmark:
    """Return a benchmark that asks each question several times. Once: the benchmark itself."""
    return benchmark if repeats == 1 else RepeatedBenchmark(benchmark, repeats)


class RepeatedBenchmark:
    """Asks each question several times; scores are means over the repeats, and errors are clustered by question.

    The first time a question has its own id, so that answers that are there are used; the others are `id@2`, `id@3`.
    """

    def __init__(self, benchmark: Benchmark, repeats: int) -> None:
        """Repeat a benchmark's questions.

        Args:
            benchmark: The benchmark.
            repeats: How often each question is asked.

        Raises:
            ValueError: A question has the id of another's repeat.
        """
        self.name = benchmark.name
        self.fingerprint = benchmark.fingerprint
        self.score_name = benchmark.score_name
        self._benchmark = benchmark
        self._originals: dict[str, tuple[int, Question]] = {}
        questions = []
        for question in benchmark.questions:
            for number in range(repeats):
                repeated = replace(question, id=f"{question.id}@{number + 1}", repeat_of=question.id)
                questions.append(repeated if number else question)
                if questions[-1].id in self._originals:
                    msg = f"Question {questions[-1].id!r} has the id of a repeat: choose another id."
                    raise ValueError(msg)
                self._originals[questions[-1].id] = (number, question)
        self.questions: Sequence[Question] = tuple(questions)
        self._repeats = repeats

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return the judge calls for an answer, or its judgments, as for the original question."""
        _, original = self._originals[question.id]
        verdicts = self._benchmark.judge(original, replace(answer, question=original.id))
        return [replace(one, question=question.id) if isinstance(one, Judgment) else one for one in verdicts]

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return the judgments of a failed answer, as for the original question."""
        _, original = self._originals[answer.question]
        judgments = self._benchmark.unanswered(replace(answer, question=original.id))
        return [replace(judgment, question=answer.question) for judgment in judgments]

    def metric(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> RepeatedMetric:
        """Return one system's mean metric over the repeats."""
        metrics = [
            self._benchmark.metric(self._of(number, answers), self._of(number, judgments))
            for number in range(self._repeats)
        ]
        return RepeatedMetric(metrics, [question.id for question in self._benchmark.questions])

    def export(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Mapping[str, str]:
        """Return the first answers in the format of the benchmark's original tools."""
        return self._benchmark.export(self._of(0, answers), self._of(0, judgments))

    def read_answers(self, path: Path) -> Sequence[Answer]:
        """Read first answers, as the benchmark does."""
        return self._benchmark.read_answers(path)

    def read_judgments(self, path: Path) -> Sequence[Judgment]:
        """Read judgments of first answers, as the benchmark does."""
        return self._benchmark.read_judgments(path)

    def _of(self, number: int, items: Sequence[_Item]) -> list[_Item]:
        ids = {name: original.id for name, (repeat, original) in self._originals.items() if repeat == number}
        return [replace(item, question=ids[item.question]) for item in items if item.question in ids]


class RepeatedMetric:
    """A metric whose scores are means over repeats. Its questions are the originals.

    Statistics that resample or leave out whole questions, with all their repeats, thereby cluster errors by question:
    more repeats of the same questions do not pass for more questions.
    """

    def __init__(self, metrics: Sequence[Metric], order: Sequence[str]) -> None:
        """Average metrics.

        Args:
            metrics: One per repeat.
            order: The original questions' ids, in the benchmark's order.
        """
        self._metrics = metrics
        self._positions = [{question: i for i, question in enumerate(metric.questions)} for metric in metrics]
        scored = {question for positions in self._positions for question in positions}
        bounds = [metric.bounds for metric in metrics if metric.bounds]
        widest = (min(low for low, _ in bounds), max(high for _, high in bounds)) if bounds else None
        self.bounds: Bounds | None = widest if len(bounds) == len(metrics) else None
        self.questions: Sequence[str] = tuple(question for question in order if question in scored)
        self.figures: Mapping[str, float] = _means([metric.figures for metric in metrics])
        names = dict.fromkeys(name for metric in metrics for name in metric.breakdowns)
        self.breakdowns: Mapping[str, Mapping[str, float]] = {
            name: _means([metric.breakdowns.get(name, {}) for metric in metrics]) for name in names
        }
        self.warnings: Sequence[str] = list(dict.fromkeys(warning for metric in metrics for warning in metric.warnings))

    def score(self, sample: Sequence[int] | None = None) -> float:
        """Return the mean of the repeats' main scores; a repeat in which nothing was scored is left out."""
        return _mean([self._score(number, sample) for number in range(len(self._metrics))])

    def _score(self, number: int, sample: Sequence[int] | None) -> float:
        if sample is None:
            return self._metrics[number].score()
        positions = self._positions[number]
        chosen = [self.questions[position] for position in sample]
        return self._metrics[number].score([positions[question] for question in chosen if question in positions])


def _means(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for by_name in values for name in by_name)
    return {name: _mean([by_name[name] for by_name in values if name in by_name]) for name in names}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not isnan(value)]
    return fmean(known) if known else float("nan")
