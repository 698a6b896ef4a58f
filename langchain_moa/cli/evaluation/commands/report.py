"""`moa eval report`: what the answers and judgments come to."""

from __future__ import annotations

from langchain_moa.cli.evaluation import eval_options as options
from langchain_moa.cli.mixture_options import Debug


def report(
    bench: options.Bench,
    judge: options.JudgeName = None,
    system: options.Names = None,
    out: options.Out = options.OUT,
    grader: options.Grader = None,
    baseline: options.Baseline = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    prices: options.PricesOption = None,
    debug: Debug = False,
) -> None:
    """Report scores, costs and latencies: on the terminal, and as report.json, .csv, .md and .html in DIR."""
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.cli.evaluation.stored_results import report_on

    evaluation = Evaluation(bench=bench, out=out, grader=grader, baseline=baseline, limit=limit, seed=seed)
    for benchmark in evaluation.graded_benchmarks():
        systems = evaluation.systems(benchmark, evaluation.with_baseline(system))
        report_on(evaluation, benchmark, systems, judge=judge, prices=prices)
