"""From what is kept of an evaluation to its report, on the terminal and in files."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from langchain_moa.cli.evaluation import work

if TYPE_CHECKING:
    from langchain_moa.evals.prices import Prices
    from langchain_moa.evals.types import Benchmark


def load_prices(source: str | None) -> Prices | None:
    """Return the prices that the command line names, if it names any."""
    from langchain_moa.evals import prices

    return prices.load_prices(source) if source else None


def check_report(prices: str | None) -> None:
    """Find out whether a report can be made, before it is paid for.

    Raises:
        ImportError: A package that it needs is missing.
        ValueError: The prices are malformed.
        OSError: The prices can't be read.
    """
    import_module("langchain_moa.evals.pictures")
    load_prices(prices)


def report_on(
    evaluation: work.Evaluation, benchmark: Benchmark, systems: Sequence[str], *, judge: str | None, prices: str | None
) -> None:
    """Print a benchmark's report, and write it as `report.json`, `.csv`, `.md` and `.html` beside the systems."""
    from langchain_moa.cli.report_view import print_report, write_report
    from langchain_moa.evals.report import make_report

    name = work.judge_name(evaluation, benchmark, systems, judge)
    runs, warnings = {}, work.sample_warnings(evaluation, benchmark, systems)
    for system in systems:
        answers, judgments, noticed = work.judged(evaluation, benchmark, system, name)
        runs[system] = (answers, judgments)
        warnings += noticed
    report = make_report(
        benchmark,
        runs,
        judge=name if evaluation.needs_judge(benchmark) else None,
        prices=load_prices(prices),
        baseline=evaluation.baseline,
        seed=evaluation.seed,
        warnings=warnings,
    )
    print_report(Console(), report)
    folder = evaluation.out / benchmark.name
    write_report(folder, report)
    typer.echo(f"Written to {folder / 'report.html'}, and beside it as .json, .csv and .md.", err=True)
