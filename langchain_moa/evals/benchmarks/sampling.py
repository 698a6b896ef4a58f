"""Random samples of a benchmark's questions."""

from __future__ import annotations

import random
from collections.abc import Sequence

from langchain_moa.evals.types import Question


def sample(questions: Sequence[Question], limit: int | None, *, seed: int = 0) -> list[Question]:
    """Return a random sample of questions, in the benchmark's order.

    With the same seed a smaller sample is a subset of every larger one, so its results are reused. A question comes
    with all its repeats, and counts once.

    Args:
        questions: All questions.
        limit: Sample size. `None`: all questions.
        seed: Random seed.
    """
    originals = list(dict.fromkeys(question.repeat_of or question.id for question in questions))
    if limit is None or limit >= len(originals):
        return list(questions)
    drawn = set(random.Random(seed).sample(originals, len(originals))[:limit])
    return [question for question in questions if (question.repeat_of or question.id) in drawn]
