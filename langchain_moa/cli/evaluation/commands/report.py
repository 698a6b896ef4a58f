"""`moa eval report`: report the stored answers and judgments."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from langchain_moa.cli.evaluation import eval_options as options
from langchain_moa.cli.mixture_options import Debug

if TYPE_CHECKING:
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.evals.failures import Failures
    from langchain_moa.evals.types import Benchmark
    from langchain_moa.prices import Prices


def report(
    bench: options.Bench,
    judge: options.JudgeName = None,
    system: options.Names = None,
    out: options.Out = options.OUT,
    grader: options.Grader = None,
    baseline: options.Baseline = None,
    limit: options.Limit = None,
    repeats: options.Repeats = 1,
    seed: options.Seed = 0,
    prices: options.PricesOption = None,
    failures: options.FailuresOption = options.Failures.WRONG,
    detect: options.Detect = None,
    debug: Debug = False,
) -> None:
    """Report scores, costs and latencies: on the terminal, and as report.json, .csv, .md and .html in DIR."""
    from langchain_moa.cli.evaluation.evaluation import Evaluation

    evaluation = Evaluation(
        bench=bench, out=out, grader=grader, baseline=baseline, limit=limit, seed=seed, repeats=repeats
    )
    for benchmark in evaluation.graded_benchmarks():
        systems = evaluation.systems(benchmark, evaluation.with_baseline(system))
        report_on(evaluation, benchmark, systems, judge=judge, prices=prices, failures=failures.value, detect=detect)


def load_prices(source: str | None) -> Prices | None:
    """Load the token prices, if `--prices` is given."""
    from langchain_moa import prices

    return prices.load_prices(source) if source else None


def check_report(prices: str | None) -> None:
    """Check that a report can be made, before any model is called.

    Raises:
        ImportError: A required package is missing.
        ValueError: The price file is malformed.
        OSError: The price file can't be read.
    """
    import_module("langchain_moa.evals.report.html_page")
    load_prices(prices)


def report_on(
    evaluation: Evaluation,
    benchmark: Benchmark,
    systems: Sequence[str],
    *,
    judge: str | None,
    prices: str | None,
    failures: Failures,
    detect: float | None,
) -> None:
    """Make the report of a benchmark, print it and write it next to the results."""
    from langchain_moa.cli.evaluation.equal_cost import controls_of
    from langchain_moa.cli.evaluation.progress import working
    from langchain_moa.cli.evaluation.report_output import publish
    from langchain_moa.cli.evaluation.stored_results import judge_name, judged, sample_warnings
    from langchain_moa.evals.report.answer_details import answer_details
    from langchain_moa.evals.report.make_report import make_report

    name = judge_name(evaluation, benchmark, systems, judge)
    runs, warnings = {}, sample_warnings(evaluation, benchmark, systems)
    for system in systems:
        answers, judgments, noticed = judged(evaluation, benchmark, system, name)
        runs[system] = (answers, judgments)
        warnings += noticed
    known_prices = load_prices(prices)
    with working(f"{benchmark.name}: computing the intervals"):
        report = make_report(
            benchmark,
            runs,
            judge=name if evaluation.needs_judge(benchmark) else None,
            prices=known_prices,
            baseline=evaluation.baseline,
            equal=controls_of(systems),
            failures=failures,
            detect=detect,
            warnings=warnings,
        )
    details = answer_details(benchmark, runs, report, prices=known_prices)
    publish(evaluation.out / benchmark.name, report, details)
