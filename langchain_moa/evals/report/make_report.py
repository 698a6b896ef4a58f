"""From answers and judgments to a report: scores, intervals, comparisons and costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from langchain_moa.evals.failures import Failures, counted_as_wrong
from langchain_moa.evals.report.ceiling import ceiling_of
from langchain_moa.evals.report.comparisons import compare, controls_of, is_single, pairs_of
from langchain_moa.evals.report.findings import Run, SystemReport
from langchain_moa.evals.report.report import Report
from langchain_moa.evals.report.report_warnings import metric_warnings, report_warnings
from langchain_moa.evals.report.spending import judge_spending_of, spending_of
from langchain_moa.evals.statistics.averages import mean
from langchain_moa.evals.statistics.jackknife import Scores
from langchain_moa.evals.types import Benchmark, Metric
from langchain_moa.prices import Prices


def make_report(
    benchmark: Benchmark,
    runs: Mapping[str, Run],
    *,
    judge: str | None,
    prices: Prices | None,
    baseline: str | None = None,
    equal: Mapping[str, Sequence[str]] | None = None,
    failures: Failures = "wrong",
    detect: float | None = None,
    warnings: Sequence[str] = (),
) -> Report:
    """Compute scores, confidence intervals, comparisons and costs.

    Args:
        benchmark: The benchmark that was run.
        runs: `(answers, judgments)` by system name, in display order.
        judge: Name of the judge. `None`: no judge was needed.
        prices: Token prices. `None`: costs are left out.
        baseline: The system to compare the others with. Default: the single model with the best score, where a single
            model is a system of which nine answers in ten, or more, took one model call per turn.
        equal: By mixture, systems that were given the same money or the same number of calls: each is compared with
            its mixture, and with nothing else.
        failures: Whether a failed answer counts as `wrong`, with the lowest score possible, or is left out (`drop`).
        detect: A difference in the score's unit: the report says how many questions it takes to show it.
        warnings: Further warnings to show, before the report's own.

    Returns:
        The report, with a comparison of each composed system with each single model, and with each other unless a
            baseline is named. A verdict that depends on how failed answers count is withheld.

    Raises:
        ValueError: `runs` is empty, `baseline` is not among them, or `detect` is not above 0.
    """
    if not runs:
        msg = "There is nothing to report: pass at least one system."
        raise ValueError(msg)
    if detect is not None and detect <= 0:
        msg = f"The difference to detect must be above 0, not {detect:g}."
        raise ValueError(msg)
    if baseline is not None and baseline not in runs:
        msg = f"Baseline {baseline!r} is not among the systems: choose from {', '.join(map(repr, runs))}."
        raise ValueError(msg)
    wrong, dropped = _metrics(benchmark, runs)
    metrics, others = (wrong, dropped) if failures == "wrong" else (dropped, wrong)
    controls = controls_of(equal or {})
    alone = [system for system, (answers, _) in runs.items() if is_single(answers) and system not in controls]
    singles = [system for system in runs if system == baseline or system in alone]
    compared_with = baseline or _best({system: metrics[system] for system in singles})
    scores = Scores(metrics)
    rows = [
        _system_report(
            system,
            run,
            metrics[system],
            others[system],
            scores,
            baseline=compared_with,
            prices=prices,
            is_judged=judge is not None,
        )
        for system, run in runs.items()
    ]
    return Report(
        benchmark=benchmark.name,
        score_name=benchmark.score_name,
        judge=judge,
        judge_mode=_judge_mode(runs) if judge else None,
        baseline=compared_with,
        is_named=baseline is not None,
        failures=failures,
        detect=detect,
        prices=prices.source if prices else None,
        systems=rows,
        verdicts=compare(
            pairs_of(rows, singles, baseline=baseline, equal=equal or {}), rows, scores, Scores(others), detect=detect
        ),
        ceiling=ceiling_of({system: metrics[system] for system in alone}, scores),
        warnings=[
            *warnings,
            *metric_warnings(metrics),
            *report_warnings(rows, runs, baseline=compared_with, failures=failures, prices=prices),
        ],
    )


def _metrics(benchmark: Benchmark, runs: Mapping[str, Run]) -> tuple[dict[str, Metric], dict[str, Metric]]:
    """Return the metrics by system with failed answers counted as wrong, and with failed answers dropped."""
    dropped = {system: benchmark.metric(answers, judgments) for system, (answers, judgments) in runs.items()}
    wrong = {
        system: benchmark.metric(answers, counted_as_wrong(benchmark, answers, judgments))
        if any(answer.error is not None for answer in answers)
        else dropped[system]
        for system, (answers, judgments) in runs.items()
    }
    return wrong, dropped


def _best(metrics: Mapping[str, Metric]) -> str | None:
    scores = {system: score for system, metric in metrics.items() if (score := _known(metric.score())) is not None}
    return max(scores, key=scores.__getitem__, default=None)


def _system_report(
    system: str,
    run: Run,
    metric: Metric,
    otherwise: Metric,
    scores: Scores,
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
        interval=scores.interval(system),
        score_otherwise=_known(otherwise.score()) if otherwise is not metric else None,
        difference=scores.difference(system, baseline) if baseline not in (None, system) else None,
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


def _judge_mode(runs: Mapping[str, Run]) -> str | None:
    """Return how verdicts were read (`logprobs`, `text`), the most frequent first."""
    judged = [judgment for _, judgments in runs.values() for judgment in judgments if judgment.reply or judgment.usage]
    modes = Counter("logprobs" if "logprobs" in judgment.fields else "text" for judgment in judged)
    return ", ".join(mode for mode, _ in modes.most_common()) or None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
