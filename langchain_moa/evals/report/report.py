"""What an evaluation comes to: each system's score with its interval and its cost, and whether it is worth it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from langchain_moa.evals.report.prices import Prices
from langchain_moa.evals.report.report_warnings import metric_warnings, report_warnings
from langchain_moa.evals.report.spending import JudgeSpending, Spending, judge_spending_of, spending_of
from langchain_moa.evals.report.tables import NOT_TOLD, markdown, sentence
from langchain_moa.evals.statistics.bootstrap import DRAWS, Bootstrap, Difference, Interval, Outcome, mean
from langchain_moa.evals.types import Answer, Benchmark, Judgment, Metric

Run = tuple[Sequence[Answer], Sequence[Judgment]]
"""What one system answered, and how it was judged."""


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
class Verdict:
    """Whether a composed system is worth it, against one single model."""

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
class Report:
    """What an evaluation comes to."""

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

    verdicts: Sequence[Verdict]
    warnings: Sequence[str]

    def to_json(self) -> str:
        """Return everything as JSON; what is not known is `null`."""
        verdicts = [{**asdict(verdict), "text": sentence(verdict)} for verdict in self.verdicts]
        return json.dumps({**asdict(self), "verdicts": verdicts}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """Return one line per system; what is not known is `n/a`."""
        lines = [{"benchmark": self.benchmark, "judge": self.judge, **_line(row)} for row in self.systems]
        names = list(dict.fromkeys(name for line in lines for name in line))
        file = io.StringIO()
        writer = csv.DictWriter(file, names, restval=NOT_TOLD, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: NOT_TOLD if value is None else value for name, value in line.items()} for line in lines)
        return file.getvalue()

    def to_markdown(self) -> str:
        """Return the tables, the verdicts and the warnings as Markdown."""
        return markdown(self)


def make_report(
    benchmark: Benchmark,
    runs: Mapping[str, Run],
    *,
    judge: str | None,
    prices: Prices | None,
    baseline: str | None = None,
    seed: int = 0,
    warnings: Sequence[str] = (),
) -> Report:
    """Work out scores, intervals, differences and costs.

    Args:
        benchmark: Takes judgments to scores.
        runs: By system, in the order in which they are shown.
        judge: Its name; `None`: no judge was needed.
        prices: What tokens cost; `None`: costs are not known.
        baseline: The system to compare the others with. Default: the single model with the best score, where a single
            model is a system whose every answer took one model call a turn.
        seed: Of the bootstrap.
        warnings: What the caller has to say, before the report's own.

    Raises:
        ValueError: There is no system, or none is called `baseline`.
    """
    if not runs:
        msg = "There is nothing to report: give at least one system."
        raise ValueError(msg)
    if baseline is not None and baseline not in runs:
        msg = f"Baseline {baseline!r} is not among the systems: choose from {', '.join(map(repr, runs))}."
        raise ValueError(msg)
    metrics = {system: benchmark.metric(answers, judgments) for system, (answers, judgments) in runs.items()}
    singles = [system for system, (answers, _) in runs.items() if system == baseline or is_single(answers)]
    compared_with = baseline or _best({system: metrics[system] for system in singles})
    bootstrap = Bootstrap(metrics, seed=seed)
    rows = [
        _system_report(
            system, run, metrics[system], bootstrap, baseline=compared_with, prices=prices, is_judged=judge is not None
        )
        for system, run in runs.items()
    ]
    verdicts = _verdicts(rows, singles, bootstrap)
    return Report(
        benchmark=benchmark.name,
        score_name=benchmark.score_name,
        judge=judge,
        judge_mode=_judge_mode(runs) if judge else None,
        baseline=compared_with,
        prices=prices.source if prices else None,
        seed=seed,
        draws=DRAWS,
        systems=rows,
        verdicts=verdicts,
        warnings=[
            *warnings,
            *metric_warnings(metrics),
            *report_warnings(rows, runs, baseline=compared_with, verdicts=verdicts, prices=prices),
        ],
    )


def is_single(answers: Sequence[Answer]) -> bool | None:
    """Tell whether each answer took one model call a turn; `None`: nobody counted the calls."""
    counted = [answer for answer in answers if answer.error is None and answer.calls]
    return all(answer.calls == len(answer.texts) for answer in counted) if counted else None


def _best(metrics: Mapping[str, Metric]) -> str | None:
    scores = {system: score for system, metric in metrics.items() if (score := _known(metric.score())) is not None}
    return max(scores, key=scores.__getitem__, default=None)


def _system_report(
    system: str,
    run: Run,
    metric: Metric,
    bootstrap: Bootstrap,
    *,
    baseline: str | None,
    prices: Prices | None,
    is_judged: bool,
) -> SystemReport:
    answers, judgments = run
    return SystemReport(
        system=system,
        is_single=is_single(answers),
        score=_known(metric.score()),
        interval=bootstrap.interval(system),
        difference=bootstrap.difference(system, baseline) if baseline not in (None, system) else None,
        figures={name: _known(value) for name, value in metric.figures.items()},
        breakdowns={
            name: {part: _known(value) for part, value in parts.items()} for name, parts in metric.breakdowns.items()
        },
        answers=len(answers),
        failed=sum(answer.error is not None for answer in answers),
        scored=len(metric.questions),
        unparsable=sum(judgment.score is None and judgment.error is None for judgment in judgments),
        judge_failed=sum(judgment.error is not None for judgment in judgments),
        mean_length=mean([len(text) for answer in answers if answer.error is None for text in answer.texts]),
        spending=spending_of(answers, prices),
        judge_spending=judge_spending_of(judgments if is_judged else [], prices),
    )


def _verdicts(rows: Sequence[SystemReport], singles: Sequence[str], bootstrap: Bootstrap) -> list[Verdict]:
    """Compare each composed system with each single model."""
    verdicts = []
    for row in (row for row in rows if row.system not in singles and row.failed < row.answers):
        for single in (row for row in rows if row.system in singles):
            difference = bootstrap.difference(row.system, single.system)
            verdicts.append(
                Verdict(
                    system=row.system,
                    single=single.system,
                    outcome=difference.outcome if difference else None,
                    difference=difference,
                    cost_factor=_ratio(row.spending.usd_per_100, single.spending.usd_per_100),
                    latency_factor=_ratio(row.spending.latency_p50, single.spending.latency_p50),
                )
            )
    return verdicts


def _judge_mode(runs: Mapping[str, Run]) -> str | None:
    """Return how verdicts were read: from log-probabilities or from the reply's text, the most frequent way first."""
    judged = [judgment for _, judgments in runs.values() for judgment in judgments if judgment.reply or judgment.usage]
    modes = Counter("logprobs" if "logprobs" in judgment.fields else "text" for judgment in judged)
    return ", ".join(mode for mode, _ in modes.most_common()) or None


def _ratio(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _line(row: SystemReport) -> dict[str, Any]:
    """Return a system's fields side by side, one level deep."""
    difference = row.difference
    paired = difference.interval if difference else None
    line: dict[str, Any] = {
        "system": row.system,
        "score": row.score,
        "score_low": row.interval and row.interval.low,
        "score_high": row.interval and row.interval.high,
        "difference": difference and difference.value,
        "difference_low": paired and paired.low,
        "difference_high": paired and paired.high,
        "probability_better": difference and difference.probability_better,
    }
    fields = ("is_single", "answers", "failed", "scored", "unparsable", "judge_failed", "mean_length")
    line |= {name: getattr(row, name) for name in fields}
    line |= asdict(row.spending)
    line |= {f"judge_{name}": value for name, value in asdict(row.judge_spending).items()}
    line |= {f"figure {name}": value for name, value in row.figures.items()}
    for breakdown, parts in row.breakdowns.items():
        line |= {f"{breakdown} {part}": value for part, value in parts.items()}
    return line
