"""`moa eval run`: generate, judge and report in one command."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from langchain_moa.cli.evaluation import eval_options as options
from langchain_moa.cli.mixture_options import Debug

if TYPE_CHECKING:
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.types import Benchmark
    from langchain_moa.prices import Prices


def run(
    system: options.Systems,
    bench: options.BenchOrNone = None,
    langsmith: options.LangSmith = None,
    judge: options.Judge = None,
    out: options.Out = options.OUT,
    grader: options.Grader = None,
    baseline: options.Baseline = None,
    judge_mode: options.JudgeModeOption = options.JudgeMode.LOGPROBS,
    limit: options.Limit = None,
    repeats: options.Repeats = 1,
    seed: options.Seed = 0,
    concurrency: options.Concurrency = options.CONCURRENCY,
    judge_concurrency: options.JudgeConcurrency = options.CONCURRENCY,
    prices: options.PricesOption = None,
    failures: options.FailuresOption = options.Failures.WRONG,
    detect: options.Detect = None,
    equal_cost: options.EqualCost = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    debug: Debug = False,
) -> None:
    """Generate answers, judge them and report. Run it again to resume after an interruption."""
    from langchain_moa.cli.evaluation.commands.report import check_report, load_prices, report_on
    from langchain_moa.cli.evaluation.dry_run import show_estimates
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.cli.evaluation.foreseen_power import show_power
    from langchain_moa.cli.evaluation.langsmith_runs import LangSmithDataset
    from langchain_moa.cli.evaluation.progress import end
    from langchain_moa.cli.evaluation.system_specs import resolve, resolve_all
    from langchain_moa.evals.running.judge_answers import NO_JUDGE

    if not bench and not langsmith:
        raise ValueError("There is nothing to ask: name a benchmark with --bench, or a dataset with --langsmith.")
    dataset = LangSmithDataset.read(langsmith, out) if langsmith else None
    evaluation = Evaluation(
        bench=[*(bench or ()), *([str(dataset.path)] if dataset else ())],
        out=out,
        grader=grader,
        baseline=baseline,
        judge_mode=judge_mode.value,
        limit=limit,
        seed=seed,
        repeats=repeats,
    )
    systems = resolve_all(system)
    names = [system.name for system in systems]
    judging = resolve(judge) if judge else None
    evaluation.check(names, judge=judging)
    # Raises configuration errors before the first call, and of a dry run too.
    if equal_cost and prices is None:
        msg = "--equal-cost needs the prices of the models: pass them with --prices."
        raise ValueError(msg)
    check_report(prices)
    evaluation.check_systems(evaluation.benchmarks(), systems, judge=judging)
    if dry_run:
        benchmarks = evaluation.foreseen_benchmarks()
        show_estimates(evaluation, benchmarks, systems, judged=True)
        if equal_cost:
            typer.echo("--equal-cost comes on top: the mixtures' money once more, and their calls once more.")
        show_power(evaluation, benchmarks, names, judging.name if judging else NO_JUDGE, detect=detect)
        return
    judge_name = judging.name if judging else NO_JUDGE
    answers, judgments, added = asyncio.run(
        _run(
            evaluation,
            systems,
            judging,
            concurrency=concurrency,
            judge_concurrency=judge_concurrency,
            overwrite=overwrite,
            equal=load_prices(prices) if equal_cost else None,
        )
    )
    for benchmark in evaluation.graded_benchmarks():
        report_on(
            evaluation,
            benchmark,
            [*names, *added.get(benchmark.name, [])],
            judge=judge_name,
            prices=prices,
            failures=failures.value,
            detect=detect,
        )
    if dataset:
        dataset.write(evaluation, names, judge_name)
    end(answers=answers, judgments=judgments)


async def _run(
    evaluation: Evaluation,
    systems: list[System],
    judge: System | None,
    *,
    concurrency: int,
    judge_concurrency: int,
    overwrite: bool,
    equal: Prices | None,
) -> tuple[int, int, dict[str, list[str]]]:
    """Generate and judge the answers, of systems that are given as much as the mixtures too if there are prices.

    Returns:
        The number of failed answers and judgments, and the names of the systems that were added, by benchmark.
    """
    from langchain_moa.cli.evaluation import steps
    from langchain_moa.cli.evaluation.equal_cost import equal_systems
    from langchain_moa.cli.evaluation.progress import open_view
    from langchain_moa.evals.running.judge_answers import NO_JUDGE

    asked, graded = evaluation.benchmarks(), evaluation.graded_benchmarks
    with open_view() as view:

        async def work(benchmarks: Sequence[Benchmark], some: Sequence[System]) -> int:
            return await steps.generate(
                evaluation, benchmarks, some, concurrency=concurrency, overwrite=overwrite, view=view
            )

        async def grade(benchmarks: Sequence[Benchmark], some: Sequence[System]) -> int:
            return await steps.judge(
                evaluation,
                benchmarks,
                [system.name for system in some],
                judge=judge,
                concurrency=judge_concurrency,
                overwrite=overwrite,
                view=view,
            )

        answers, judgments = await work(asked, systems), await grade(graded(), systems)
        added: dict[str, list[str]] = {}
        for benchmark in graded():
            name = judge.name if judge else NO_JUDGE
            more = equal_systems(evaluation, benchmark, systems, name, equal) if equal else []
            added[benchmark.name] = [system.name for system in more]
            if more:
                answers += await work([benchmark], more)
                judgments += await grade([benchmark], more)
    return answers, judgments, added
