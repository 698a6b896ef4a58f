"""`moa eval search`: find the line-up that is worth its money, from one set of proposals."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_moa.cli.evaluation import eval_options as options
from langchain_moa.cli.evaluation.evaluation import Evaluation
from langchain_moa.cli.evaluation.line_ups import LineUp, line_ups, sample_name, to_python, to_toml
from langchain_moa.cli.mixture_options import Debug

if TYPE_CHECKING:
    from langchain_moa.cli.evaluation.progress import View
    from langchain_moa.evals.report.findings import Run
    from langchain_moa.evals.report.report import Report
    from langchain_moa.evals.running.halving import Rung
    from langchain_moa.evals.running.proposals import Proposals
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.types import Answer, Benchmark, Judgment, Question
    from langchain_moa.prices import Prices

_FOLDER = "search"
_NAME = "found"
"""The name of the line-up in the configuration file."""

# Questions that every line-up answers, to learn what an answer costs.
_PILOT = 4

_HALVES = (
    "The line-ups were chosen on other questions. Their proposals are those of the single models, so that differences "
    "are of the aggregation, and of the members."
)


class Aggregation(Enum):
    """A way to aggregate."""

    VOTE = "vote"
    SELECT = "select"
    SYNTHESIZE = "synthesize"
    ANALYZE = "analyze"


_ALL_WAYS = [Aggregation.VOTE, Aggregation.SELECT, Aggregation.SYNTHESIZE]
_BENCH = typer.Option(metavar="BENCHMARK", help="As for `moa eval run`; its questions have a single turn.")
_MODELS = typer.Option(
    "--model", metavar="NAME=MODEL", help="Possible member: a Together id, provider:model or local:model; repeatable."
)
_WRITERS = typer.Option("--writer", metavar="NAME", help="Possible writer, one of the members. Default: each of them.")
_WAYS = typer.Option("--way", help="Way to aggregate; repeatable. Default: vote, select and synthesize.")
_SAMPLES = typer.Option(min=1, help="Proposals that one member may give: more than 1 tries Self-MoA too.")
_MOST = typer.Option(min=2, help="Most proposals of a line-up.")
_BUDGET = typer.Option(
    metavar="CALLS|USD", help="What all calls may cost, those of the judge included: 5000 calls, or 5USD with --prices."
)


def search(
    bench: Annotated[str, _BENCH],
    model: Annotated[list[str], _MODELS],
    budget: Annotated[str, _BUDGET],
    writer: Annotated[list[str] | None, _WRITERS] = None,
    way: Annotated[list[Aggregation] | None, _WAYS] = None,
    samples: Annotated[int, _SAMPLES] = 1,
    most: Annotated[int, _MOST] = 4,
    temperature: Annotated[float, typer.Option(min=0, help="Sampling temperature of every model.")] = 0.7,
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum number of tokens of one reply.")] = 8192,
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
    overwrite: options.Overwrite = False,
    debug: Debug = False,
) -> None:
    """Find the best line-up of some models: which members, how many, which way to aggregate, which writer.

    Every proposal is asked for once. On one half of the questions all line-ups answer a few, the better half of them
    twice as many, and so on; the best three and the single models then answer the other half, for the report. Run it
    again to resume after an interruption.
    """
    from langchain_moa.cli.evaluation.commands.report import check_report, load_prices
    from langchain_moa.cli.evaluation.progress import end
    from langchain_moa.cli.evaluation.report_output import publish
    from langchain_moa.cli.evaluation.system_specs import resolve, resolve_models

    evaluation = Evaluation(
        bench=[bench],
        out=out / _FOLDER,
        grader=grader,
        baseline=baseline,
        judge_mode=judge_mode.value,
        limit=limit,
        seed=seed,
    )
    sampling = {"temperature": temperature, "max_tokens": max_tokens}
    members = resolve_models(model, sampling)
    names = list(members)
    if unknown := [name for name in writer or () if name not in members]:
        raise ValueError(f"The writer {unknown[0]!r} is none of the members: choose from {', '.join(names)}.")
    judging = resolve(judge) if judge else None
    evaluation.check(names, judge=judging)
    check_report(prices)
    found = line_ups(
        names,
        samples=samples,
        most=most,
        ways=[one.value for one in way or _ALL_WAYS],
        writers=writer or names,
    )
    if not found:
        raise ValueError("There is no line-up to search: name at least two models, or pass --samples 2.")
    one = _Search.of(
        evaluation,
        members,
        found,
        samples=samples,
        judge=judging,
        budget=Budget.of(budget, load_prices(prices)),
        run={"concurrency": concurrency, "overwrite": overwrite, "judge_concurrency": judge_concurrency},
    )
    best, report = asyncio.run(one.work())
    folder = evaluation.out / one.benchmark.name
    publish(folder, report)
    chosen = {**best.options({name: system.spec for name, system in members.items()}), **sampling}
    (folder / "line_up.py").write_text(to_python(chosen), "utf-8")
    (folder / "moa.toml").write_text(to_toml(_NAME, chosen), "utf-8")
    print(f"\n{best.name} has the highest score over all questions that it answered:\n\n{to_python(chosen)}")
    print(f"moa ask --config {folder / 'moa.toml'} --model {_NAME} ...")
    end(answers=one.failed[0], judgments=one.failed[1])


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a search may cost."""

    amount: float
    prices: Prices | None
    """`None`: the budget is in calls."""

    @classmethod
    def of(cls, text: str, prices: Prices | None) -> Budget:
        """Read `5000`, or `5USD`.

        Raises:
            ValueError: It is neither, or dollars without prices.
        """
        number = re.fullmatch(r"\$?\s*([\d.,_]*\d)\s*(usd|calls|)", text.strip().lower())
        if number is None:
            raise ValueError(f"The budget {text!r} is no number of calls such as 5000, and no dollars such as 5USD.")
        is_money = "$" in text or number[2] == "usd"
        if is_money and prices is None:
            raise ValueError("A budget in dollars needs prices: pass --prices genai-prices, or --prices FILE.")
        return cls(amount=float(re.sub("[,_]", "", number[1])), prices=prices if is_money else None)

    def cost(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> float:
        """Return what answers and their judgments have cost.

        Raises:
            ValueError: A model has no known price, or tells no tokens.
        """
        from langchain_moa.evals.report.spending import dollars, judge_spending_of

        if self.prices is None:
            return sum(answer.calls for answer in answers) + judge_spending_of(judgments, None).calls
        if silent := [answer for answer in answers if answer.calls and not answer.usage and answer.error is None]:
            msg = f"{silent[0].system!r} tells no tokens, so that nobody knows what it costs: give a budget in calls."
            raise ValueError(msg)
        usages = [usage for usage in chain((a.usage for a in answers), (j.usage for j in judgments)) if usage]
        cost = dollars(usages, self.prices) if usages else 0.0
        if cost is None:
            names = ", ".join(dict.fromkeys(chain.from_iterable(usages)))
            raise ValueError(f"No price is known for one of {names}: add it to --prices, or give a budget in calls.")
        return cost

    def __str__(self) -> str:
        return f"{self.amount:g} {'USD' if self.prices else 'calls'}"


@dataclass(kw_only=True)
class _Search:
    """A search on one benchmark."""

    evaluation: Evaluation
    benchmark: Benchmark
    models: Mapping[str, System]
    samples: Mapping[str, System]
    """By its name, each model once for every proposal that it may give."""

    line_ups: Mapping[str, LineUp]
    systems: Mapping[str, System]
    """By its name, each line-up as a system."""

    proposals: Proposals
    halves: tuple[list[Question], list[Question]]
    judge: System | None
    budget: Budget
    run: Mapping[str, Any]
    started: set[str] = field(default_factory=set)
    failed: tuple[int, int] = (0, 0)

    @classmethod
    def of(
        cls, evaluation: Evaluation, models: Mapping[str, System], found: Sequence[LineUp], *, samples: int, **rest: Any
    ) -> _Search:
        from langchain_moa.evals.running.proposals import Proposals

        (benchmark,) = evaluation.benchmarks()
        questions = evaluation.questions(benchmark)
        if len(questions) < 2 * _PILOT:
            raise ValueError(f"A search takes at least {2 * _PILOT} questions; there are {len(questions)}.")
        proposals = Proposals(questions)
        random.Random(evaluation.seed).shuffle(questions)
        half = len(questions) // 2
        sampled = {
            sample_name(name, number): replace(system, name=sample_name(name, number))
            for name, system in models.items()
            for number in range(1, samples + 1)
        }
        return cls(
            evaluation=evaluation,
            benchmark=benchmark,
            models=models,
            samples=sampled,
            line_ups={one.name: one for one in found},
            systems={one.name: one.to_system(models, proposals) for one in found},
            proposals=proposals,
            halves=(questions[:half], questions[half:]),
            **rest,
        )

    async def work(self) -> tuple[LineUp, Report]:
        """Search, and return the best line-up and the report on the other half of the questions."""
        from langchain_moa.cli.evaluation.progress import open_view
        from langchain_moa.evals.running.halving import halve

        search, other = self.halves
        names = list(self.systems)
        with open_view() as view:
            self._check_pilot()
            await self._try(view, names, _PILOT)
            first, last = self._plan()
            rungs = await halve(names, partial(self._try, view), first=first, most=len(search))
            _print_rungs(rungs)
            finalists = list(rungs[-1].scores)
            singles = list(self.models)
            await self._answer(view, finalists, other[:last], proposers=list(self.samples))
            await self._judge(view, [*singles, *finalists], other[:last])
        asked = [*search[: rungs[-1].questions], *other[:last]]
        scores = self._scores(finalists, asked)
        best = max(finalists, key=lambda name: (scores[name], -names.index(name)))
        return self.line_ups[best], self._report([*singles, *finalists], other[:last])

    async def _try(self, view: View, names: Sequence[str], count: int) -> dict[str, float]:
        """Return the scores of line-ups on the first questions of the first half."""
        questions = self.halves[0][:count]
        needed = dict.fromkeys(chain.from_iterable(self.line_ups[name].proposers for name in names))
        await self._answer(view, names, questions, proposers=list(needed))
        await self._judge(view, names, questions)
        return self._scores(names, questions)

    async def _answer(
        self, view: View, names: Sequence[str], questions: Sequence[Question], *, proposers: list[str]
    ) -> None:
        """Have proposers and line-ups answer questions."""
        if self.evaluation.baseline is not None and self.evaluation.baseline not in proposers:
            proposers = [self.evaluation.baseline, *proposers]
        await self._generate(view, [self.samples[name] for name in proposers], questions)
        chosen = self.evaluation.of(questions)
        for name in proposers:
            self.proposals.add(name, chosen.answers(self.benchmark, name))
        await self._generate(view, [self.systems[name] for name in names], questions)

    async def _generate(self, view: View, systems: Sequence[System], questions: Sequence[Question]) -> None:
        from langchain_moa.cli.evaluation import steps

        self._stop_at_the_budget()
        for system in systems:
            failed = await steps.generate(
                self.evaluation.of(questions),
                [self.benchmark],
                [system],
                concurrency=self.run["concurrency"],
                overwrite=self.run["overwrite"] and system.name not in self.started,
                view=view,
            )
            self.started.add(system.name)
            self.failed = (self.failed[0] + failed, self.failed[1])

    async def _judge(self, view: View, names: Sequence[str], questions: Sequence[Question]) -> None:
        from langchain_moa.cli.evaluation import steps

        chosen = self.evaluation.of(questions)
        failed = await steps.judge(
            chosen,
            chosen.graded_benchmarks(),
            names,
            judge=self.judge,
            concurrency=self.run["judge_concurrency"],
            overwrite=False,
            view=view,
        )
        self.failed = (self.failed[0], self.failed[1] + failed)

    # -- What it costs -----------------------------------------------------------------------------------------------

    def _check_pilot(self) -> None:
        """Check that every line-up can be tried at all, before the first call.

        Raises:
            ValueError: The budget is too small for it.
        """
        if self.budget.prices is not None:
            return
        least = _PILOT * (len(self.samples) + sum(one.calls for one in self.line_ups.values()))
        if least > self.budget.amount:
            msg = f"The budget of {self.budget} is too small to try {len(self.line_ups)} line-ups: the first "
            raise ValueError(msg + f"{_PILOT} questions alone may take {least:,} calls.")

    def _plan(self) -> tuple[int, int]:
        """Return the questions of the first round, and those of the other half.

        They follow from what the answers to the first few questions have cost, and so are the same when it resumes.

        Raises:
            ValueError: The budget is too small.
        """
        from langchain_moa.evals.running.halving import FINALISTS, first_questions

        pilot = self.halves[0][:_PILOT]
        line_up = max(self._cost(name, pilot) for name in self.systems) / len(pilot)
        proposals = sum(self._cost(name, pilot) for name in self.samples) / len(pilot)
        # A single model's answer is judged too, as a line-up's is.
        final = proposals + (FINALISTS + len(self.models)) * line_up
        other = min(len(self.halves[1]), int(self.budget.amount / 2 / final)) if final else len(self.halves[1])

        def cost(rungs: list[tuple[int, int]]) -> float:
            asked = [0, *(questions for _, questions in rungs)]
            tried = sum(count * (asked[n + 1] - asked[n]) for n, (count, _) in enumerate(rungs))
            return (tried * line_up + asked[-1] * proposals + other * final) / self.budget.amount

        first = first_questions(len(self.systems), most=len(self.halves[0]), least=_PILOT, cost=cost)
        return first, other

    def _cost(self, name: str, questions: Sequence[Question]) -> float:
        chosen = self.evaluation.of(questions)
        return self.budget.cost(chosen.answers(self.benchmark, name), self._judgments(name, questions))

    def _stop_at_the_budget(self) -> None:
        """Check what everything has cost so far.

        Raises:
            ValueError: The budget is spent.
        """
        asked = [*self.halves[0], *self.halves[1]]
        spent = sum(self._cost(name, asked) for name in self.started)
        if spent > self.budget.amount:
            msg = f"The budget of {self.budget} is spent: the results are kept, and the same command with a larger "
            raise ValueError(msg + "--budget goes on from there.")

    # -- What came out -----------------------------------------------------------------------------------------------

    def _judgments(self, name: str, questions: Sequence[Question]) -> list[Judgment]:
        from langchain_moa.evals.results.current import current_judgments
        from langchain_moa.evals.running.judge_answers import NO_JUDGE

        chosen = self.evaluation.of(questions)
        answers = chosen.answers(self.benchmark, name)
        store = chosen.store(self.benchmark, name)
        return current_judgments(answers, store, self.judge.name if self.judge else NO_JUDGE)

    def _scores(self, names: Sequence[str], questions: Sequence[Question]) -> dict[str, float]:
        """Return the systems' scores on some questions. A failed answer counts as wrong."""
        from langchain_moa.evals.failures import counted_as_wrong

        chosen = self.evaluation.of(questions)
        (graded,) = chosen.graded_benchmarks()
        scores = {}
        for name in names:
            answers = chosen.answers(graded, name)
            judgments = counted_as_wrong(graded, answers, self._judgments(name, questions))
            scores[name] = graded.metric(answers, judgments).score()
        return scores

    def _report(self, names: Sequence[str], questions: Sequence[Question]) -> Report:
        from langchain_moa.cli.evaluation.progress import working
        from langchain_moa.cli.evaluation.stored_results import judged
        from langchain_moa.evals.report.make_report import make_report
        from langchain_moa.evals.running.judge_answers import NO_JUDGE

        chosen = self.evaluation.of(questions)
        (graded,) = chosen.graded_benchmarks()
        runs: dict[str, Run] = {}
        warnings = [_HALVES]
        for name in names:
            answers, judgments, noticed = judged(chosen, graded, name, self.judge.name if self.judge else NO_JUDGE)
            if name in self.line_ups:
                answers = [self.proposals.complete(answer, self.line_ups[name].proposers) for answer in answers]
            runs[name] = (answers, judgments)
            warnings += noticed
        with working(f"{graded.name}: computing the intervals"):
            return make_report(
                graded,
                runs,
                judge=self.judge.name if self.judge else None,
                prices=self.budget.prices,
                baseline=self.evaluation.baseline,
                warnings=warnings,
            )


def _print_rungs(rungs: Sequence[Rung]) -> None:
    for number, rung in enumerate(rungs, 1):
        name, score = next(iter(rung.scores.items()))
        print(f"Round {number}: {len(rung.scores)} line-ups, {rung.questions} questions each; {name} {score:.1f}")
    print()
