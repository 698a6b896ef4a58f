"""The data of a report: one entry per system, and the comparisons between systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_moa.evals.report.spending import JudgeSpending, Spending
from langchain_moa.evals.statistics.bootstrap import Difference, Interval, Outcome
from langchain_moa.evals.types import Answer, Judgment

Run = tuple[Sequence[Answer], Sequence[Judgment]]
"""One system's answers and the judgments of them."""


@dataclass(frozen=True, kw_only=True)
class SystemReport:
    """How one system did, and what it took."""

    system: str

    is_single: bool | None
    """Whether each answer took one model call a turn; `None`: nobody counted the calls."""

    score: float | None
    """The benchmark's main figure; `None`: nothing could be scored."""

    interval: Interval | None
    difference: Difference | None
    """To the report's baseline, over the same questions; `None` for the baseline itself."""

    figures: Mapping[str, float | None]
    breakdowns: Mapping[str, Mapping[str, float | None]]

    answers: int
    """Items that the system was asked."""

    failed: int
    """Items that it did not answer."""

    scored: int
    """Items that count in the score."""

    unparsable: int
    """Judge replies in which no verdict could be read."""

    judge_failed: int
    """Judge calls that got no reply."""

    mean_length: float | None
    """Characters of an answer, a turn."""

    spending: Spending
    judge_spending: JudgeSpending


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A composed system compared with a single model: score, cost and latency."""

    system: str
    single: str
    outcome: Outcome | None
    """`None`: too few questions count for both."""

    difference: Difference | None
    cost_factor: float | None
    """How many times the single model's dollars."""

    latency_factor: float | None
    """How many times the single model's median latency."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The results of an evaluation on one benchmark."""

    benchmark: str
    score_name: str
    """What the scores are, with their unit."""

    judge: str | None
    """`None`: no judge was needed."""

    judge_mode: str | None
    """How the judge's verdicts were read: `logprobs`, `text`."""

    baseline: str | None
    """The system with which each other one is compared: the best single model, unless the caller named one."""

    prices: str | None
    """Where the prices come from."""

    seed: int
    draws: int
    systems: Sequence[SystemReport]
    """In the order in which the caller gave them."""

    verdicts: Sequence[Comparison]
    warnings: Sequence[str]
