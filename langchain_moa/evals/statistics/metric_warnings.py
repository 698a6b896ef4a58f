"""Warnings about a metric that several benchmarks share."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from langchain_moa.evals.types import Judgment


def other_judge(judgments: Sequence[Judgment], published: Collection[str]) -> list[str]:
    """Warn if the judge is not the one of the published scores."""
    judged = [judgment for judgment in judgments if not judgment.fields.get("failed")]
    judges = {judgment.fields.get("judge") for judgment in judged if judgment.error is None}
    if judges <= set(published):
        return []
    if judges == {None}:
        return ["It is not known who judged: the figures may not be comparable with published ones."]
    return [f"The judge is not {' or '.join(published)}: the figures are not comparable with published ones."]


def part_of_the_questions(scored: int, questions: int) -> list[str]:
    """Warn if only some of a benchmark's questions were scored."""
    if scored == questions:
        return []
    return [f"Only {scored} of the {questions} questions count: not comparable with published figures."]


def unscored(judgments: Sequence[Judgment]) -> list[str]:
    """Warn about judgments without a score."""
    count = sum(judgment.score is None for judgment in judgments)
    return [f"{count} of {len(judgments)} judgments have no score and are left out."] if count else []
