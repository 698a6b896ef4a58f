"""From what is kept of an evaluation to its report, on the terminal and in files."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from langchain_moa.cli.evaluation.progress import working
from langchain_moa.cli.evaluation.system_specs import split_name

if TYPE_CHECKING:
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.evals.report.prices import Prices
    from langchain_moa.evals.report.report import Report
    from langchain_moa.evals.types import Answer, Benchmark, Judgment


def load_prices(source: str | None) -> Prices | None:
    """Return the prices that the command line names, if it names any."""
    from langchain_moa.evals.report import prices

    return prices.load_prices(source) if source else None


def check_report(prices: str | None) -> None:
    """Find out whether a report can be made, before it is paid for.

    Raises:
        ImportError: A package that it needs is missing.
        ValueError: The prices are malformed.
        OSError: The prices can't be read.
    """
    import_module("langchain_moa.evals.report.html_page")
    load_prices(prices)


def report_on(
    evaluation: Evaluation, benchmark: Benchmark, systems: Sequence[str], *, judge: str | None, prices: str | None
) -> None:
    """Work out a benchmark's report, and publish it beside the systems."""
    from langchain_moa.evals.report.report import make_report

    name = judge_name(evaluation, benchmark, systems, judge)
    runs, warnings = {}, sample_warnings(evaluation, benchmark, systems)
    for system in systems:
        answers, judgments, noticed = judged(evaluation, benchmark, system, name)
        runs[system] = (answers, judgments)
        warnings += noticed
    with working(f"{benchmark.name}: working out the intervals"):
        report = make_report(
            benchmark,
            runs,
            judge=name if evaluation.needs_judge(benchmark) else None,
            prices=load_prices(prices),
            baseline=evaluation.baseline,
            seed=evaluation.seed,
            warnings=warnings,
        )
    publish(evaluation.out / benchmark.name, report)


def publish(folder: Path, report: Report) -> None:
    """Print a report, and write it as `report.json`, `.csv`, `.md` and `.html` into a folder."""
    from langchain_moa.cli.evaluation.report_output import print_report, write_report

    print_report(Console(), report)
    write_report(folder, report)
    typer.echo(f"Written to {folder / 'report.html'}, and beside it as .json, .csv and .md.", err=True)


def judge_name(evaluation: Evaluation, benchmark: Benchmark, systems: Sequence[str], option: str | None) -> str:
    """Return the name of the judge whose judgments are reported.

    Raises:
        ValueError: There are judgments of several, or not of the named one.
    """
    there = sorted({judge for system in systems for judge in evaluation.store(benchmark, system).judges()})
    wanted = split_name(option)[0] if option else None
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted in there:
        return str(wanted)
    if not there:
        msg = f"No judgments of {benchmark.name!r} in {str(evaluation.out)!r}: run `moa eval judge`."
    elif wanted is None:
        msg = f"There are judgments of several judges ({', '.join(there)}): name one with --judge."
    else:
        msg = f"There are no judgments of {wanted!r}; choose from {', '.join(there)}."
    raise ValueError(msg)


def sample_warnings(evaluation: Evaluation, benchmark: Benchmark, systems: Sequence[str]) -> list[str]:
    """Return what the reader of a report has to know about the questions. The published benchmarks tell themselves."""
    from langchain_moa.evals.benchmarks.loading import PUBLISHED

    asked = {answer.question for system in systems for answer in evaluation.answers(benchmark, system)}
    if benchmark.name in PUBLISHED or len(asked) == len(benchmark.questions):
        return []
    return [f"Partial: {len(asked)} of the {len(benchmark.questions)} questions were asked."]


def judged(
    evaluation: Evaluation, benchmark: Benchmark, system: str, judge: str
) -> tuple[list[Answer], list[Judgment], list[str]]:
    """Return a system's answers, their judgments, and what a reader of the report has to know of them."""
    from langchain_moa.evals.running.judge_answers import current_judgments

    store = evaluation.store(benchmark, system)
    answers = evaluation.answers(benchmark, system)
    judgments = current_judgments(answers, store, judge)
    good = [answer for answer in answers if answer.error is None]
    without = {answer.question for answer in good} - {judgment.question for judgment in judgments}
    empty = sum(not all(answer.texts) for answer in good)
    warnings = []
    if without:
        warnings.append(f"{system}: {len(without)} of {len(good)} answers are not judged: run `moa eval judge`.")
    if empty:
        warnings.append(f"{system}: {empty} of {len(good)} answers are empty.")
    return answers, judgments, warnings
