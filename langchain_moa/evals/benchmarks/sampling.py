"""Random samples of a benchmark's questions."""

from __future__ import annotations

import random
from collections.abc import Sequence

from langchain_moa.evals.types import Question


def sample(questions: Sequence[Question], limit: int | None, *, seed: int = 0) -> list[Question]:
    """Return a random sample of questions, in the benchmark's order.

    With the same seed a smaller sample is a subset of every larger one, so its results are reused.

    Args:
        questions: All questions.
        limit: Sample size. `None`: all questions.
        seed: Random seed.
    """
    if limit is None or limit >= len(questions):
        return list(questions)
    order = random.Random(seed).sample(range(len(questions)), len(questions))
    return [questions[place] for place in sorted(order[:limit])]
