"""The mixture options that `ask`, `chat` and `serve` share, and the model built from them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from langchain_moa.chat_models import ChatMoA
    from langchain_moa.proposers import Proposer

_DEBUG = "langchain_moa.debug"
_MIXTURE = "Mixture"


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
        help="The model that writes the final answer: a Together id, or provider:model.",
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
Rounds = Annotated[int | None, typer.Option(min=1, help="Number of rounds of proposers.", rich_help_panel=_MIXTURE)]
Temperature = Annotated[
    float | None, typer.Option(min=0, help="Sampling temperature, for all models.", rich_help_panel=_MIXTURE)
]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="Maximum tokens per answer, for all models.", rich_help_panel=_MIXTURE)
]
NumProc = Annotated[
    int | None,
    typer.Option(min=1, help="Maximum number of concurrent calls. Default: a whole layer.", rich_help_panel=_MIXTURE),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Time limit per proposer.",
        callback=_at_least_something,
        rich_help_panel=_MIXTURE,
    ),
]
# Not `aggregation.Mode`: importing that takes longer than `moa --help` should.
Aggregation = Annotated[
    Literal["synthesize", "select", "vote", "analyze"] | None,
    typer.Option(
        metavar="MODE",
        help="How the answer is made from the references: synthesize, select, vote or analyze. Default: synthesize.",
        rich_help_panel=_MIXTURE,
    ),
]
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
            ValueError: The options do not fit together, the line-up is unknown, or a key is missing.
        """
        from langchain_moa.chat_models import ChatMoA

        options: dict[str, Any] = {
            "model": self.model or ("local" if self.is_local_by_default else None),
            "proposers": list(self.proposers) or None,
            "aggregator": self.aggregator,
            "rounds": self.rounds,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "timeout": self.timeout,
            "aggregation": self.aggregation,
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
