"""The data of a report: one entry per system, and the comparisons between systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from langchain_moa.evals.failures import Failures
from langchain_moa.evals.report.ceiling import Ceiling
from langchain_moa.evals.report.spending import JudgeSpending, Spending
from langchain_moa.evals.statistics.corrections import Outcome
from langchain_moa.evals.statistics.differences import Difference
from langchain_moa.evals.statistics.intervals import Interval
from langchain_moa.evals.types import Answer, Judgment

Run = tuple[Sequence[Answer], Sequence[Judgment]]
"""One system's answers and the judgments of them."""

Verdict = Outcome | Literal["withheld"]
"""The outcome of a comparison, or that it depends on how failed answers count."""


@dataclass(frozen=True, kw_only=True)
class SystemReport:
    """Scores and cost of one system."""

    system: str

    is_single: bool | None
    """Whether almost every answer took one model call per turn. `None`: the calls were not counted."""

    score: float | None
    """The benchmark's main score. `None`: nothing could be scored."""

    interval: Interval | None

    score_otherwise: float | None
    """The score with failed answers counted the other way: dropped, or as wrong. `None`: there are none."""

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
    """A composed system compared with another system: score, cost and latency."""

    system: str
    other: str
    outcome: Verdict | None
    """Decided if `p_value` is below 5 %. `None`: too few questions were scored for both."""

    difference: Difference | None

    p_value: float | None
    """The difference's p-value after Holm's correction for all comparisons of the report."""

    otherwise: Difference | None
    """The difference with failed answers counted the other way. `None`: neither system failed."""

    detectable: float | None
    """The smallest difference that so many questions show in four evaluations of five. `None`: not known."""

    needed: int | None
    """Questions that the report's `detect` takes. `None`: not asked for, or not known."""

    cost_factor: float | None
    """Cost relative to the other system (2.0 = twice as expensive)."""

    latency_factor: float | None
    """Median latency relative to the other system."""


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
    """The system that the others' differences are from. Default: the best single model."""

    is_named: bool
    """Whether the baseline was named, and not chosen by its score on the same questions."""

    failures: Failures
    """How failed answers count."""

    detect: float | None
    """A difference that the reader wants to be able to show. `None`: none was named."""

    prices: str | None
    """Where the prices come from."""

    systems: Sequence[SystemReport]
    """In the order given by the caller."""

    verdicts: Sequence[Comparison]

    ceiling: Ceiling | None
    """What no choice among the single models can pass. `None`: not a matter of right and wrong, or fewer than two."""

    warnings: Sequence[str]
