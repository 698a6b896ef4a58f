"""`moa lineups`: list the line-ups."""

from __future__ import annotations

from langchain_moa.cli import mixture_options as options


def lineups(debug: options.Debug = False) -> None:
    """List the line-ups with their sources."""
    from rich.console import Console

    from langchain_moa.cli.mixture_options import describe_proposer
    from langchain_moa.cli.terminal.answer_view import print_rows
    from langchain_moa.lineups import LINEUPS

    console = Console()
    if not console.is_terminal:
        header = ["name", "proposers", "aggregator", "rounds", "source", "date", "description"]
        rows = [
            [
                name,
                ", ".join(map(describe_proposer, x.proposers)),
                x.aggregator,
                str(x.rounds),
                x.source,
                x.date,
                x.description,
            ]
            for name, x in LINEUPS.items()
        ]
    else:  # a terminal is too narrow for seven columns
        header = ["line-up", "proposers → aggregator", "rounds", "description, source, date"]
        rows = [
            [
                name,
                "\n".join([*map(describe_proposer, x.proposers), f"→ {x.aggregator}"]),
                str(x.rounds),
                f"{x.description}\n{x.source}, {x.date}",
            ]
            for name, x in LINEUPS.items()
        ]
    print_rows(console, header, rows, whole=1)
