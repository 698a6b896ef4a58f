"""The stored answers and judgments that a report is made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_moa.cli.evaluation.system_specs import split_name

if TYPE_CHECKING:
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.evals.types import Answer, Benchmark, Judgment


def judge_name(evaluation: Evaluation, benchmark: Benchmark, systems: Sequence[str], option: str | None) -> str:
    """Return the name of the judge to report.

    Raises:
        ValueError: There are several judges and none is named, or the named one has no judgments.
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
        msg = f"There are judgments of several judges ({', '.join(there)}): choose one with --judge."
    else:
        msg = f"There are no judgments of {wanted!r}; choose from {', '.join(there)}."
    raise ValueError(msg)


def sample_warnings(evaluation: Evaluation, benchmark: Benchmark, systems: Sequence[str]) -> list[str]:
    """Return a warning if only a sample was asked. The published benchmarks have their own warning."""
    from langchain_moa.evals.benchmarks.loading import PUBLISHED

    asked = {answer.question for system in systems for answer in evaluation.answers(benchmark, system)}
    if benchmark.name in PUBLISHED or len(asked) == len(benchmark.questions):
        return []
    return [f"Partial: {len(asked)} of the {len(benchmark.questions)} questions were asked."]


def judged(
    evaluation: Evaluation, benchmark: Benchmark, system: str, judge: str
) -> tuple[list[Answer], list[Judgment], list[str]]:
    """Return a system's answers, their judgments, and warnings about missing or empty ones."""
    from langchain_moa.evals.results.current import current_judgments

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
