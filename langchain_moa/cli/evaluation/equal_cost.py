"""`--equal-cost`: the best single model, asked as often as a mixture's money or calls allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from langchain_moa.answer_keys import AnswerKey
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.evals.report.report import Report
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.types import Benchmark
    from langchain_moa.prices import Prices

_MARK = ".equal-"


def controls_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Return, by mixture, the systems among these that were given as much as it."""
    return {name: found for name in names if (found := [one for one in names if one.startswith(f"{name}{_MARK}")])}


def equal_systems(
    evaluation: Evaluation, benchmark: Benchmark, systems: Sequence[System], judge: str, prices: Prices
) -> list[System]:
    """Return, for every mixture, the best single model's samples for the same money and for the same number of calls.

    The samples vote where the task's grader can read their answers; elsewhere the model aggregates them (Self-MoA,
    arXiv:2502.00674). Where one sample is all that the money buys, there is none: that is the single model itself.

    Raises:
        ValueError: No system is known to be a single model, or the cost of one is not known.
    """
    report, by_name = _first_report(evaluation, benchmark, systems, judge, prices), {one.name: one for one in systems}
    scored = [row for row in report.systems if row.is_single and row.score is not None]
    if not scored:
        msg = f"--equal-cost needs a single model among the systems that answered {benchmark.name!r}: add one."
        raise ValueError(msg)
    best = by_name[max(scored, key=lambda row: row.score or 0.0).system]
    mixtures = [by_name[row.system] for row in report.systems if row.is_single is False]
    return [one for mixture in mixtures for one in _given(evaluation, benchmark, mixture, best, prices)]


def _first_report(
    evaluation: Evaluation, benchmark: Benchmark, systems: Sequence[System], judge: str, prices: Prices
) -> Report:
    from langchain_moa.cli.evaluation.stored_results import judged
    from langchain_moa.evals.report.make_report import make_report

    runs = {system.name: judged(evaluation, benchmark, system.name, judge)[:2] for system in systems}
    return make_report(benchmark, runs, judge=None, prices=prices)


def _given(
    evaluation: Evaluation, benchmark: Benchmark, mixture: System, best: System, prices: Prices
) -> Iterator[System]:
    from langchain_moa.evals.report.equal_cost import samples_for_calls, samples_for_cost

    key = answer_key(evaluation, benchmark)
    spent, alone = (evaluation.answers(benchmark, system.name) for system in (mixture, best))
    affordable = samples_for_cost(spent, alone, prices, voted=key is not None)
    if affordable is None:
        msg = f"--equal-cost needs the prices of all models in {mixture.name!r} and {best.name!r}: see --prices."
        raise ValueError(msg)
    as_many = samples_for_calls(spent, alone, voted=key is not None)
    kinds = {"cost-and-calls": affordable} if affordable == as_many else {"cost": affordable, "calls": as_many or 1}
    for kind, samples in kinds.items():
        if samples > 1:
            yield _sampled(mixture, best, samples, kind, key)


def answer_key(evaluation: Evaluation, benchmark: Benchmark) -> AnswerKey | None:
    """Return how the answers to a task are read for a vote. `None`: they can't be."""
    from langchain_moa import answer_keys
    from langchain_moa.evals.benchmarks.loading import PUBLISHED
    from langchain_moa.evals.graders.matching import normalize

    if benchmark.name in PUBLISHED:
        return None
    name, _, pattern = (evaluation.grader or "exact").partition(":")
    keys: Mapping[str, AnswerKey] = {"exact": normalize, "choice": answer_keys.choice, "numeric": answer_keys.number}
    if name == "regex" and pattern:
        return answer_keys.matching(pattern)
    return keys.get(name)


def _sampled(mixture: System, best: System, samples: int, kind: str, key: AnswerKey | None) -> System:
    """Return so many samples of a model as one system."""
    from langchain_moa.evals.results.keys import key_of
    from langchain_moa.evals.systems import System

    def build(decoding: Mapping[str, Any]) -> BaseChatModel:
        from langchain_moa.chat_models import ChatMoA
        from langchain_moa.proposers import Proposer

        model = best.model(decoding)
        proposers = [Proposer(model=model, samples=samples)]
        voting: dict[str, Any] = {"aggregation": "vote", "answer_key": key} if key else {}
        return ChatMoA(proposers=proposers, aggregator=model, include_references=True, **voting)

    how = "voted" if key else "aggregated by itself"
    return System(
        name=f"{mixture.name}{_MARK}{kind}.{best.name}-x{samples}",
        fingerprint=key_of(best.fingerprint, samples, how),
        build=build,
        spec=f"{samples} samples of {best.name}, {how}",
        calls=samples + (key is None),
        passages=0 if key else samples,
    )
