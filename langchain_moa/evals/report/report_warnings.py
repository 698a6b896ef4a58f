"""Warnings in a report, whatever the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from langchain_moa.evals.failures import Failures
from langchain_moa.evals.report.findings import Run, SystemReport
from langchain_moa.evals.report.spending import models_of
from langchain_moa.evals.types import Answer, Judgment, Metric
from langchain_moa.prices import Prices


def metric_warnings(metrics: Mapping[str, Metric]) -> list[str]:
    """Return the metrics' warnings without duplicates, prefixed with the systems they apply to unless that is all."""
    systems: dict[str, list[str]] = {}
    for system, metric in metrics.items():
        for warning in metric.warnings:
            systems.setdefault(warning, []).append(system)
    return [
        warning if len(named) == len(metrics) else f"{', '.join(named)}: {warning}"
        for warning, named in systems.items()
    ]


def report_warnings(
    rows: Sequence[SystemReport],
    runs: Mapping[str, Run],
    *,
    baseline: str | None,
    failures: Failures,
    prices: Prices | None,
) -> list[str]:
    """Return warnings about the answers, judgments and comparisons."""
    warnings = []
    if baseline is None and len(rows) > 1:
        warnings.append("No system with a score is known to be a single model: name one to compare the others with.")
    warnings += [_failures(row, failures) for row in rows if row.failed]
    judges = models_of(judgment.usage for _, judgments in runs.values() for judgment in judgments)
    for system, (answers, _) in runs.items():
        warnings += [
            f"{system}: {warning}" for warning in (_self_preference(answers, judges), _silence(answers)) if warning
        ]
    if unpriced := _unpriced([line for run in runs.values() for lines in run for line in lines], prices):
        warnings.append(f"No price is known for {', '.join(map(repr, unpriced))}: what they took part in has no cost.")
    return warnings


def _failures(row: SystemReport, failures: Failures) -> str:
    counted = "count as wrong" if failures == "wrong" else "are left out"
    return f"{row.system}: {row.failed} of {row.answers} answers failed; they {counted}."


def _self_preference(answers: Sequence[Answer], judges: Sequence[str]) -> str | None:
    models = models_of(answer.usage for answer in answers)
    own = [judge for judge in judges if judge in models]
    return f"The judge {own[0]!r} also took part in the answers, and judges favor their own." if own else None


def _silence(answers: Sequence[Answer]) -> str | None:
    answered = [answer for answer in answers if answer.error is None]
    silent = sum(not answer.usage for answer in answered)
    if not 0 < silent < len(answered):
        return None
    return f"{silent} of {len(answered)} answers told no tokens; tokens and dollars are means over the others."


def _unpriced(lines: Sequence[Answer | Judgment], prices: Prices | None) -> list[str]:
    """Return the models without a known price."""
    if prices is None:
        return []
    used = {model: usage for line in lines for model, usage in line.usage.items()}
    return [model for model, usage in used.items() if prices.cost(model, usage) is None]
