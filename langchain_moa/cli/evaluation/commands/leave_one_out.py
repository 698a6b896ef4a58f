"""`moa eval leave-one-out`: measure each proposer's contribution by re-aggregating without it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_moa.cli.evaluation import eval_options as options
from langchain_moa.cli.evaluation.evaluation import ChosenQuestions, Evaluation
from langchain_moa.cli.evaluation.replaying import replaying
from langchain_moa.cli.evaluation.system_specs import as_name
from langchain_moa.cli.mixture_options import Debug

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from langchain_moa.evals.failures import Failures
    from langchain_moa.evals.report.findings import Run
    from langchain_moa.evals.report.report import Report
    from langchain_moa.evals.running.leave_one_out import CachedReferences
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.types import Benchmark
    from langchain_moa.prices import Prices

_FOLDER = "leave-one-out"
_REUSED = "Answers were re-aggregated from cached references; differences include the randomness of the aggregator."
_LAYERS = "The mixture has {} layers: a proposer is left out of the last layer only."
_SYSTEM = typer.Option(metavar="NAME=SPEC", help="The mixture, as given to `moa eval generate`.")
_MOST = typer.Option(min=1, help="Also leave out several proposers together, up to so many: 2 is leave-two-out.")
_BASELINE = typer.Option(metavar="NAME", help="The baseline of a pairwise task.")


def leave_one_out(
    bench: options.Bench,
    system: Annotated[str, _SYSTEM],
    leave_out: Annotated[int, _MOST] = 1,
    judge: options.Judge = None,
    out: options.Out = options.OUT,
    grader: options.Grader = None,
    baseline: Annotated[str | None, _BASELINE] = None,
    judge_mode: options.JudgeModeOption = options.JudgeMode.LOGPROBS,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    concurrency: options.Concurrency = options.CONCURRENCY,
    judge_concurrency: options.JudgeConcurrency = options.CONCURRENCY,
    prices: options.PricesOption = None,
    failures: options.FailuresOption = options.Failures.WRONG,
    overwrite: options.Overwrite = False,
    debug: Debug = False,
) -> None:
    """Measure how leaving out each proposer changes score and cost. Only the aggregator is called again.

    The mixture must have answered already, and questions must have a single turn. One answer per question and proposer
    (with --leave-out 2, and pair of them) is generated and judged; the report is written to DIR/leave-one-out.
    """
    from langchain_moa.cli.evaluation.commands.report import load_prices
    from langchain_moa.cli.evaluation.progress import end
    from langchain_moa.cli.evaluation.report_output import publish
    from langchain_moa.cli.evaluation.system_specs import resolve

    evaluation = Evaluation(
        bench=bench, out=out, grader=grader, baseline=baseline, judge_mode=judge_mode.value, limit=limit, seed=seed
    )
    mixture, judging = resolve(system), resolve(judge) if judge else None
    price_list = load_prices(prices)
    answers = judgments = 0
    for benchmark in evaluation.graded_benchmarks():
        study = _Study.of(evaluation, benchmark, mixture, most=leave_out)
        working = study.work(judging, concurrency=concurrency, judge_concurrency=judge_concurrency, overwrite=overwrite)
        failed = asyncio.run(working)
        answers, judgments = answers + failed[0], judgments + failed[1]
        publish(study.rewritten.out / benchmark.name, study.report(judging, price_list, failures.value))
    end(answers=answers, judgments=judgments)


def without(system: System, cached: CachedReferences, left_out: Sequence[str]) -> System:
    """Return the mixture without some proposers of its last layer, replaying the cached references of the others.

    Building it raises `ValueError` if the system is not a `ChatMoA`.
    """
    from langchain_moa.evals.results.keys import key_of
    from langchain_moa.evals.systems import System

    def build(decoding: Mapping[str, Any]) -> BaseChatModel:
        from langchain_moa.chat_models import ChatMoA

        model = system.model(decoding)
        if not isinstance(model, ChatMoA):
            msg = f"System {system.name!r} is a {type(model).__name__}: only a ChatMoA has proposers to leave out."
            raise ValueError(msg)
        layer = [replaying(name, cached.find) for name in cached.proposers if name not in left_out]
        needed = min(model.min_references, len(layer))
        update = {"layers": [layer], "proposers": None, "rounds": None, "quorum": None, "min_references": needed}
        return model.model_copy(update=update)

    return System(
        name=as_name(f"without-{'+'.join(left_out)}"),
        fingerprint=key_of(system.fingerprint, cached.fingerprint, *left_out),
        build=build,
        spec=f"{system.spec} without {', '.join(left_out)}",
    )


@dataclass(frozen=True, kw_only=True)
class _Study:
    """One benchmark, with and without each proposer."""

    benchmark: Benchmark
    mixture: System
    whole: Evaluation
    rewritten: ChosenQuestions
    cached: CachedReferences
    systems: Mapping[tuple[str, ...], System]
    """By the proposers that are left out."""

    @classmethod
    def of(cls, evaluation: Evaluation, benchmark: Benchmark, mixture: System, *, most: int) -> _Study:
        """Read the mixture's answers.

        Raises:
            ValueError: There are none, or leave-one-out is not possible.
        """
        from langchain_moa.evals.running.leave_one_out import CachedReferences

        evaluation.systems(benchmark, [mixture.name])
        answers = evaluation.answers(benchmark, mixture.name)
        cached = CachedReferences(evaluation.questions(benchmark), answers)
        # Next to the systems themselves they would look cheap: only the aggregator's call is measured.
        folder = evaluation.out / _FOLDER / mixture.name
        return cls(
            benchmark=benchmark,
            mixture=mixture,
            whole=evaluation,
            rewritten=evaluation.of(cached.questions, out=folder),
            cached=cached,
            systems={group: without(mixture, cached, group) for group in cached.groups(most)},
        )

    async def work(
        self, judge: System | None, *, concurrency: int, judge_concurrency: int, overwrite: bool
    ) -> tuple[int, int]:
        """Re-aggregate and judge the answers; return the number of failed answers and judgments."""
        from langchain_moa.cli.evaluation import steps
        from langchain_moa.cli.evaluation.progress import open_view

        systems = list(self.systems.values())
        names = [system.name for system in systems]
        with open_view() as view:
            answers = await steps.generate(
                self.rewritten, [self.benchmark], systems, concurrency=concurrency, overwrite=overwrite, view=view
            )
            failed = 0
            # The whole mixture's judgments are not this command's to discard.
            for evaluation, judged, anew in (
                (self.whole, [self.mixture.name], False),
                (self.rewritten, names, overwrite),
            ):
                failed += await steps.judge(
                    evaluation,
                    [self.benchmark],
                    judged,
                    judge=judge,
                    concurrency=judge_concurrency,
                    overwrite=anew,
                    view=view,
                )
        return answers, failed

    def report(self, judge: System | None, prices: Prices | None, failures: Failures) -> Report:
        """Compare the mixture without each proposer with the whole one."""
        from langchain_moa.cli.evaluation.progress import working
        from langchain_moa.cli.evaluation.stored_results import judged
        from langchain_moa.evals.report.make_report import make_report
        from langchain_moa.evals.running.judge_answers import NO_JUDGE

        name = judge.name if judge else NO_JUDGE
        warnings = [_REUSED, *([_LAYERS.format(self.cached.layers)] if self.cached.layers > 1 else [])]
        answers, judgments, noticed = judged(self.whole, self.benchmark, self.mixture.name, name)
        runs: dict[str, Run] = {self.mixture.name: (answers, judgments)}
        for left_out, system in self.systems.items():
            answers, judgments, more = judged(self.rewritten, self.benchmark, system.name, name)
            runs[system.name] = ([self.cached.complete(answer, without=left_out) for answer in answers], judgments)
            noticed += more
        with working(f"{self.benchmark.name}: computing the intervals"):
            return make_report(
                self.benchmark,
                runs,
                judge=judge.name if judge else None,
                prices=prices,
                baseline=self.mixture.name,
                failures=failures,
                warnings=[*warnings, *noticed],
            )
