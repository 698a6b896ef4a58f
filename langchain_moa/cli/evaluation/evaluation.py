"""The options of an evaluation: benchmarks, grading, sample, and where results are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_moa.cli.evaluation.system_specs import find_twice, split_name

if TYPE_CHECKING:
    from langchain_moa.evals.benchmarks.alpaca_eval_judge import JudgeMode
    from langchain_moa.evals.results.store import Store
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.types import Answer, Benchmark, Question

_PAIRWISE = "pairwise"
_NO_BASELINE = "A pairwise task needs a baseline: pass one with --baseline NAME."


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An evaluation as configured on the command line."""

    bench: Sequence[str]
    out: Path
    grader: str | None = None
    baseline: str | None = None
    judge_mode: JudgeMode = "logprobs"
    limit: int | None = None
    seed: int = 0
    repeats: int = 1

    def benchmarks(self) -> list[Benchmark]:
        """Return the benchmarks for answering, without graders.

        Raises:
            ValueError: A benchmark is unknown, or two have the same name.
            DatasetError: A benchmark's file is missing or can't be downloaded.
        """
        from langchain_moa.evals.benchmarks.loading import load_benchmark
        from langchain_moa.evals.benchmarks.repeats import with_repeats
        from langchain_moa.evals.graders.grader import Ungraded

        if self.repeats > 1 and self.grader == _PAIRWISE:
            msg = "--repeats can't be combined with --grader pairwise: the baseline has one answer to compare with."
            raise ValueError(msg)
        benchmarks = [with_repeats(load_benchmark(spec, grader=Ungraded()), self.repeats) for spec in self.bench]
        if twice := find_twice([benchmark.name for benchmark in benchmarks]):
            msg = f"Two benchmarks are named {twice!r}: a task is named after its file; rename one of the files."
            raise ValueError(msg)
        return benchmarks

    def graded_benchmarks(self) -> list[Benchmark]:
        """Return the benchmarks with graders. A pairwise task requires the baseline's answers.

        Raises:
            ValueError: A benchmark is unknown, or the options don't fit it.
            DatasetError: A benchmark's file is missing, or its questions don't fit the grader.
        """
        return [self._graded(benchmark, spec) for benchmark, spec in zip(self.benchmarks(), self.bench, strict=True)]

    def foreseen_benchmarks(self) -> list[Benchmark]:
        """Return the benchmarks with graders, for an estimate: a pairwise baseline's answers are made up."""
        from langchain_moa.evals.benchmarks.loading import PUBLISHED, load_benchmark
        from langchain_moa.evals.graders.pairwise import Pairwise
        from langchain_moa.evals.running.estimate import usual_answer

        if self.grader != _PAIRWISE:
            return self.graded_benchmarks()
        return [
            load_benchmark(spec, judge_mode=self.judge_mode)
            if spec in PUBLISHED
            else load_benchmark(spec, grader=Pairwise([usual_answer(question) for question in benchmark.questions]))
            for spec, benchmark in zip(self.bench, self.benchmarks(), strict=True)
        ]

    def needs_judge(self, benchmark: Benchmark, *, system: str | None = None) -> bool:
        """Whether a benchmark needs a judge, for a certain system if one is given."""
        from langchain_moa.evals.benchmarks.loading import PUBLISHED, UNJUDGED

        if benchmark.name in UNJUDGED:
            return False
        # Comparing the baseline with itself is a tie without a call.
        is_compared = self.grader == _PAIRWISE and (system is None or system != self.baseline)
        return benchmark.name in PUBLISHED or is_compared

    def check(self, systems: Sequence[str], *, judge: System | None) -> None:
        """Check that these systems' answers can be judged, before any are generated.

        Raises:
            ValueError: The options don't fit the benchmarks.
            DatasetError: The questions of a task don't fit the grader.
        """
        for benchmark in self.benchmarks():
            if judge is None and self.needs_judge(benchmark):
                msg = f"{benchmark.name!r} needs a judge: pass one with --judge."
                raise ValueError(msg)
        if self.baseline is not None and self.baseline not in systems:
            msg = f"The baseline {self.baseline!r} is not one of the systems: choose from {', '.join(systems)}."
            raise ValueError(msg)
        if self.grader != _PAIRWISE:
            self.graded_benchmarks()
        elif self.baseline is None:
            raise ValueError(_NO_BASELINE)

    def check_systems(
        self, benchmarks: Sequence[Benchmark], systems: Sequence[System], *, judge: System | None = None
    ) -> None:
        """Build every model as it will be asked, so that what is wrong with one shows before the first call.

        Raises:
            ValueError: A name can't be a file's, a provider is unknown, a key is missing, or options don't fit.
            ImportError: A provider's package is missing.
        """
        for benchmark in benchmarks:
            for system in systems:
                store = self.store(benchmark, system.name)
                for question in self.questions(benchmark):
                    system.model(question.decoding)
                if judge:
                    store.judgment_journal(judge.name)
        if judge:
            judge.model({})

    def _graded(self, benchmark: Benchmark, spec: str) -> Benchmark:
        from langchain_moa.evals.benchmarks.loading import PUBLISHED, load_benchmark
        from langchain_moa.evals.benchmarks.repeats import with_repeats
        from langchain_moa.evals.graders.pairwise import Pairwise

        if self.grader != _PAIRWISE or spec in PUBLISHED:
            graded = load_benchmark(spec, grader=self.grader, judge_mode=self.judge_mode)
            return with_repeats(graded, self.repeats)
        if self.baseline is None:
            raise ValueError(_NO_BASELINE)
        self.systems(benchmark, [self.baseline])
        return load_benchmark(spec, grader=Pairwise(self.store(benchmark, self.baseline).answers()))

    def questions(self, benchmark: Benchmark) -> list[Question]:
        """Return the questions to ask."""
        from langchain_moa.evals.benchmarks.sampling import sample

        return sample(benchmark.questions, self.limit, seed=self.seed)

    def of(self, questions: Sequence[Question], *, out: Path | None = None) -> ChosenQuestions:
        """Return the evaluation of certain questions of one benchmark, stored in another folder if one is given."""
        options = {field.name: getattr(self, field.name) for field in fields(Evaluation)}
        return ChosenQuestions(**{**options, "out": out or self.out}, asked=questions)

    def store(self, benchmark: Benchmark, system: str) -> Store:
        """Return the store of a system's results."""
        from langchain_moa.evals.results.store import Store

        return Store(self.out, benchmark=benchmark.name, system=system)

    def systems(self, benchmark: Benchmark, names: Sequence[str] | None) -> list[str]:
        """Return the systems with stored answers, or the named ones among them.

        Raises:
            ValueError: A named system has no answers, or there are none at all.
        """
        from langchain_moa.evals.results.store import stored_systems

        there = stored_systems(self.out, benchmark.name)
        wanted = [split_name(name)[0] for name in names] if names else there
        if missing := [name for name in wanted if name not in there]:
            msg = f"No answers of {missing[0]!r} to {benchmark.name!r} in {str(self.out)!r}: run `moa eval generate`."
            raise ValueError(msg)
        if not wanted:
            msg = f"No answers to {benchmark.name!r} in {str(self.out)!r}: run `moa eval generate`."
            raise ValueError(msg)
        return wanted

    def with_baseline(self, names: Sequence[str] | None) -> Sequence[str] | None:
        """Return the named systems plus the baseline. `None`: all systems."""
        if not names or self.baseline is None or self.baseline in [split_name(name)[0] for name in names]:
            return names
        return [*names, self.baseline]

    def answers(self, benchmark: Benchmark, system: str) -> list[Answer]:
        """Return a system's answers to the questions, including failed ones."""
        wanted = {question.id for question in self.questions(benchmark)}
        return [answer for answer in self.store(benchmark, system).answers() if answer.question in wanted]


@dataclass(frozen=True, kw_only=True)
class ChosenQuestions(Evaluation):
    """The evaluation of certain questions."""

    asked: Sequence[Question]

    def questions(self, benchmark: Benchmark) -> list[Question]:
        """Return the questions to ask."""
        return list(self.asked)
