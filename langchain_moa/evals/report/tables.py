"""A report as text tables and sentences, shared by Markdown, terminal and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_moa.evals.report.findings import Comparison, Findings, SystemReport
from langchain_moa.evals.statistics.intervals import Interval

NOT_TOLD = "n/a"
"""Shown for unknown values."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text. The first column labels the rows, the others contain numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(report: Findings) -> list[Table]:
    """Return the report's tables: scores, costs, what the questions can show, all figures, and one per breakdown."""
    return [
        _scores(report),
        _costs(report),
        *_power(report),
        *_ceiling(report),
        *_figures(report),
        *_breakdowns(report),
    ]


def heading(report: Findings) -> str:
    """Return a one-line summary of what was measured and how."""
    judge = f"judge {report.judge}" if report.judge else "no judge"
    mode = f" ({report.judge_mode})" if report.judge_mode else ""
    prices = f"prices from {report.prices}" if report.prices else "no prices given"
    failures = "wrong" if report.failures == "wrong" else "left out"
    return f"{report.score_name}; {judge}{mode}; 95 % intervals; failed answers are {failures}; {prices}"


def correction(report: Findings) -> str:
    """Return how the verdicts are corrected for being several; empty if there are none."""
    count = sum(verdict.difference is not None for verdict in report.verdicts)
    if not count:
        return ""
    if report.is_named:
        chosen = f"; the baseline {report.baseline} was named."
    elif report.baseline is None:
        chosen = "."
    else:
        chosen = ", which also allows for choosing the best single model on the same questions: all are among them."
    return (
        f"Decided at 5 % with Holm's correction for {_counted(count, 'comparison')}{chosen} "
        "Intervals are of one comparison each."
    )


def sentence(verdict: Comparison) -> str:
    """Return a comparison as one sentence."""
    pair = f"{verdict.system} against {verdict.other}"
    difference = verdict.difference
    if difference is None or verdict.p_value is None:
        return f"{pair}: can't be compared, too few items count for both."
    price = f"for {_times(verdict.cost_factor)} the cost and {_times(verdict.latency_factor)} the latency"
    if verdict.outcome == "withheld":
        otherwise = (
            f"{verdict.otherwise.value:+.2f} ({_signed(verdict.otherwise.interval)})" if verdict.otherwise else NOT_TOLD
        )
        return (
            f"{pair}: withheld, because it depends on how failed answers count: {difference.value:+.2f} "
            f"({_signed(difference.interval)}), counted the other way {otherwise}; {price}; n = {difference.questions}."
        )
    low, high = difference.interval.low, difference.interval.high
    what = {
        "better": f"better by {difference.value:.2f} ({low:.2f} to {high:.2f})",
        "worse": f"worse by {-difference.value:.2f} ({-high:.2f} to {-low:.2f})",
    }.get(verdict.outcome or "", f"not distinguishable, {difference.value:+.2f} ({_signed(difference.interval)}),")
    return f"{pair}: {what} {price}; {_p(verdict.p_value)}, n = {difference.questions}."


def markdown(report: Findings) -> str:
    """Return a report as Markdown."""
    parts = [f"# {_escaped(report.benchmark)}", _escaped(heading(report))]
    verdicts = [*map(sentence, report.verdicts), *filter(None, [correction(report)])]
    for title, lines in (("Verdicts", verdicts), ("Warnings", report.warnings)):
        if lines:
            parts += [f"## {title}", "\n".join(f"- {_escaped(line)}" for line in lines)]
    for table in tables(report):
        rule = ["---", *("---:" for _ in table.header[1:])]
        rows = [table.header, rule, *table.rows]
        body = "\n".join(f"| {' | '.join(map(_escaped, row) if row is not rule else rule)} |" for row in rows)
        parts += [f"## {_escaped(table.title)}", body]
    return "\n\n".join(parts) + "\n"


def _scores(report: Findings) -> Table:
    header = ["system", "score", "95 % CI", f"difference to {report.baseline or 'best single'}", "95 % CI (paired)"]
    header += ["p (uncorrected)", "asked", "failed", "scored", "unparsable", "judge failed"]
    rows = []
    for row in report.systems:
        counts = (row.answers, row.failed, row.scored, row.unparsable, row.judge_failed)
        scores = [number(row.score), interval(row.interval), *_difference(row, report.baseline)]
        rows.append([row.system, *scores, *map(str, counts)])
    if any(row.failed for row in report.systems):
        header.insert(3, "failures left out" if report.failures == "wrong" else "failures as wrong")
        for cells, row in zip(rows, report.systems, strict=True):
            cells.insert(3, number(row.score_otherwise if row.failed else row.score))
    return Table(title="Scores", header=header, rows=rows)


def _difference(row: SystemReport, baseline: str | None) -> list[str]:
    if row.system == baseline:
        return ["baseline", "", ""]
    if row.difference is None:
        return [NOT_TOLD] * 3
    difference = row.difference
    return [f"{difference.value:+.2f}", interval(difference.interval), number(difference.p_value, ".3f")]


def _costs(report: Findings) -> Table:
    header = ["system", "characters a turn", "calls an item", "tokens in an item", "tokens out an item"]
    header += ["USD for 100 items", "latency p50 (s)", "latency p95 (s)"]
    header += ["judge calls", "judge tokens in", "judge tokens out", "judge USD"]
    rows = [
        [
            row.system,
            number(row.mean_length, ",.0f"),
            number(row.spending.calls, ".1f"),
            number(row.spending.input_tokens, ",.0f"),
            number(row.spending.output_tokens, ",.0f"),
            dollars(row.spending.usd_per_100),
            number(row.spending.latency_p50),
            number(row.spending.latency_p95),
            number(row.judge_spending.calls),
            number(row.judge_spending.input_tokens),
            number(row.judge_spending.output_tokens),
            dollars(row.judge_spending.usd),
        ]
        for row in report.systems
    ]
    return Table(title="Costs", header=header, rows=rows)


def _power(report: Findings) -> list[Table]:
    """Return the table of differences that so many questions can show, if there are comparisons."""
    known = [(one, one.difference) for one in report.verdicts if one.difference]
    header = ["80 % power, corrected", "questions", "SD of the difference", "shows differences from"]
    rows = [
        [
            f"{one.system} against {one.other}",
            number(difference.questions),
            number(difference.spread),
            number(one.detectable),
        ]
        for one, difference in known
    ]
    if report.detect is not None:
        header.append(f"questions for {report.detect:g}")
        rows = [[*cells, number(one.needed)] for cells, (one, _) in zip(rows, known, strict=True)]
    return [Table(title="What the questions can show", header=header, rows=rows)] if rows else []


def _ceiling(report: Findings) -> list[Table]:
    """Return the table of what no choice among the single models can pass, if that is known."""
    ceiling = report.ceiling
    if ceiling is None:
        return []
    members = ", ".join(ceiling.members)
    return [
        Table(
            title="What no choice among the single models can pass",
            header=["single models", "questions (%)", "95 % CI (exact)", "n"],
            rows=[
                [
                    f"oracle: any of {members} is right",
                    *_share(ceiling.oracle, ceiling.oracle_interval),
                    str(ceiling.questions),
                ],
                [f"beta: all of {members} fail", *_share(ceiling.beta, ceiling.beta_interval), str(ceiling.questions)],
            ],
        )
    ]


def _share(value: float, around: Interval | None) -> list[str]:
    return [number(value), interval(around)]


def _figures(report: Findings) -> list[Table]:
    """Return the table of further scores, if there are any."""
    figures = [row.figures for row in report.systems]
    table = _by_system(report, "All figures", "figure", figures)
    return [table] if len(table.rows) > 1 else []


def _breakdowns(report: Findings) -> list[Table]:
    names = dict.fromkeys(name for row in report.systems for name, parts in row.breakdowns.items() if parts)
    return [
        _by_system(report, f"Score by {name}", name, [row.breakdowns.get(name, {}) for row in report.systems])
        for name in names
    ]


def _by_system(report: Findings, title: str, what: str, values: Sequence[Mapping[str, float | None]]) -> Table:
    """Return a table with a column per system; `values` are in the systems' order."""
    names = dict.fromkeys(name for by_name in values for name in by_name)
    return Table(
        title=title,
        header=[what, *(row.system for row in report.systems)],
        rows=[[name, *(number(by_name.get(name)) for by_name in values)] for name in names],
    )


def number(value: float | None, form: str = ".2f") -> str:
    """Format a number, a count without decimals. `n/a`: unknown."""
    if value is None:
        return NOT_TOLD
    return format(value, ",d" if isinstance(value, int) else form)


def dollars(value: float | None) -> str:
    """Format dollars, small amounts with two significant digits."""
    return number(value, ",.2f" if value is None or value == 0 or value >= 0.1 else ".2g")


def interval(value: Interval | None) -> str:
    """Format an interval."""
    return NOT_TOLD if value is None else f"{value.low:.2f} to {value.high:.2f}"


def _signed(value: Interval) -> str:
    return f"{value.low:+.2f} to {value.high:+.2f}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"


def _times(factor: float | None) -> str:
    return f"{NOT_TOLD} times" if factor is None else f"{factor:.1f} times"


def _escaped(text: str) -> str:
    """Escape text for Markdown, on one line."""
    text = " ".join(text.split())
    return "".join(f"\\{character}" if character in r"\`*_[]<>|#" else character for character in text)
