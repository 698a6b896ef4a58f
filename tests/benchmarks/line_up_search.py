"""Does `moa eval search` find the best line-up, and at which part of the full grid's calls?

Four scripted models of known accuracy, whose errors share a known correlation; two writers of known skill; every subset
of two to four members, voted, selected by, or synthesized by either writer: 55 line-ups, whose true accuracies come
from 200,000 questions. Each run searches with `halve`, as the command does, on 2,000 other questions. The full grid
asks every line-up every question, once with its own proposals and once with proposals that all line-ups share.

    uv run python -m tests.benchmarks.line_up_search

It takes half a minute.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from langchain_moa.evals.running.halving import FINALISTS, Rung, halve

Bools = NDArray[np.bool_]
CHOICES = 4


@dataclass(frozen=True)
class World:
    """What is known of the models."""

    accuracies: tuple[float, ...]
    correlation: float
    """Of the models' errors: of the normal variables behind them."""

    skills: tuple[float, ...] = (1.2, 2.5)
    """Of the writers: with a share s of right proposals one is right with the probability s ** (1 / skill)."""

    @property
    def line_ups(self) -> list[tuple[tuple[int, ...], str, int]]:
        """Members, way, writer."""
        members = [each for n in range(2, len(self.accuracies) + 1) for each in combinations(range(4), n)]
        ways = [("vote", 0), *((way, writer) for way in ("select", "synthesize") for writer in range(len(self.skills)))]
        return [(each, way, writer) for each in members for way, writer in ways]

    def results(self, questions: int, seed: int) -> Bools:
        """Return which line-up is right on which question."""
        rng = np.random.default_rng(seed)
        shared = np.sqrt(self.correlation) * rng.normal(size=questions)
        own = np.sqrt(1 - self.correlation) * rng.normal(size=(len(self.accuracies), questions))
        right = shared + own < norm.ppf(self.accuracies)[:, None]
        answers = np.where(right, 0, rng.integers(1, CHOICES, size=right.shape))
        luck = rng.random((len(self.line_ups), questions))
        return np.array(
            [luck[n] < self._chance(answers[list(one[0])], *one[1:]) for n, one in enumerate(self.line_ups)]
        )

    def _chance(self, answers: NDArray[np.int64], way: str, writer: int) -> NDArray[np.float64]:
        votes = np.array([(answers == choice).sum(0) for choice in range(CHOICES)])
        if way == "vote":
            won = votes == votes.max(0)
            return won[0] / won.sum(0)
        skill = self.skills[writer] * (1.6 if way == "synthesize" else 1)
        share: NDArray[np.float64] = votes[0] / len(answers)
        return share ** (1 / skill)


def search(results: Bools, *, first: int) -> tuple[int, list[Rung], int]:
    """Return what the search finds, its rounds, and its calls after the proposals."""
    names, half = [str(n) for n in range(len(results))], results.shape[1] // 2
    asked: dict[str, int] = {}

    async def attempt(left: list[str], questions: int) -> dict[str, float]:
        asked.update(dict.fromkeys(left, questions))
        return {name: float(results[int(name), :questions].mean()) for name in left}

    rungs = asyncio.run(halve(names, attempt, first=first, most=half))  # type: ignore[arg-type]
    last = [*range(rungs[-1].questions), *range(half, results.shape[1])]
    found = max(rungs[-1].scores, key=lambda name: results[int(name), last].mean())
    return int(found), rungs, sum(asked.values()) + FINALISTS * (results.shape[1] - half)


def row(world: World, *, runs: int, questions: int, first: int) -> str:
    """Return one row of the table."""
    truth = world.results(200_000, seed=0).mean(1)
    ordered = np.sort(truth)[::-1]
    hits = close = 0
    for run in range(runs):
        found, rungs, calls = search(world.results(questions, seed=run + 1), first=first)
        hits += bool(truth[found] == ordered[0])
        close += bool(truth[found] >= ordered[0] - 0.01)
    calls += len(world.accuracies) * (rungs[-1].questions + questions - questions // 2)
    own = sum(len(members) + 1 for members, _, _ in world.line_ups) * questions
    shared = (len(world.line_ups) + len(world.accuracies)) * questions
    accuracies = ", ".join(f"{accuracy:.2f}" for accuracy in world.accuracies)
    lead = 100 * (ordered[0] - ordered[1])
    return (
        f"| {accuracies} | {world.correlation:g} | {lead:.1f} | {first} | {hits} of {runs} | {close} of {runs} | "
        f"{calls:,} | {100 * calls / own:.1f} % | {100 * calls / shared:.1f} % |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--questions", type=int, default=2000)
    options = parser.parse_args()
    print(
        "| accuracies | correlation | lead of the best, points | first round | best found | within a point | calls | "
        "of the grid | of the grid with shared proposals |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for accuracies, correlation in (
        ((0.74, 0.72, 0.70, 0.35), 0.1),
        ((0.68, 0.66, 0.64, 0.30), 0.2),
        ((0.74, 0.72, 0.70, 0.35), 0.5),
        ((0.80, 0.60, 0.58, 0.40), 0.3),
    ):
        for first in (20, 60, 120):
            world = World(accuracies, correlation)
            print(row(world, runs=options.runs, questions=options.questions, first=first), flush=True)


if __name__ == "__main__":
    main()
