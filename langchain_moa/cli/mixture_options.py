"""The mixture options that `ask`, `chat` and `serve` share, and the model built from them."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from langchain_moa.chat_models import ChatMoA
    from langchain_moa.proposers import Proposer

_DEBUG = "langchain_moa.debug"
_MIXTURE = "Mixture"


@cache
def _texts() -> dict[str, str]:
    """Return the options' texts. They are read from the source: importing it takes longer than `moa --help` should."""
    module = ast.parse(files("langchain_moa").joinpath("options.py").read_text("utf-8"))
    options = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "MoAOptions")
    texts = {}
    for field, text in pairwise(options.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            texts[ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).replace("`", "").split())
    return texts


def debugging(ctx: typer.Context) -> bool:
    """Whether `--debug` was given, before or after the command."""
    return bool(ctx.find_root().meta.get(_DEBUG))


def _remember_debug(ctx: typer.Context, value: bool) -> bool:
    if value:
        ctx.find_root().meta[_DEBUG] = True
    return value


def _at_least_something(value: float | None) -> float | None:
    if value is not None and value <= 0:
        raise typer.BadParameter("must be greater than 0 seconds.")
    return value


Debug = Annotated[bool, typer.Option("--debug", callback=_remember_debug, help="Show the traceback of an error.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="LINEUP", help="A line-up; `moa lineups` lists them.", rich_help_panel=_MIXTURE
    ),
]
Aggregator = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help=_texts()["aggregator"],
        rich_help_panel=_MIXTURE,
    ),
]
Proposers = Annotated[
    list[str] | None,
    typer.Option("--proposer", "-p", metavar="MODEL", help="A proposer model; repeatable.", rich_help_panel=_MIXTURE),
]
ReferenceModels = Annotated[
    str | None,
    typer.Option(metavar="MODEL,MODEL", help="Proposer models, comma-separated.", rich_help_panel=_MIXTURE),
]
Rounds = Annotated[int | None, typer.Option(min=1, help=_texts()["rounds"], rich_help_panel=_MIXTURE)]
Temperature = Annotated[float | None, typer.Option(min=0, help=_texts()["temperature"], rich_help_panel=_MIXTURE)]
MaxTokens = Annotated[int | None, typer.Option(min=1, help=_texts()["max_tokens"], rich_help_panel=_MIXTURE)]
NumProc = Annotated[
    int | None,
    typer.Option(min=1, help="Maximum number of concurrent calls. Default: a whole layer.", rich_help_panel=_MIXTURE),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help=_texts()["timeout"],
        callback=_at_least_something,
        rich_help_panel=_MIXTURE,
    ),
]
# Not the option's own type: importing it takes longer than `moa --help` should.
Aggregation = Annotated[
    Literal["synthesize", "select", "vote", "analyze"] | None,
    typer.Option(
        metavar="MODE",
        help=_texts()["aggregation"],
        rich_help_panel=_MIXTURE,
    ),
]
Prices = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help='JSON file of prices, {model: {"input": …, "output": …}} in USD per million tokens. '
        "They come before those of the package genai-prices.",
        rich_help_panel=_MIXTURE,
    ),
]
MaxCost = Annotated[float | None, typer.Option(metavar="USD", help=_texts()["max_cost"], rich_help_panel=_MIXTURE)]
System = Annotated[str | None, typer.Option("--system", "-s", help="System message.", rich_help_panel=_MIXTURE)]


@dataclass(frozen=True, kw_only=True)
class MixtureOptions:
    """The mixture options given on the command line. `None`: the line-up's own value."""

    model: str | None = None
    proposers: tuple[str, ...] = ()
    aggregator: str | None = None
    rounds: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    aggregation: str | None = None
    prices: Path | None = None
    max_cost: float | None = None

    @property
    def is_local_by_default(self) -> bool:
        """Whether the embedded model answers, because no model is named and there is no Together key."""
        named = self.model or self.proposers or self.aggregator
        return not named and not os.environ.get("TOGETHER_API_KEY")

    @property
    def lineup(self) -> str:
        """The line-up that supplies the options that are not given."""
        return self.model or ("local" if self.is_local_by_default else "default")

    def switched_to(self, lineup: str) -> MixtureOptions:
        """Return a copy with another line-up's proposers and aggregator."""
        return replace(self, model=lineup, proposers=(), aggregator=None)

    def build(self) -> ChatMoA:
        """Build the model.

        Raises:
            ValueError: The options do not fit together, the line-up is unknown, or a key is missing; or the price file
                is malformed.
            OSError: The price file can't be read.
        """
        from langchain_moa.chat_models import ChatMoA
        from langchain_moa.prices import read_table

        options: dict[str, Any] = {
            "model": self.model or ("local" if self.is_local_by_default else None),
            "proposers": list(self.proposers) or None,
            "aggregator": self.aggregator,
            "rounds": self.rounds,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "timeout": self.timeout,
            "aggregation": self.aggregation,
            "prices": read_table(self.prices) if self.prices else None,
            "max_cost": self.max_cost,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return ChatMoA(**given, include_references=True)


def all_proposers(repeated: list[str] | None, listed: str | None) -> tuple[str, ...]:
    """Combine the models of `--proposer` and `--reference-models`."""
    names = [*(repeated or []), *(listed or "").split(",")]
    return tuple(name.strip() for name in names if name.strip())


def tell_if_local(mixture: MixtureOptions) -> None:
    """Print a note on stderr if the embedded model answers."""
    if mixture.is_local_by_default:
        typer.echo(
            "TOGETHER_API_KEY is not set: using the line-up 'local', a tiny model for trying things out, with poor "
            "answers. For real answers set the key, or name models with --model, --proposer and --aggregator.",
            err=True,
        )


def describe_proposer(proposer: str | Proposer) -> str:
    """Return a proposer's model, with its name and number of samples if set."""
    if isinstance(proposer, str):
        return proposer
    name = f" ({proposer.name})" if proposer.name else ""
    samples = f" x{proposer.samples}" if proposer.samples > 1 else ""
    return f"{proposer.model}{name}{samples}"
