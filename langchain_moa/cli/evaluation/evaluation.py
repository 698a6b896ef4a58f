"""Which questions are asked and how answers are judged, as the command line says, and where the results are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_moa.cli.evaluation.system_specs import find_twice, split_name

if TYPE_CHECKING:
    from langchain_moa.evals.benchmarks.alpaca_eval_judge import JudgeMode
    from langchain_moa.evals.results.store import Store
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.types import Answer, Benchmark, Question

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
        from langchain_moa.evals.benchmarks.loading import load_benchmark
        from langchain_moa.evals.graders.grader import Ungraded

        benchmarks = [load_benchmark(spec, grader=Ungraded()) for spec in self.bench]
        if twice := find_twice([benchmark.name for benchmark in benchmarks]):
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
        """Tell whether anybody is asked for a benchmark's verdicts, on a certain system if one is named."""
        from langchain_moa.evals.benchmarks.loading import PUBLISHED

        # The baseline's comparison with itself is a tie without asking.
        is_compared = self.grader == _PAIRWISE and (system is None or system != self.baseline)
        return benchmark.name in PUBLISHED or is_compared

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
        from langchain_moa.evals.benchmarks.loading import PUBLISHED, load_benchmark
        from langchain_moa.evals.graders.pairwise import Pairwise

        if self.grader != _PAIRWISE or spec in PUBLISHED:
            return load_benchmark(spec, grader=self.grader, judge_mode=self.judge_mode)
        if self.baseline is None:
            raise ValueError(_NO_BASELINE)
        self.systems(benchmark, [self.baseline])
        return load_benchmark(spec, grader=Pairwise(self.store(benchmark, self.baseline).answers()))

    def questions(self, benchmark: Benchmark) -> list[Question]:
        """Return the questions that are asked."""
        from langchain_moa.evals.benchmarks.sampling import sample

        return sample(benchmark.questions, self.limit, seed=self.seed)

    def store(self, benchmark: Benchmark, system: str) -> Store:
        """Return where a system's results are kept."""
        from langchain_moa.evals.results.store import Store

        return Store(self.out, benchmark=benchmark.name, system=system)

    def systems(self, benchmark: Benchmark, names: Sequence[str] | None) -> list[str]:
        """Return the systems that there are answers of, or of those the named ones.

        Raises:
            ValueError: There are none of one, or none at all.
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
        """Return the named systems and the baseline, which is of no use where it is not reported; `None`: all."""
        if not names or self.baseline is None or self.baseline in [split_name(name)[0] for name in names]:
            return names
        return [*names, self.baseline]

    def answers(self, benchmark: Benchmark, system: str) -> list[Answer]:
        """Return a system's answers to the questions that are asked, failed ones too."""
        wanted = {question.id for question in self.questions(benchmark)}
        return [answer for answer in self.store(benchmark, system).answers() if answer.question in wanted]
