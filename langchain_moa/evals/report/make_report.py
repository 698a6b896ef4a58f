"""From answers and judgments to a report: scores, intervals, comparisons and costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from langchain_moa.evals.report.findings import Comparison, Run, SystemReport
from langchain_moa.evals.report.report import Report
from langchain_moa.evals.report.report_warnings import metric_warnings, report_warnings
from langchain_moa.evals.report.spending import judge_spending_of, spending_of
from langchain_moa.evals.statistics.bootstrap import DRAWS, Bootstrap, mean
from langchain_moa.evals.types import Answer, Benchmark, Metric
from langchain_moa.prices import Prices


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
    """Compute scores, confidence intervals, comparisons and costs.

    Args:
        benchmark: The benchmark that was run.
        runs: `(answers, judgments)` by system name, in display order.
        judge: Name of the judge. `None`: no judge was needed.
        prices: Token prices. `None`: costs are left out.
        baseline: The system to compare the others with. Default: the single model with the best score, where a single
            model is a system whose every answer took one model call per turn.
        seed: Random seed of the bootstrap.
        warnings: Further warnings to show, before the report's own.

    Returns:
        The report, with a comparison of each composed system with each single model.

    Raises:
        ValueError: `runs` is empty, or `baseline` is not among them.
    """
    if not runs:
        msg = "There is nothing to report: pass at least one system."
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
    verdicts = _compare(rows, singles, bootstrap)
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
    """Whether each answer took one model call per turn. `None`: the calls were not counted."""
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


def _compare(rows: Sequence[SystemReport], singles: Sequence[str], bootstrap: Bootstrap) -> list[Comparison]:
    """Compare each composed system with each single model."""
    comparisons = []
    for row in (row for row in rows if row.system not in singles and row.failed < row.answers):
        for single in (row for row in rows if row.system in singles):
            difference = bootstrap.difference(row.system, single.system)
            comparisons.append(
                Comparison(
                    system=row.system,
                    single=single.system,
                    outcome=difference.outcome if difference else None,
                    difference=difference,
                    cost_factor=_ratio(row.spending.usd_per_100, single.spending.usd_per_100),
                    latency_factor=_ratio(row.spending.latency_p50, single.spending.latency_p50),
                )
            )
    return comparisons


def _judge_mode(runs: Mapping[str, Run]) -> str | None:
    """Return how verdicts were read (`logprobs`, `text`), the most frequent first."""
    judged = [judgment for _, judgments in runs.values() for judgment in judgments if judgment.reply or judgment.usage]
    modes = Counter("logprobs" if "logprobs" in judgment.fields else "text" for judgment in judged)
    return ", ".join(mode for mode, _ in modes.most_common()) or None


def _ratio(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
