"""`moa eval generate`: generate answers."""

from __future__ import annotations

import asyncio

from langchain_moa.cli.evaluation import eval_options as options
from langchain_moa.cli.mixture_options import Debug


def generate(
    bench: options.Bench,
    system: options.Systems,
    out: options.Out = options.OUT,
    limit: options.Limit = None,
    repeats: options.Repeats = 1,
    seed: options.Seed = 0,
    concurrency: options.Concurrency = options.CONCURRENCY,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    debug: Debug = False,
) -> None:
    """Generate the systems' answers. Stored answers are reused."""
    from langchain_moa.cli.evaluation import steps
    from langchain_moa.cli.evaluation.dry_run import show_estimates
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.cli.evaluation.progress import end, open_view
    from langchain_moa.cli.evaluation.system_specs import resolve_all

    evaluation = Evaluation(bench=bench, out=out, limit=limit, seed=seed, repeats=repeats)
    benchmarks, systems = evaluation.benchmarks(), resolve_all(system)
    evaluation.check_systems(benchmarks, systems)
    if dry_run:
        show_estimates(evaluation, benchmarks, systems, judged=False)
        return
    with open_view() as view:
        answering = steps.generate(
            evaluation, benchmarks, systems, concurrency=concurrency, overwrite=overwrite, view=view
        )
        failed = asyncio.run(answering)
    end(answers=failed)
