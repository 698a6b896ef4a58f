"""`moa lineups`: list the line-ups and the configuration file's mixtures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_moa.cli import mixture_options as options
from langchain_moa.cli.config import load_config

if TYPE_CHECKING:
    from langchain_moa.lineups import Lineup


def lineups(
    name: Annotated[str | None, typer.Argument(metavar="LINEUP", help="Describe this one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: options.ConfigFile = None,
    debug: options.Debug = False,
) -> None:
    """List the line-ups with their sources and the mixtures of the configuration file, or describe one."""
    from langchain_moa.lineups import LINEUPS, get_lineup

    own = load_config(config).mixtures
    if as_json:
        names = dict.fromkeys([*LINEUPS, *own]) if name is None else [name]
        shown = {one: own[one] if one in own else _as_data(get_lineup(one)) for one in names}
        print(json.dumps(shown, ensure_ascii=False, indent=2))
    elif name is None:
        _list(LINEUPS, own)
    else:
        _describe(name, own)


def _as_data(lineup: Lineup) -> dict[str, Any]:
    data = asdict(lineup)
    data["proposers"] = [
        proposer if isinstance(proposer, str) else proposer.model_dump(exclude_defaults=True)
        for proposer in data["proposers"]
    ]
    return data


def _list(lineups: Mapping[str, Lineup], own: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.console import Console

    from langchain_moa.cli.mixture_options import describe_proposer
    from langchain_moa.cli.terminal.answer_view import print_rows

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
            for name, x in lineups.items()
        ]
        rows += [[name, *[""] * 6, "from the configuration file"] for name in own]
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
            for name, x in lineups.items()
        ]
        rows += [[name, "", "", f"from the configuration file; `moa lineups {name}` describes it"] for name in own]
    print_rows(console, header, rows, whole=1)


def _describe(name: str, own: Mapping[str, Mapping[str, Any]]) -> None:
    from langchain_moa._models.description import Description
    from langchain_moa.lineups import get_lineup
    from langchain_moa.options import MoAOptions

    if name in own:
        typer.echo(Description.of(MoAOptions(**{"model": name, **own[name]})))
        return
    lineup = get_lineup(name)
    typer.echo(Description.of(MoAOptions(model=name)))
    if lineup.judge:
        typer.echo(f"With --aggregation select or analyze, {lineup.judge} judges.")
    typer.echo(f"\n{lineup.description}\nSource: {lineup.source}, {lineup.date}")
