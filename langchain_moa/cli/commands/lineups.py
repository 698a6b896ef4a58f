"""`moa lineups`: which line-ups there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.cli import mixture_options as options

if TYPE_CHECKING:
    from langchain_moa.proposers import Proposer


def lineups(debug: options.Debug = False) -> None:
    """List the line-ups, with where they come from."""
    from rich.console import Console

    from langchain_moa.cli.terminal.answer_view import print_rows
    from langchain_moa.lineups import LINEUPS

    console = Console()
    if not console.is_terminal:
        header = ["name", "proposers", "aggregator", "rounds", "source", "date", "description"]
        rows = [
            [name, ", ".join(map(describe, x.proposers)), x.aggregator, str(x.rounds), x.source, x.date, x.description]
            for name, x in LINEUPS.items()
        ]
    else:  # a terminal is too narrow for seven columns
        header = ["line-up", "proposers → aggregator", "rounds", "description, source, date"]
        rows = [
            [
                name,
                "\n".join([*map(describe, x.proposers), f"→ {x.aggregator}"]),
                str(x.rounds),
                f"{x.description}\n{x.source}, {x.date}",
            ]
            for name, x in LINEUPS.items()
        ]
    print_rows(console, header, rows, whole=1)


def describe(proposer: str | Proposer) -> str:
    """Return a proposer's model, and what sets it apart."""
    if isinstance(proposer, str):
        return proposer
    name = f" ({proposer.name})" if proposer.name else ""
    samples = f" x{proposer.samples}" if proposer.samples > 1 else ""
    return f"{proposer.model}{name}{samples}"
