"""The steps of an evaluation, with progress: generate answers, judge answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.cli.evaluation.progress import Tick, View
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.types import Answer, Benchmark, Judgment


async def generate(
    evaluation: Evaluation,
    benchmarks: Sequence[Benchmark],
    systems: Sequence[System],
    *,
    concurrency: int,
    overwrite: bool,
    view: View,
) -> int:
    """Generate answers, one system at a time so that their latencies are independent.

    Returns:
        Number of failed answers.
    """
    from langchain_moa.cli.evaluation.kept_systems import with_kept_calls
    from langchain_moa.evals.running.generate_answers import generate_answers

    evaluation.check_systems(benchmarks, systems)
    failed = 0
    for benchmark in benchmarks:
        questions = evaluation.questions(benchmark)
        for system in systems:
            tick = view.begin(f"{benchmark.name} · {system.name} · answers", len(questions))
            answers = await generate_answers(
                benchmark,
                with_kept_calls(system),
                evaluation.store(benchmark, system.name),
                questions=questions,
                concurrency=concurrency,
                overwrite=overwrite,
                on_answer=partial(_tick_answer, tick),
            )
            failed += sum(answer.error is not None for answer in answers)
    return failed


async def judge(
    evaluation: Evaluation,
    benchmarks: Sequence[Benchmark],
    names: Sequence[str] | None,
    *,
    judge: System | None,
    concurrency: int,
    overwrite: bool,
    view: View,
) -> int:
    """Judge the stored answers.

    Returns:
        Number of failed judgments.
    """
    from langchain_moa.evals.running.judge_answers import judge_answers

    failed = 0
    for benchmark in benchmarks:
        for system in evaluation.systems(benchmark, names):
            answers = evaluation.answers(benchmark, system)
            answered = sum(answer.error is None for answer in answers)
            tick = view.begin(f"{benchmark.name} · {system} · judgments", answered)
            judgments = await judge_answers(
                benchmark,
                answers,
                evaluation.store(benchmark, system),
                judge=judge,
                concurrency=concurrency,
                overwrite=overwrite,
                on_judged=partial(_tick_judged, tick),
            )
            failed += sum(judgment.error is not None for judgment in judgments)
    return failed


def _tick_answer(tick: Tick, answer: Answer) -> None:
    tick(answer.question, answer.error)


def _tick_judged(tick: Tick, answer: Answer, judgments: Sequence[Judgment]) -> None:
    tick(answer.question, next((judgment.error for judgment in judgments if judgment.error), None))
