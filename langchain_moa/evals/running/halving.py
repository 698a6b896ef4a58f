"""Successive halving: find the best of many candidates without asking each of them every question.

All candidates answer a few questions, the better half of them twice as many, and so on. Source: Jamieson and Talwalkar,
arXiv:1502.07943.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

FINALISTS = 3
"""How many candidates are left at the end."""

Try = Callable[[Sequence[str], int], Awaitable[Mapping[str, float]]]
"""From candidates, and how many questions they are to have answered, to their scores. Higher is better; `nan`: none."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One round: so many questions for those who are left."""

    questions: int
    scores: Mapping[str, float]
    """By candidate, the best first."""


def rungs_of(candidates: int, *, first: int, most: int) -> list[tuple[int, int]]:
    """Return for each round how many candidates there are and how many questions they have answered at its end.

    Args:
        candidates: Number of candidates.
        first: Questions of the first round.
        most: Questions that there are.
    """
    rungs = [(candidates, min(first, most))]
    while rungs[-1][0] > FINALISTS:
        before, asked = rungs[-1]
        rungs.append((max(FINALISTS, math.ceil(before / 2)), min(2 * asked, most)))
    return rungs


async def halve(candidates: Sequence[str], attempt: Try, *, first: int, most: int) -> list[Rung]:
    """Try all candidates, then the better half of them on more questions, until few are left.

    Args:
        candidates: Their names. Of two with the same score, the one that is named first is the better.
        attempt: Asks them.
        first: Questions of the first round.
        most: Questions that there are.

    Returns:
        The rounds. The last one's scores are the finalists'.
    """
    left, rungs = list(candidates), list[Rung]()
    for count, questions in rungs_of(len(left), first=first, most=most):
        left = [name for name in candidates if name in left[:count]]
        scores = await attempt(tuple(left), questions)
        left.sort(key=lambda name: math.inf if math.isnan(scores[name]) else -scores[name])
        rungs.append(Rung(questions=questions, scores={name: scores[name] for name in left}))
    return rungs


def first_questions(candidates: int, *, most: int, least: int, cost: Callable[[list[tuple[int, int]]], float]) -> int:
    """Return how many questions the first round can have.

    Args:
        candidates: Number of candidates.
        most: Questions that there are.
        least: Fewest questions of the first round.
        cost: From rounds, as of `rungs_of`, to the part of the budget that they take: at most 1 is affordable.

    Raises:
        ValueError: Not even the fewest are affordable.
    """
    affordable = [first for first in range(least, most + 1) if cost(rungs_of(candidates, first=first, most=most)) <= 1]
    if not affordable:
        share = cost(rungs_of(candidates, first=least, most=most))
        msg = f"The budget is too small to search {candidates} line-ups: give {share:.1f} times as much, or fewer "
        raise ValueError(msg + "models, writers or ways.")
    return affordable[-1]
