"""A part of a benchmark's questions, for a first look."""

from __future__ import annotations

import random
from collections.abc import Sequence

from langchain_moa.evals.types import Question


def sample(questions: Sequence[Question], limit: int | None, *, seed: int = 0) -> list[Question]:
    """Return `limit` of the questions, drawn at random, in the benchmark's order.

    With one seed a smaller sample is a part of every larger one, so that what a first look has paid for counts later.
    """
    if limit is None or limit >= len(questions):
        return list(questions)
    order = random.Random(seed).sample(range(len(questions)), len(questions))
    return [questions[place] for place in sorted(order[:limit])]
