"""Failed answers, counted as wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain_moa.evals.types import Answer, Benchmark, Judgment

Failures = Literal["wrong", "drop"]
"""How failed answers count: as wrong, or not at all."""


def failed_judgment(
    answer: Answer, score: float, *, part: str = "", fields: Mapping[str, Any] | None = None
) -> Judgment:
    """Return the judgment of a failed answer: the lowest score, without a judge."""
    return Judgment(
        question=answer.question,
        system=answer.system,
        part=part,
        score=score,
        fields={"failed": True, **(fields or {})},
    )


def counted_as_wrong(benchmark: Benchmark, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> list[Judgment]:
    """Return the judgments, and for each failed answer that it is wrong."""
    wrong = [judgment for answer in answers if answer.error is not None for judgment in benchmark.unanswered(answer)]
    return [*judgments, *wrong]
