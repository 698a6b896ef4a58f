"""Which systems a report compares, and the verdicts of the comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean

from langchain_moa.evals.report.findings import Comparison, SystemReport, Verdict
from langchain_moa.evals.statistics.corrections import corrected, outcome_of
from langchain_moa.evals.statistics.differences import Difference
from langchain_moa.evals.statistics.jackknife import Scores
from langchain_moa.evals.statistics.power import detectable, questions_for
from langchain_moa.evals.types import Answer

Pair = tuple[str, str]

# A retry or a fallback now and then does not make a mixture of a model.
_MOSTLY = 0.9


def is_single(answers: Sequence[Answer]) -> bool | None:
    """Whether at least nine answers in ten took one model call per turn. `None`: the calls were not counted."""
    counted = [answer for answer in answers if answer.error is None and answer.calls]
    return fmean(answer.calls <= len(answer.texts) for answer in counted) >= _MOSTLY if counted else None


def controls_of(equal: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the systems that were given as much as a mixture, of whichever mixture."""
    return {control for named in equal.values() for control in named}


def pairs_of(
    rows: Sequence[SystemReport],
    singles: Sequence[str],
    *,
    baseline: str | None,
    equal: Mapping[str, Sequence[str]],
) -> list[Pair]:
    """Return the systems to compare: each composed one with each single model, and with each other.

    With a baseline that was named, the composed systems are compared with that and not with each other. A system that
    was given as much as a mixture (`equal`) is compared with that mixture only.
    """
    controls = controls_of(equal)
    there = [row.system for row in rows if row.failed < row.answers and row.system not in controls]
    composed = [system for system in there if system not in singles]
    alone = [row.system for row in rows if row.system in singles]
    pairs = [(system, single) for system in composed for single in alone]
    if not baseline:
        pairs += combinations(composed, 2)
    names = {row.system for row in rows}
    return pairs + [(mixture, one) for mixture in composed for one in equal.get(mixture, ()) if one in names]


def compare(
    pairs: Sequence[Pair], rows: Sequence[SystemReport], scores: Scores, otherwise: Scores, *, detect: float | None
) -> list[Comparison]:
    """Compare pairs of systems, with Holm's correction for all of them.

    Args:
        pairs: The systems to compare.
        rows: The systems, with their costs.
        scores: Scores by question.
        otherwise: The same, with failed answers counted the other way.
        detect: A difference, to say how many questions it takes.
    """
    by_name = {row.system: row for row in rows}
    judged, again = _judge(pairs, scores), _judge(pairs, otherwise)
    count = sum(difference is not None for difference, _, _ in judged.values())
    comparisons = []
    for pair in pairs:
        system, other = (by_name[name] for name in pair)
        difference, p_value, verdict = judged[pair]
        failed = bool(system.failed or other.failed)
        comparisons.append(
            Comparison(
                system=system.system,
                other=other.system,
                outcome="withheld" if failed and verdict != again[pair][2] else verdict,
                difference=difference,
                p_value=p_value,
                otherwise=again[pair][0] if failed else None,
                detectable=detectable(difference.spread, difference.questions, comparisons=count)
                if difference
                else None,
                needed=questions_for(detect, difference.spread, comparisons=count) if difference and detect else None,
                cost_factor=_ratio(system.spending.usd_per_100, other.spending.usd_per_100),
                latency_factor=_ratio(system.spending.latency_p50, other.spending.latency_p50),
            )
        )
    return comparisons


def _judge(
    pairs: Sequence[Pair], scores: Scores
) -> Mapping[Pair, tuple[Difference | None, float | None, Verdict | None]]:
    """Return each pair's difference, its corrected p-value and the verdict."""
    differences = {pair: scores.difference(*pair) for pair in pairs}
    known = {pair: difference for pair, difference in differences.items() if difference is not None}
    p_values = dict(zip(known, corrected(list(known.values())), strict=True))
    decided = {pair: (known[pair], p_value, outcome_of(known[pair], p_value)) for pair, p_value in p_values.items()}
    return {pair: decided.get(pair, (None, None, None)) for pair in pairs}


def _ratio(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None
