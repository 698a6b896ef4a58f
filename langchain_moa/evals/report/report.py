"""The report of an evaluation, and the formats it can be written in."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from langchain_moa.evals.report.findings import Findings, SystemReport
from langchain_moa.evals.report.tables import NOT_TOLD, markdown, sentence


class Report(Findings):
    """The results of an evaluation on one benchmark; `make_report` returns it."""

    def to_json(self) -> str:
        """Return the report as JSON; unknown values are `null`."""
        verdicts = [{**asdict(verdict), "text": sentence(verdict)} for verdict in self.verdicts]
        return json.dumps({**asdict(self), "verdicts": verdicts}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """Return the report as CSV, one line per system; unknown values are `n/a`."""
        about = {"benchmark": self.benchmark, "judge": self.judge, "failures": self.failures}
        lines = [{**about, **_line(row)} for row in self.systems]
        names = list(dict.fromkeys(name for line in lines for name in line))
        file = io.StringIO()
        writer = csv.DictWriter(file, names, restval=NOT_TOLD, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: NOT_TOLD if value is None else value for name, value in line.items()} for line in lines)
        return file.getvalue()

    def to_markdown(self) -> str:
        """Return the report as Markdown: verdicts, warnings and tables."""
        return markdown(self)

    def _repr_markdown_(self) -> str:
        """Return what a notebook shows."""
        return self.to_markdown()


def _line(row: SystemReport) -> dict[str, Any]:
    """Flatten a system's fields into one CSV line."""
    difference = row.difference
    paired = difference.interval if difference else None
    line: dict[str, Any] = {
        "system": row.system,
        "score": row.score,
        "score_low": row.interval and row.interval.low,
        "score_high": row.interval and row.interval.high,
        "score_otherwise": row.score_otherwise,
        "difference": difference and difference.value,
        "difference_low": paired and paired.low,
        "difference_high": paired and paired.high,
        "p_value": difference and difference.p_value,
    }
    fields = ("is_single", "answers", "failed", "scored", "unparsable", "judge_failed", "mean_length")
    line |= {name: getattr(row, name) for name in fields}
    line |= asdict(row.spending)
    line |= {f"judge_{name}": value for name, value in asdict(row.judge_spending).items()}
    line |= {f"figure {name}": value for name, value in row.figures.items()}
    for breakdown, parts in row.breakdowns.items():
        line |= {f"{breakdown} {part}": value for part, value in parts.items()}
    return line
