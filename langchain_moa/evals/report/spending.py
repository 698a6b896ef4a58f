"""Cost of answers and judgments: calls, tokens, dollars and latency. Unknown values are `None`, never zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from langchain_core.messages.ai import UsageMetadata

from langchain_moa.evals.statistics.averages import mean, percentile
from langchain_moa.evals.types import Answer, Judgment
from langchain_moa.prices import Prices

Usage = Mapping[str, UsageMetadata]


@dataclass(frozen=True, kw_only=True)
class Spending:
    """Cost of one system: means over the questions it answered."""

    calls: float | None
    """Model calls per question, including calls inside a composed system."""

    input_tokens: float | None
    """Input tokens per question."""

    output_tokens: float | None
    """Output tokens per question."""

    usd_per_100: float | None
    """US dollars per 100 questions."""

    latency_p50: float | None
    """Median seconds per question, over all its turns."""

    latency_p95: float | None
    """95th percentile of seconds per question, over all its turns."""


@dataclass(frozen=True, kw_only=True)
class JudgeSpending:
    """Total cost of judging one system."""

    calls: int
    input_tokens: int | None
    output_tokens: int | None
    usd: float | None


def spending_of(answers: Sequence[Answer], prices: Prices | None) -> Spending:
    """Return a system's cost. Failed answers and missing values are left out of each mean."""
    answered = [answer for answer in answers if answer.error is None]
    told = [answer.usage for answer in answered if answer.usage]
    usd = dollars(told, prices)
    seconds = [answer.seconds for answer in answered if answer.seconds is not None]
    return Spending(
        calls=mean([answer.calls for answer in answered if answer.calls]),
        input_tokens=mean([tokens(usage, "input_tokens") for usage in told]),
        output_tokens=mean([tokens(usage, "output_tokens") for usage in told]),
        usd_per_100=None if usd is None else 100 * usd / len(told),
        latency_p50=percentile(seconds, 50),
        latency_p95=percentile(seconds, 95),
    )


def judge_spending_of(judgments: Sequence[Judgment], prices: Prices | None) -> JudgeSpending:
    """Return the cost of judging. Judgments made without a judge are not counted."""
    told = [judgment.usage for judgment in judgments if judgment.usage]
    return JudgeSpending(
        calls=sum(bool(judgment.usage or judgment.reply or judgment.error) for judgment in judgments),
        input_tokens=sum(tokens(usage, "input_tokens") for usage in told) if told else None,
        output_tokens=sum(tokens(usage, "output_tokens") for usage in told) if told else None,
        usd=dollars(told, prices),
    )


def tokens(usage: Usage, kind: Literal["input_tokens", "output_tokens"]) -> int:
    """Sum one kind of tokens over all models."""
    return sum(used[kind] for used in usage.values())


def dollars(usages: Iterable[Usage], prices: Prices | None) -> float | None:
    """Sum the cost in US dollars. `None`: there is no usage, or a model has no known price."""
    costs = [prices.cost(model, used) if prices else None for usage in usages for model, used in usage.items()]
    known = [cost.total for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None


def models_of(usages: Iterable[Usage]) -> list[str]:
    """Return the distinct models with reported usage, in order of appearance."""
    return list(dict.fromkeys(model for usage in usages for model in usage))
