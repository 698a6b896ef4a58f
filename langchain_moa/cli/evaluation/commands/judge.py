"""`moa eval judge`: judge answers."""

from __future__ import annotations

import asyncio

from langchain_moa.cli.evaluation import eval_options as options
from langchain_moa.cli.mixture_options import Debug


def judge(
    bench: options.Bench,
    judge: options.Judge = None,
    system: options.Names = None,
    out: options.Out = options.OUT,
    grader: options.Grader = None,
    baseline: options.Baseline = None,
    judge_mode: options.JudgeModeOption = options.JudgeMode.LOGPROBS,
    limit: options.Limit = None,
    repeats: options.Repeats = 1,
    seed: options.Seed = 0,
    judge_concurrency: options.JudgeConcurrency = options.CONCURRENCY,
    overwrite: options.Overwrite = False,
    debug: Debug = False,
) -> None:
    """Judge the stored answers. Stored judgments are reused."""
    from langchain_moa.cli.evaluation import steps
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.cli.evaluation.progress import end, open_view
    from langchain_moa.cli.evaluation.system_specs import resolve

    evaluation = Evaluation(
        bench=bench,
        out=out,
        grader=grader,
        baseline=baseline,
        judge_mode=judge_mode.value,
        limit=limit,
        seed=seed,
        repeats=repeats,
    )
    with open_view() as view:
        judging = steps.judge(
            evaluation,
            evaluation.graded_benchmarks(),
            evaluation.with_baseline(system),
            judge=resolve(judge) if judge else None,
            concurrency=judge_concurrency,
            overwrite=overwrite,
            view=view,
        )
        failed = asyncio.run(judging)
    end(judgments=failed)
