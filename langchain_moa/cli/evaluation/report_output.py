"""Print a report (formatted on a terminal, tab-separated otherwise), and write it to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from langchain_moa.cli.terminal.answer_view import print_rows
from langchain_moa.cli.terminal.text import clean, one_line
from langchain_moa.evals.report.tables import Table as Cells
from langchain_moa.evals.report.tables import correction, heading, sentence, tables

if TYPE_CHECKING:
    from langchain_moa.evals.report.answer_details import QuestionDetails
    from langchain_moa.evals.report.report import Report

_MARKS = {
    "better": ("▲", "green"),
    "worse": ("▼", "red"),
    "not distinguishable": ("≈", "yellow"),
    "withheld": ("?", "yellow"),
    None: ("?", "dim"),
}


def publish(folder: Path, report: Report, details: Sequence[QuestionDetails] = ()) -> None:
    """Print a report, and write it as `report.json`, `.csv`, `.md` and `.html` into a folder.

    Args:
        folder: The folder.
        report: The report.
        details: The questions that the page shows with all answers. Default: none.
    """
    print_report(Console(), report)
    write_report(folder, report, details)
    typer.echo(f"Report written to {folder / 'report.html'}, and next to it as .json, .csv and .md.", err=True)


def print_report(console: Console, report: Report) -> None:
    """Print the tables, then the verdicts and warnings."""
    if not console.is_terminal:
        _print_plain(console, report)
        return
    console.print(Text(one_line(report.benchmark), "bold"))
    console.print(Text(one_line(heading(report)), "dim"))
    for number, cells in enumerate(tables(report)):
        # A column per system: a terminal is too narrow for a column per figure.
        console.print(_table(_transposed(cells) if number < 2 else cells))
    for verdict in report.verdicts:
        mark, style = _MARKS[verdict.outcome]
        console.print(_item(mark, style, sentence(verdict)))
    if note := correction(report):
        console.print(_item(" ", "dim", note))
    for warning in report.warnings:
        console.print(_item("!", "yellow", warning))


def write_report(folder: Path, report: Report, details: Sequence[QuestionDetails]) -> None:
    """Write `report.json`, `.csv`, `.md` and `.html` into a folder."""
    from langchain_moa.evals.report.html_page import to_html
    from langchain_moa.evals.results.journal import write_whole

    contents = {
        "json": report.to_json(),
        "csv": report.to_csv(),
        "md": report.to_markdown(),
        "html": to_html(report, details),
    }
    for ending, content in contents.items():
        # Half an emoji, which some tokenizers send, is no UTF-8.
        write_whole(folder / f"report.{ending}", content.encode("utf-8", "replace"))


def _print_plain(console: Console, report: Report) -> None:
    lines = [report.benchmark, heading(report)]
    print(*map(one_line, lines), sep="\n", file=console.file)
    for cells in tables(report):
        print(file=console.file)
        print_rows(console, cells.header, cells.rows, whole=0)
    verdicts = [*map(sentence, report.verdicts), *filter(None, [correction(report)])]
    lines = [*verdicts, *(f"Warning: {warning}" for warning in report.warnings)]
    print("", *map(one_line, lines), sep="\n", file=console.file)


def _transposed(cells: Cells) -> Cells:
    header, *rows = map(list, zip(cells.header, *cells.rows, strict=True))
    return Cells(title=cells.title, header=header, rows=rows)


def _table(cells: Cells) -> Table:
    table = Table(title=Text(one_line(cells.title), "bold"), title_justify="left", box=box.SIMPLE_HEAD)
    for number, name in enumerate(cells.header):
        table.add_column(Text(one_line(name), overflow="fold"), justify="right" if number else "left")
    for row in cells.rows:
        table.add_row(*(Text(clean(cell), overflow="fold") for cell in row))
    return table


def _item(mark: str, style: str, text: str) -> Padding:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(mark, style), Text(one_line(text)))
    return Padding(grid, (0, 0, 0, 1))
