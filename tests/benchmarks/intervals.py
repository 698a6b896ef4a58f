"""How often do the intervals of a report hold the truth, and how often do equal systems get a verdict?

    uv run python -m tests.benchmarks.intervals                 # all parts, as Markdown
    uv run python -m tests.benchmarks.intervals --only shares   # one

Each cell is the coverage of a nominal 95 % interval in percent. Right and wrong answers of one system are not simulated
but added up over all outcomes; the rest are simulations with `--runs` runs a cell.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from math import sqrt

import numpy as np
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from langchain_moa.evals.statistics.corrections import corrected, outcome_of
from langchain_moa.evals.statistics.differences import difference_of, tango
from langchain_moa.evals.statistics.intervals import mean_interval

SIZES = (5, 20, 50, 200, 800)
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
CORRELATIONS = (0.0, 0.3, 0.6, 0.9)
LOWEST, HIGHEST = 93.0, 98.0
PERCENT = (0.0, 100.0)


def shares(runs: int) -> Iterator[str]:
    """Coverage of right answers; where it is outside of 93 to 98, what an interval of one outcome more or less has."""
    yield f"| questions | {' | '.join(f'{share:.0%} right' for share in SHARES)} |"
    yield f"| ---: |{' ---: |' * len(SHARES)}"
    for size in SIZES:
        intervals = [mean_interval(np.repeat(PERCENT, [size - right, right]), PERCENT) for right in range(size + 1)]
        cells = []
        for share in SHARES:
            chances = binom.pmf(range(size + 1), size, share)
            held = np.array([one.low <= 100 * share <= one.high for one in intervals])
            covered = 100 * chances[held].sum()
            cells.append(f"{covered:.1f}{'' if LOWEST <= covered <= HIGHEST else _neighbor(chances, held)}")
        yield f"| {size} | {' | '.join(cells)} |"


def _neighbor(chances: np.ndarray, held: np.ndarray) -> str:
    """Return the coverage with the likeliest outcome more, or the least likely one less."""
    covered = 100 * chances[held].sum()
    other = covered + 100 * chances[~held].max() if covered < LOWEST else covered - 100 * chances[held].min()
    return f" (else {other:.1f})"


def pairs(runs: int) -> Iterator[str]:
    """Coverage of the difference of paired shares, by the number of questions on which they should differ."""
    rng = np.random.default_rng(0)
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for size in SIZES:
        for share in SHARES:
            for gap in (0.0, 0.05, 0.1):
                for correlation in CORRELATIONS:
                    chances = _cells(share, share - gap, correlation)
                    differ = size * (chances[1] + chances[2])
                    group = "fewer than 5" if differ < 5 else "5 to 20" if differ < 20 else "20 and more"
                    found.setdefault((size, group), []).append(_paired(rng, chances, size, runs))
    yield "| questions | expected to differ on | cells | Tango | in 93 to 98 | Newcombe | in 93 to 98 |"
    yield "| ---: | --- | ---: | --- | ---: | --- | ---: |"
    for (size, group), cells in found.items():
        columns = []
        for covered in zip(*cells, strict=True):
            inside = sum(LOWEST <= one <= HIGHEST for one in covered)
            columns += [f"{min(covered):.1f} to {max(covered):.1f}", f"{inside}"]
        yield f"| {size} | {group} | {len(cells)} | {' | '.join(columns)} |"


def _cells(first: float, second: float, correlation: float) -> np.ndarray:
    """Return the chances of both right, the first alone, the second alone, and neither."""
    both = first * second + correlation * sqrt(first * (1 - first) * second * (1 - second))
    both = min(max(both, first + second - 1, 0.0), first, second)
    return np.array([both, first - both, second - both, 1 - first - second + both])


def _paired(rng: np.random.Generator, chances: np.ndarray, size: int, runs: int) -> tuple[float, float]:
    """Return how often Tango's and Newcombe's interval hold the difference."""
    truth, held = chances[1] - chances[2], np.zeros(2)
    outcomes, counts = np.unique(rng.multinomial(size, chances.clip(0), size=runs), axis=0, return_counts=True)
    for (both, first, second, neither), count in zip(outcomes.tolist(), counts, strict=True):
        for i, (low, high) in enumerate((_tango(first, second, size), newcombe(both, first, second, neither))):
            held[i] += count * (low - 1e-9 <= truth <= high + 1e-9)
    tango_held, newcombe_held = 100 * held / runs
    return float(tango_held), float(newcombe_held)


_tango = cache(tango)


@cache
def newcombe(both: int, first: int, second: int, neither: int) -> tuple[float, float]:
    """Return the interval of method 10 of R. G. Newcombe, Statistics in Medicine 17 (1998), 2635-2650."""
    size = both + first + second + neither
    one, other = (both + first) / size, (both + second) / size
    low, high = proportion_confint(both + first, size, method="wilson")
    other_low, other_high = proportion_confint(both + second, size, method="wilson")
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    excess = both * neither - first * second
    excess = max(excess - size / 2, 0) if excess > 0 else excess
    phi = excess / sqrt(product) if product else 0.0

    def width(mine: float, others: float) -> float:
        return sqrt(max(mine**2 - 2 * phi * mine * others + others**2, 0))

    return one - other - width(one - low, other_high - other), one - other + width(high - one, other - other_low)


Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _ratings(mean: float, spread: float) -> Draw:
    return lambda rng, shape: np.clip(rng.normal(mean, spread, shape).round(), 1, 10)


def _wins(win: float, tie: float) -> Draw:
    return lambda rng, shape: rng.choice([0.0, 50.0, 100.0], p=[1 - win - tie, tie, win], size=shape)


SCORES: dict[str, tuple[Draw, tuple[float, float]]] = {
    "ratings 1 to 10, mean 6": (_ratings(6, 1.5), (1, 10)),
    "ratings 1 to 10, mean 9.3": (_ratings(9.3, 1), (1, 10)),
    "wins 40 %, ties 20 %": (_wins(0.4, 0.2), PERCENT),
    "wins 80 %, ties 15 %": (_wins(0.8, 0.15), PERCENT),
    "wins 10 %, ties 80 %": (_wins(0.1, 0.8), PERCENT),
    "preferences, Beta(0.3, 0.3)": (lambda rng, shape: 100 * rng.beta(0.3, 0.3, shape), PERCENT),
    "preferences, Beta(0.8, 0.2)": (lambda rng, shape: 100 * rng.beta(0.8, 0.2, shape), PERCENT),
}


def scores(runs: int) -> Iterator[str]:
    """Coverage of means of bounded scores."""
    yield f"| score | {' | '.join(f'{size} questions' for size in SIZES)} |"
    yield f"| --- |{' ---: |' * len(SIZES)}"
    rng = np.random.default_rng(1)
    for name, (draw, bounds) in SCORES.items():
        truth = float(draw(rng, (2_000_000,)).mean())
        cells = []
        for size in SIZES:
            intervals = [mean_interval(row, bounds) for row in draw(rng, (runs, size))]
            cells.append(100 * np.mean([one.low <= truth <= one.high for one in intervals]))
        yield f"| {name} | {' | '.join(f'{cell:.1f}' for cell in cells)} |"


def differences(runs: int) -> Iterator[str]:
    """Coverage of paired differences of bounded scores."""
    yield f"| scores | {' | '.join(f'{size} questions' for size in SIZES)} |"
    yield f"| --- |{' ---: |' * len(SIZES)}"
    rng = np.random.default_rng(2)
    for correlation in CORRELATIONS:
        for name, means in (("ratings, means 6.5 and 6", (6.5, 6.0)), ("ratings, means 9.3 and 9", (9.3, 9.0))):
            draw = _pair_of_ratings(rng, means, correlation)
            yield f"| {name}, correlation {correlation} | {' | '.join(_difference_cells(draw, (1, 10), runs))} |"
    for same in (0.0, 0.5, 0.8):
        draw = _pair_of_wins(rng, same)
        name = f"wins 60 % and 50 %, ties 20 %, the same on {same:.0%}"
        yield f"| {name} | {' | '.join(_difference_cells(draw, PERCENT, runs))} |"


PairDraw = Callable[[tuple[int, ...]], tuple[np.ndarray, np.ndarray]]


def _pair_of_ratings(rng: np.random.Generator, means: tuple[float, float], correlation: float) -> PairDraw:
    def draw(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        shared = sqrt(correlation) * rng.normal(size=shape)
        own = (shared + sqrt(1 - correlation) * rng.normal(size=shape) for _ in means)
        first, second = (np.clip((mean + 1.2 * one).round(), 1, 10) for mean, one in zip(means, own, strict=True))
        return first, second

    return draw


def _pair_of_wins(rng: np.random.Generator, same: float) -> PairDraw:
    def draw(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        first, second = _wins(0.6, 0.2)(rng, shape), _wins(0.5, 0.2)(rng, shape)
        return first, np.where(rng.random(shape) < same, first, second)

    return draw


def _difference_cells(draw: PairDraw, bounds: tuple[float, float], runs: int) -> list[str]:
    many = draw((2_000_000,))
    truth, cells = float((many[0] - many[1]).mean()), []
    for size in SIZES:
        held = 0
        for first, second in zip(*draw((runs, size)), strict=True):
            one = difference_of(first, second, value=float((first - second).mean()), bounds=bounds)
            held += one.interval.low <= truth <= one.interval.high
        cells.append(f"{100 * held / runs:.1f}")
    return cells


def family(runs: int) -> Iterator[str]:
    """Runs in which one of eight mixtures is found better than the best of two single models, all of them equal."""
    yield "| questions | share right | without correction | with Holm's |"
    yield "| ---: | --- | ---: | ---: |"
    rng = np.random.default_rng(3)
    for size in (50, 200, 800):
        for easy, hard in ((0.7, 0.7), (0.95, 0.4)):
            raw = held = 0
            for _ in range(runs):
                chances = np.where(rng.random(size) < 0.5, easy, hard)
                first, second, *mixtures = 100.0 * (rng.random((10, size)) < chances)
                singles = {"first": first, "second": second}
                best = max(singles, key=lambda name: singles[name].mean())
                found = [
                    (name, difference_of(one, single, value=float((one - single).mean()), bounds=PERCENT))
                    for one in mixtures
                    for name, single in singles.items()
                ]
                against = [one for name, one in found if name == best]
                raw += any(outcome_of(one, one.p_value) == "better" for one in against)
                if min(one.p_value for _, one in found) < 0.05:  # the correction makes none smaller
                    p_values = corrected([one for _, one in found])
                    held += any(outcome_of(one, p) == "better" for (_, one), p in zip(found, p_values, strict=True))
            yield f"| {size} | {easy:.0%} and {hard:.0%} | {100 * raw / runs:.1f} % | {100 * held / runs:.1f} % |"


PARTS = {
    "shares": shares,
    "pairs": pairs,
    "scores": scores,
    "differences": differences,
    "family": family,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--runs", type=int, default=2000, help="Simulated evaluations a cell.")
    options = parser.parse_args()
    print(
        ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "statsmodels")),
        f"{options.runs} runs a cell",
    )
    for name in options.only:
        print(f"\n### {PARTS[name].__doc__}\n", *PARTS[name](options.runs), sep="\n", flush=True)


if __name__ == "__main__":
    main()
