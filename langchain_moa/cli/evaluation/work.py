"""What the commands of `moa eval` do: have questions answered, have answers judged, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_moa.cli.evaluation.specs import resolve, split_name

if TYPE_CHECKING:
    from langchain_moa.cli.evaluation.progress import Tick, View
    from langchain_moa.evals.preferences import JudgeMode
    from langchain_moa.evals.store import Store
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.types import Answer, Benchmark, Judgment, Question


_PAIRWISE = "pairwise"
_NO_BASELINE = "A pairwise task needs a system to compare with: --baseline NAME."


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Which questions, and where the results are kept."""

    bench: Sequence[str]
    out: Path
    grader: str | None = None
    baseline: str | None = None
    judge_mode: JudgeMode = "logprobs"
    limit: int | None = None
    seed: int = 0

    def benchmarks(self) -> list[Benchmark]:
        """Return the benchmarks, own tasks without a grader: enough to have them answered.

        Raises:
            ValueError: One is unknown, or two have one name.
            DatasetError: The file of one can't be had.
        """
        from langchain_moa.evals.benchmarks import Ungraded, load_benchmark

        benchmarks = [load_benchmark(spec, grader=Ungraded()) for spec in self.bench]
        if twice := _twice([benchmark.name for benchmark in benchmarks]):
            msg = f"Two benchmarks are called {twice!r}: the name of a task's file is the task's; rename one."
            raise ValueError(msg)
        return benchmarks

    def graded_benchmarks(self) -> list[Benchmark]:
        """Return the benchmarks as they are judged. For a pairwise task the baseline's answers have to be there.

        Raises:
            ValueError: One is unknown, or the options don't fit it.
            DatasetError: The file of one can't be had, or its questions don't fit the grader.
        """
        return [self._graded(benchmark, spec) for benchmark, spec in zip(self.benchmarks(), self.bench, strict=True)]

    def foreseen_benchmarks(self) -> list[Benchmark]:
        """Return the benchmarks as they will be judged, a pairwise task with made-up answers of the baseline's."""
        from langchain_moa.evals.benchmarks import PUBLISHED, load_benchmark
        from langchain_moa.evals.estimate import usual_answer
        from langchain_moa.evals.pairwise import Pairwise

        if self.grader != _PAIRWISE:
            return self.graded_benchmarks()
        return [
            load_benchmark(spec, judge_mode=self.judge_mode)
            if spec in PUBLISHED
            else load_benchmark(spec, grader=Pairwise([usual_answer(question) for question in benchmark.questions]))
            for spec, benchmark in zip(self.bench, self.benchmarks(), strict=True)
        ]

    def needs_judge(self, benchmark: Benchmark) -> bool:
        """Tell whether anybody is asked for a benchmark's verdicts."""
        from langchain_moa.evals.benchmarks import PUBLISHED

        return benchmark.name in PUBLISHED or self.grader == _PAIRWISE

    def check(self, systems: Sequence[str], *, judge: System | None) -> None:
        """Find out whether the answers of these systems can be judged, before they are paid for.

        Raises:
            ValueError: The options don't fit the benchmarks.
            DatasetError: The questions of a task don't fit the grader.
        """
        for benchmark in self.benchmarks():
            if judge is None and self.needs_judge(benchmark):
                msg = f"{benchmark.name!r} needs a judge: name one with --judge."
                raise ValueError(msg)
        if self.baseline is not None and self.baseline not in systems:
            msg = f"The baseline {self.baseline!r} is none of the systems: choose from {', '.join(systems)}."
            raise ValueError(msg)
        if self.grader != _PAIRWISE:
            self.graded_benchmarks()
        elif self.baseline is None:
            raise ValueError(_NO_BASELINE)

    def _graded(self, benchmark: Benchmark, spec: str) -> Benchmark:
        from langchain_moa.evals.benchmarks import PUBLISHED, load_benchmark
        from langchain_moa.evals.pairwise import Pairwise

        if self.grader != _PAIRWISE or spec in PUBLISHED:
            return load_benchmark(spec, grader=self.grader, judge_mode=self.judge_mode)
        if self.baseline is None:
            raise ValueError(_NO_BASELINE)
        self.systems(benchmark, [self.baseline])
        return load_benchmark(spec, grader=Pairwise(self.store(benchmark, self.baseline).answers()))

    def questions(self, benchmark: Benchmark) -> list[Question]:
        """Return the questions that are asked."""
        from langchain_moa.evals.sampling import sample

        return sample(benchmark.questions, self.limit, seed=self.seed)

    def store(self, benchmark: Benchmark, system: str) -> Store:
        """Return where a system's results are kept."""
        from langchain_moa.evals.store import Store

        return Store(self.out, benchmark=benchmark.name, system=system)

    def systems(self, benchmark: Benchmark, names: Sequence[str] | None) -> list[str]:
        """Return the systems that there are answers of, or of those the named ones.

        Raises:
            ValueError: There are none of one, or none at all.
        """
        from langchain_moa.evals.store import stored_systems

        there = stored_systems(self.out, benchmark.name)
        wanted = [split_name(name)[0] for name in names] if names else there
        if missing := [name for name in wanted if name not in there]:
            msg = f"No answers of {missing[0]!r} to {benchmark.name!r} in {str(self.out)!r}: run `moa eval generate`."
            raise ValueError(msg)
        if not wanted:
            msg = f"No answers to {benchmark.name!r} in {str(self.out)!r}: run `moa eval generate`."
            raise ValueError(msg)
        return wanted

    def answers(self, benchmark: Benchmark, system: str) -> list[Answer]:
        """Return a system's answers to the questions that are asked, failed ones too."""
        wanted = {question.id for question in self.questions(benchmark)}
        return [answer for answer in self.store(benchmark, system).answers() if answer.question in wanted]


def resolve_all(options: Sequence[str]) -> list[System]:
    """Return the systems that the command line names.

    Raises:
        ValueError: One is nothing that there is, or two have one name.
    """
    systems = [resolve(option) for option in options]
    if twice := _twice([system.name for system in systems]):
        msg = f"Two systems are called {twice!r}: give them names, --system NAME=SPEC."
        raise ValueError(msg)
    return systems


async def generate(
    evaluation: Evaluation,
    benchmarks: Sequence[Benchmark],
    systems: Sequence[System],
    *,
    concurrency: int,
    overwrite: bool,
    view: View,
) -> int:
    """Have every system answer every benchmark's questions, one after the other so that latencies are their own.

    Returns:
        How many answers failed.
    """
    from langchain_moa.evals.generate import generate_answers

    for benchmark in benchmarks:
        for system in systems:
            for question in evaluation.questions(benchmark):
                system.model(question.decoding)  # no system is paid for before the others are known to be there
    failed = 0
    for benchmark in benchmarks:
        questions = evaluation.questions(benchmark)
        for system in systems:
            tick = view.begin(f"{benchmark.name} · {system.name} · answers", len(questions))
            answers = await generate_answers(
                benchmark,
                system,
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
    """Have the answers judged.

    Returns:
        How many judgments failed.
    """
    from langchain_moa.evals.judge import judge_answers

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
    from langchain_moa.evals.benchmarks import PUBLISHED

    asked = {answer.question for system in systems for answer in evaluation.answers(benchmark, system)}
    if benchmark.name in PUBLISHED or len(asked) == len(benchmark.questions):
        return []
    return [f"Partial: {len(asked)} of the {len(benchmark.questions)} questions were asked."]


def judged(
    evaluation: Evaluation, benchmark: Benchmark, system: str, judge: str
) -> tuple[list[Answer], list[Judgment], list[str]]:
    """Return a system's answers, their judgments, and what a reader of the report has to know of them."""
    from langchain_moa.evals.judge import current_judgments

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


def _twice(names: Sequence[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)


def _tick_answer(tick: Tick, answer: Answer) -> None:
    tick(answer.question, answer.error)


def _tick_judged(tick: Tick, answer: Answer, judgments: Sequence[Judgment]) -> None:
    tick(answer.question, next((judgment.error for judgment in judgments if judgment.error), None))
