"""`--dry-run`: what difference the questions will be able to show."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.evals.types import Benchmark


def show_power(
    evaluation: Evaluation, benchmarks: Sequence[Benchmark], systems: Sequence[str], judge: str, *, detect: float | None
) -> None:
    """Print, by benchmark, the smallest difference that is found in four evaluations of five."""
    for benchmark in benchmarks:
        typer.echo(f"{benchmark.name}: {_foreseen(evaluation, benchmark, systems, judge, detect)}")


def _foreseen(
    evaluation: Evaluation, benchmark: Benchmark, systems: Sequence[str], judge: str, detect: float | None
) -> str:
    from langchain_moa.evals.statistics.power import detectable, questions_for

    questions = len(evaluation.questions(benchmark))
    spread, source = _measured(evaluation, benchmark, systems, judge) or _widest(benchmark)
    if spread is None:
        return f"what {questions} questions can show is not known before something is measured: run with --limit 20."
    smallest = detectable(spread, questions)
    shown = "no difference" if smallest is None else f"a difference of {smallest:.2f} or more"
    text = f"{questions} questions can show {shown} (80 % power at 5 %, one comparison; {source})"
    if detect is None:
        return f"{text}."
    needed = questions_for(detect, spread)
    return f"{text}; a difference of {detect:g} takes {needed:,} questions."


def _measured(
    evaluation: Evaluation, benchmark: Benchmark, systems: Sequence[str], judge: str
) -> tuple[float | None, str] | None:
    """Return the largest spread of the paired differences stored so far. `None`: there is none."""
    from langchain_moa.cli.evaluation.stored_results import judged
    from langchain_moa.evals.report.make_report import make_report
    from langchain_moa.evals.results.store import stored_systems

    stored = stored_systems(evaluation.out, benchmark.name)
    runs = {system: judged(evaluation, benchmark, system, judge)[:2] for system in systems if system in stored}
    if not runs:
        return None
    baseline = evaluation.baseline if evaluation.baseline in runs else None
    report = make_report(benchmark, runs, judge=None, prices=None, baseline=baseline)
    compared = {
        **{f"{row.system} and {report.baseline}": row.difference for row in report.systems},
        **{f"{verdict.system} and {verdict.other}": verdict.difference for verdict in report.verdicts},
    }
    known = {pair: difference for pair, difference in compared.items() if difference and difference.spread}
    if not known:
        return None
    pair, difference = max(known.items(), key=lambda item: item[1].spread)
    return difference.spread, f"from {pair} on {difference.questions} questions so far, SD {difference.spread:.2f}"


def _widest(benchmark: Benchmark) -> tuple[float | None, str]:
    """Return the spread where the answers of both systems are unrelated, half of them at each end of the scale."""
    bounds = benchmark.metric([], []).bounds
    spread = (bounds[1] - bounds[0]) / sqrt(2) if bounds else None
    return spread, "nothing measured yet: at the widest, for systems whose answers have nothing in common"
