"""A small benchmark with answers and judgments, for tests of what comes after judging."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.evals.types import Answer, Judgment, Question

CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")


class MeanMetric:
    """The mean of the scores, by question."""

    def __init__(self, scores: Mapping[str, float], warnings: Sequence[str] = ()) -> None:
        self._scores = scores
        self.questions = list(scores)
        self.warnings = warnings
        self.bounds = (1.0, 10.0)

    @property
    def figures(self) -> Mapping[str, float]:
        return {"score": self.score(), "highest": max(self._scores.values(), default=float("nan"))}

    @property
    def breakdowns(self) -> Mapping[str, Mapping[str, float]]:
        by_category: dict[str, list[float]] = {category: [] for category in CATEGORIES}
        for number, score in enumerate(self._scores.values()):
            by_category[CATEGORIES[number % len(CATEGORIES)]].append(score)
        if not all(by_category.values()):
            return {}
        return {"category": {category: sum(scores) / len(scores) for category, scores in by_category.items()}}

    def score(self, sample: Sequence[int] | None = None) -> float:
        chosen = range(len(self.questions)) if sample is None else sample
        scores = [self._scores[self.questions[position]] for position in chosen]
        return sum(scores) / len(scores) if scores else float("nan")


@dataclass
class SampleBenchmark:
    """Questions whose judgments are scores from 1 to 10."""

    name: str = "sample"
    fingerprint: str = "0"
    score_name: str = "score (1-10)"
    questions: Sequence[Question] = ()
    warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By system."""

    def judge(self, question: Question, answer: Answer) -> Sequence[Any]:
        raise NotImplementedError

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        return [Judgment(question=answer.question, system=answer.system, score=1.0)]

    def metric(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> MeanMetric:
        system = answers[0].system if answers else ""
        scores = {judgment.question: judgment.score for judgment in judgments if judgment.score is not None}
        return MeanMetric(scores, self.warnings.get(system, ()))

    def export(self, answers: Any, judgments: Any) -> Any:
        raise NotImplementedError

    def read_answers(self, path: Any) -> Any:
        raise NotImplementedError

    def read_judgments(self, path: Any) -> Any:
        raise NotImplementedError


def questions(count: int) -> list[Question]:
    """Make questions of one turn."""
    return [Question(id=str(number), turns=((HumanMessage(f"Question {number}?"),),)) for number in range(count)]


def usage(tokens_in: int, tokens_out: int) -> UsageMetadata:
    return UsageMetadata(input_tokens=tokens_in, output_tokens=tokens_out, total_tokens=tokens_in + tokens_out)


def make_run(
    system: str,
    scores: Sequence[float | None],
    *,
    models: Sequence[str] = ("small",),
    calls: int = 1,
    seconds: float | None = 1.0,
    tokens: tuple[int, int] = (100, 50),
    judge: str = "judge",
) -> tuple[list[Answer], list[Judgment]]:
    """Make a system's answers, one per score, and their judgments; a score of `None` could not be read."""
    used = {model: usage(*tokens) for model in models}
    answers = [
        Answer(question=str(i), system=system, texts=("a" * (10 + i % 3),), calls=calls, seconds=seconds, usage=used)
        for i in range(len(scores))
    ]
    judgments = [
        Judgment(question=str(i), system=system, score=score, reply="[[7]]", usage={judge: usage(200, 10)})
        for i, score in enumerate(scores)
    ]
    return answers, judgments


def noisy_scores(mean: float, count: int = 80, seed: int = 0) -> list[float]:
    """Draw scores around a mean; the same seed makes the same questions hard."""
    rng = random.Random(seed)
    return [max(1.0, min(10.0, mean + rng.gauss(0, 1.2))) for _ in range(count)]
