"""`moa lineups`: list the line-ups and the configuration file's mixtures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from langchain_moa._models.labeled_rows import labeled_rows
from langchain_moa.cli import mixture_options as options
from langchain_moa.cli.config import load_config
from langchain_moa.cli.mixture_options import MixtureOptions
from langchain_moa.lineups import LINEUPS, Lineup, get_lineup


def lineups(
    name: Annotated[str | None, typer.Argument(metavar="LINEUP", help="Describe this one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: options.ConfigFile = None,
    debug: options.Debug = False,
) -> None:
    """List the line-ups and the mixtures of the configuration file. With a name, describe one."""
    from langchain_moa.cli.terminal.answer_view import print_text

    file = load_config(config)
    own = {mixture: MixtureOptions(config=file).of(mixture).options() for mixture in file.mixtures}
    if as_json:
        names = dict.fromkeys([*LINEUPS, *own]) if name is None else [name]
        shown = {one: own[one] if one in own else _as_data(get_lineup(one)) for one in names}
        print(json.dumps(shown, ensure_ascii=False, indent=2))
    elif name is None:
        _list(own)
    else:
        print_text(_describe_own(own[name]) if name in own else _describe(name, get_lineup(name)))


def _as_data(lineup: Lineup) -> dict[str, Any]:
    data = asdict(lineup)
    return {"proposers": data.pop("proposer_data"), **data}


def _list(own: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from langchain_moa.cli.terminal.answer_view import print_rows

    console = Console(highlight=False)
    if console.is_terminal:  # which is too narrow for eight columns
        told = {name: _in_three_lines(lineup) for name, lineup in LINEUPS.items()}
        told |= {name: f"from the configuration file; `moa lineups {name}` describes it" for name in own}
        for name, text in told.items():
            console.print(Text(name, "bold"))
            console.print(Padding(Text(text), (0, 0, 0, 2)))
        return
    header = ["name", "proposers", "aggregator", "judge", "rounds", "source", "date", "description"]
    rows = [
        [name, ", ".join(_proposers(x)), x.aggregator, x.judge or "", str(x.rounds), x.source, x.date, x.description]
        for name, x in LINEUPS.items()
    ]
    rows += [[name, *[""] * 6, "from the configuration file"] for name in own]
    print_rows(console, header, rows, whole=0)


def _in_three_lines(lineup: Lineup) -> str:
    rounds = f" in {lineup.rounds} rounds" if lineup.rounds > 1 else ""
    judge = f"; {lineup.judge} judges" if lineup.judge else ""
    taking_part = f"{', '.join(_proposers(lineup))}{rounds} → {lineup.aggregator}{judge}"
    return f"{lineup.description}\n{taking_part}\n{lineup.source}, {lineup.date}"


def _describe(name: str, lineup: Lineup) -> str:
    """Say who takes part in a line-up as `ChatMoA.describe` does, without LangChain, which takes long to load."""
    at_a_time = f", {lineup.window} references at a time" if lineup.window else ""
    rows = [
        *((f"Layer {number}", ", ".join(_proposers(lineup))) for number in range(1, lineup.rounds + 1)),
        ("Aggregator", lineup.aggregator),
        *([("Fallbacks", ", ".join(lineup.fallback_aggregators))] if lineup.fallback_aggregators else []),
        ("Aggregation", f"synthesize{at_a_time}"),
        ("Calls per answer", str(lineup.calls)),
    ]
    judge = f"With --aggregation select or analyze, {lineup.judge} judges.\n" if lineup.judge else ""
    return f"{labeled_rows(name, rows)}\n{judge}\n{lineup.description}\nSource: {lineup.source}, {lineup.date}"


def _describe_own(mixture: Mapping[str, Any]) -> str:
    from langchain_moa._models.description import Description
    from langchain_moa.options import MoAOptions

    return str(Description.of(MoAOptions(**mixture)))


def _proposers(lineup: Lineup) -> list[str]:
    """Return each proposer's model, with its name and number of samples if set."""
    return [one if isinstance(one, str) else _with_name_and_samples(**one) for one in lineup.proposer_data]


def _with_name_and_samples(*, model: str, name: str = "", samples: int = 1, **_: Any) -> str:
    return model + (f" ({name})" if name else "") + (f" x{samples}" if samples > 1 else "")
