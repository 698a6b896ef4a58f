"""`moa eval run`: generate, judge and report in one command."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from langchain_moa.cli.evaluation import eval_options as options
from langchain_moa.cli.mixture_options import Debug

if TYPE_CHECKING:
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.evals.systems import System


def run(
    bench: options.Bench,
    system: options.Systems,
    judge: options.Judge = None,
    out: options.Out = options.OUT,
    grader: options.Grader = None,
    baseline: options.Baseline = None,
    judge_mode: options.JudgeModeOption = options.JudgeMode.LOGPROBS,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    concurrency: options.Concurrency = options.CONCURRENCY,
    judge_concurrency: options.JudgeConcurrency = options.CONCURRENCY,
    prices: options.PricesOption = None,
    failures: options.FailuresOption = options.Failures.WRONG,
    detect: options.Detect = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    debug: Debug = False,
) -> None:
    """Generate answers, judge them and report. Run it again to resume after an interruption."""
    from langchain_moa.cli.evaluation.commands.report import check_report, report_on
    from langchain_moa.cli.evaluation.dry_run import show_estimates
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.cli.evaluation.foreseen_power import show_power
    from langchain_moa.cli.evaluation.progress import end
    from langchain_moa.cli.evaluation.system_specs import resolve, resolve_all
    from langchain_moa.evals.running.judge_answers import NO_JUDGE

    evaluation = Evaluation(
        bench=bench,
        out=out,
        grader=grader,
        baseline=baseline,
        judge_mode=judge_mode.value,
        limit=limit,
        seed=seed,
    )
    systems = resolve_all(system)
    names = [system.name for system in systems]
    judging = resolve(judge) if judge else None
    evaluation.check(names, judge=judging)
    if dry_run:
        benchmarks = evaluation.foreseen_benchmarks()
        show_estimates(evaluation, benchmarks, systems, judged=True)
        show_power(evaluation, benchmarks, names, judging.name if judging else NO_JUDGE, detect=detect)
        return
    # Raises configuration errors before the first call.
    check_report(prices)
    if judging:
        judging.model({})
    answers, judgments = asyncio.run(
        _run(
            evaluation,
            systems,
            judging,
            concurrency=concurrency,
            judge_concurrency=judge_concurrency,
            overwrite=overwrite,
        )
    )
    for benchmark in evaluation.graded_benchmarks():
        name = judging.name if judging else NO_JUDGE
        report_on(evaluation, benchmark, names, judge=name, prices=prices, failures=failures.value, detect=detect)
    end(answers=answers, judgments=judgments)


async def _run(
    evaluation: Evaluation,
    systems: list[System],
    judge: System | None,
    *,
    concurrency: int,
    judge_concurrency: int,
    overwrite: bool,
) -> tuple[int, int]:
    """Generate and judge the answers; return the number of failed answers and judgments."""
    from langchain_moa.cli.evaluation import steps
    from langchain_moa.cli.evaluation.progress import open_view

    with open_view() as view:
        answers = await steps.generate(
            evaluation, evaluation.benchmarks(), systems, concurrency=concurrency, overwrite=overwrite, view=view
        )
        judgments = await steps.judge(
            evaluation,
            evaluation.graded_benchmarks(),
            [system.name for system in systems],
            judge=judge,
            concurrency=judge_concurrency,
            overwrite=overwrite,
            view=view,
        )
    return answers, judgments
