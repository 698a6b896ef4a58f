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
    """Scores and cost of one system."""

    system: str

    is_single: bool | None
    """Whether each answer took one model call per turn. `None`: the calls were not counted."""

    score: float | None
    """The benchmark's main score. `None`: nothing could be scored."""

    interval: Interval | None
    difference: Difference | None
    """Paired difference to the report's baseline. `None` for the baseline itself."""

    figures: Mapping[str, float | None]
    breakdowns: Mapping[str, Mapping[str, float | None]]

    answers: int
    """Questions that the system was asked."""

    failed: int
    """Questions that it failed to answer."""

    scored: int
    """Questions that the score is computed from."""

    unparsable: int
    """Judge replies without a parsable verdict."""

    judge_failed: int
    """Judge calls that failed."""

    mean_length: float | None
    """Mean characters per answer and turn."""

    spending: Spending
    judge_spending: JudgeSpending


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A composed system compared with a single model: score, cost and latency."""

    system: str
    single: str
    outcome: Outcome | None
    """`None`: too few questions were scored for both."""

    difference: Difference | None
    cost_factor: float | None
    """Cost relative to the single model (2.0 = twice as expensive)."""

    latency_factor: float | None
    """Median latency relative to the single model."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The results of an evaluation on one benchmark."""

    benchmark: str
    score_name: str
    """Name and unit of the score."""

    judge: str | None
    """`None`: no judge was needed."""

    judge_mode: str | None
    """How the judge's verdicts were read: `logprobs` or `text`."""

    baseline: str | None
    """The system that the others are compared with. Default: the best single model."""

    prices: str | None
    """Where the prices come from."""

    seed: int
    draws: int
    systems: Sequence[SystemReport]
    """In the order given by the caller."""

    verdicts: Sequence[Comparison]
    warnings: Sequence[str]
