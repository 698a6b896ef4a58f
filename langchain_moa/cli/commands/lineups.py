"""`moa lineups`: list the line-ups."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_moa.cli import mixture_options as options


def lineups(
    name: Annotated[str | None, typer.Argument(metavar="LINEUP", help="Describe this one.")] = None,
    debug: options.Debug = False,
) -> None:
    """List the line-ups with their sources, or describe one."""
    if name is not None:
        _describe(name)
        return
    from rich.console import Console

    from langchain_moa.cli.mixture_options import describe_proposer
    from langchain_moa.cli.terminal.answer_view import print_rows
    from langchain_moa.lineups import LINEUPS

    console = Console()
    if not console.is_terminal:
        header = ["name", "proposers", "aggregator", "judge", "rounds", "source", "date", "description"]
        rows = [
            [
                name,
                ", ".join(map(describe_proposer, x.proposers)),
                x.aggregator,
                x.judge or "",
                str(x.rounds),
                x.source,
                x.date,
                x.description,
            ]
            for name, x in LINEUPS.items()
        ]
    else:  # a terminal is too narrow for eight columns
        header = ["line-up", "proposers → aggregator", "rounds", "description, source, date"]
        rows = [
            [
                name,
                "\n".join(
                    [
                        *map(describe_proposer, x.proposers),
                        f"→ {x.aggregator}",
                        *([f"judge: {x.judge}"] if x.judge else []),
                    ]
                ),
                str(x.rounds),
                f"{x.description}\n{x.source}, {x.date}",
            ]
            for name, x in LINEUPS.items()
        ]
    print_rows(console, header, rows, whole=1)


def _describe(name: str) -> None:
    from langchain_moa._models.description import Description
    from langchain_moa.lineups import get_lineup
    from langchain_moa.options import MoAOptions

    lineup = get_lineup(name)
    typer.echo(Description.of(MoAOptions(model=name)))
    if lineup.judge:
        typer.echo(f"With --aggregation select or analyze, {lineup.judge} judges.")
    typer.echo(f"\n{lineup.description}\nSource: {lineup.source}, {lineup.date}")
