"""The mixture options that commands share, and the model built from them."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import typer

from langchain_moa.cli.attachments import decode
from langchain_moa.cli.config import ENVIRONMENT, Config, load_config
from langchain_moa.cli.declared_options import DeclaredOption, declared_options

if TYPE_CHECKING:
    from langchain_moa.chat_models import ChatMoA

_DEBUG = "langchain_moa.debug"
_MIXTURE, _DETAILS = "Mixture", "Details of the mixture"
_COMMON = ("model", "proposers", "rounds", "aggregator", "temperature", "max_tokens", "timeout", "aggregation", "judge")

# Options that the commands set themselves.
_ALWAYS_ON = ("include_references",)
_METAVARS = {"model": "LINEUP", "proposers": "MODEL", "aggregator": "MODEL", "judge": "MODEL"}
_KINDS = {int: "INT", float: "NUMBER", int | float: "NUMBER", str: "TEXT"}
_HELP = {
    "model": "A line-up, or a mixture of the configuration file; `moa lineups` lists them.",
    "prices": (
        'JSON file of prices, {model: {"input": …, "output": …}} in USD per million tokens. They come before those of '
        "the package genai-prices."
    ),
    "proposers": (
        "A proposer model; repeatable. Its settings follow after commas: "
        "MODEL,samples=3,temperature=1,instructions=Doubt it. So do those of the other models."
    ),
}
_FLAGS = {
    "model": ("--model", "-m"),
    "proposers": ("--proposer", "-p"),
    "fallback_aggregators": ("--fallback-aggregator",),
}


def debugging(ctx: typer.Context) -> bool:
    """Whether `--debug` was given, before or after the command."""
    return bool(ctx.find_root().meta.get(_DEBUG))


def _remember_debug(ctx: typer.Context, value: bool) -> bool:
    if value:
        ctx.find_root().meta[_DEBUG] = True
    return value


Debug = Annotated[bool, typer.Option("--debug", callback=_remember_debug, help="Show the traceback of an error.")]
NumProc = Annotated[
    int | None,
    typer.Option(min=1, help="Maximum number of concurrent calls. Default: a whole layer.", rich_help_panel=_MIXTURE),
]
System = Annotated[str | None, typer.Option("--system", "-s", help="System message.", rich_help_panel=_MIXTURE)]


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        exists=True,
        dir_okay=False,
        envvar=ENVIRONMENT,
        help="Configuration file; see `moa config`.",
        rich_help_panel=_MIXTURE,
    ),
]


@dataclass(frozen=True, kw_only=True)
class MixtureOptions:
    """The options of a mixture: those given, and those of the configuration file."""

    given: Mapping[str, Any] = field(default_factory=dict)
    """By name, from the command line and the environment."""

    config: Config = field(default_factory=Config)
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each given option comes from, by name."""

    @property
    def name(self) -> str | None:
        """The line-up or mixture that is named. `None`: none is."""
        named: str | None = self.given.get("model") or self.config.defaults.get("model")
        return named

    @property
    def is_local_by_default(self) -> bool:
        """Whether the embedded model answers, because no model is named and there is no Together key."""
        options = {**self.config.defaults, **self.given}
        named = any(options.get(name) for name in ("model", "proposers", "layers", "aggregator", "api_key"))
        return not named and not os.environ.get("TOGETHER_API_KEY")

    def switched_to(self, lineup: str) -> MixtureOptions:
        """Return a copy with another line-up's proposers and aggregator."""
        rest = {name: value for name, value in self.given.items() if name not in ("proposers", "aggregator")}
        return replace(self, given={**rest, "model": lineup})

    def of(self, name: str) -> MixtureOptions:
        """Return the options of a mixture of the configuration file, by its name alone."""
        return MixtureOptions(given={"model": name}, config=self.config)

    def options(self) -> dict[str, Any]:
        """Return the options for `ChatMoA`, as far as they are not its defaults."""
        own = self.config.mixtures.get(self.name or "", {})
        label = {"model": self.name} if self.name else {"model": "local"} if self.is_local_by_default else {}
        return {**self.config.defaults, **label, **own, **{n: v for n, v in self.given.items() if n != "model"}}

    def build(self, **decoding: Any) -> ChatMoA:
        """Build the model.

        Args:
            decoding: Further options, which win.

        Raises:
            ValueError: The options do not fit together, the line-up is unknown, or a key is missing; or the price file
                is malformed.
            OSError: The price file can't be read.
        """
        from pydantic import ValidationError

        from langchain_moa.chat_models import ChatMoA
        from langchain_moa.cli.error_messages import explain

        try:
            return ChatMoA(**{**self.options(), **decoding}, include_references=True)
        except ValidationError as error:
            if self.name not in self.config.mixtures:
                raise
            where = [detail["loc"] for detail in error.errors()]
            keys = [str(part) for parts in (-1, 0) for loc in where for part in loc[parts:][:1]]
            place = self.config.place(f"mixtures.{self.name}", *keys)
            raise ValueError(f"{place}: {explain(error)}") from None


def takes_a_mixture(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every option of a mixture. It receives them as its argument `mixture`."""
    hints = get_type_hints(command, include_extras=True)
    own = [parameter for parameter in inspect.signature(command).parameters.values() if parameter.name != "mixture"]
    options = dict(_parameters())

    def run(ctx: typer.Context, **values: Any) -> Any:
        for name, value in values.items():
            _check_text(name, value)
        given = {name: values.pop(name) for name in options}
        sources = {name: _source(ctx, name) for name, value in given.items() if value not in (None, [])}
        config = load_config(given.pop("config"))
        models = given.pop("reference_models")
        given["proposers"] = [*(given["proposers"] or []), *_split(models)]
        mixture = MixtureOptions(
            given={name: _value(name, value) for name, value in given.items() if value not in (None, [])},
            config=config,
            sources=sources,
        )
        return command(**values, mixture=mixture)

    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(parameter.replace(annotation=hints[parameter.name]) for parameter in own),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in options.items()
        ),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def tell_if_local(mixture: MixtureOptions) -> None:
    """Print a note on stderr if the embedded model answers."""
    if mixture.is_local_by_default:
        typer.echo(
            "TOGETHER_API_KEY is not set: using the line-up 'local', a tiny model for trying things out, with poor "
            "answers. For real answers set the key, or name models with --model, --proposer and --aggregator.",
            err=True,
        )


def _parameters() -> Iterator[tuple[str, Any]]:
    """Yield the name and annotation of each option on the command line."""
    yield "config", ConfigFile
    for option in declared_options().values():
        if option.type is not None and option.name not in _ALWAYS_ON:
            # Typer takes no union: with a parser of its own, the type only has to be one.
            kind = float if option.type == int | float else option.type
            yield option.name, Annotated[kind | None, _typer_option(option)]
        if option.name == "prices":
            table = typer.Option(
                exists=True,
                dir_okay=False,
                envvar=_variable("prices"),
                show_envvar=False,
                help=_HELP["prices"],
                rich_help_panel=_DETAILS,
            )
            yield "prices", Annotated[Path | None, table]
        if option.name == "proposers":
            several = typer.Option(
                metavar="MODEL,MODEL", help="Proposer models, comma-separated.", rich_help_panel=_MIXTURE
            )
            yield "reference_models", Annotated[list[str] | None, several]


def _typer_option(option: DeclaredOption) -> Any:
    name = option.name
    settings: dict[str, Any] = {
        "envvar": _variable(name),
        "show_envvar": False,
        "help": _HELP.get(name) or _brief(option.text),
        "rich_help_panel": _MIXTURE if name in _COMMON else _DETAILS,
    }
    if _is_of_models(name):
        settings["metavar"] = _METAVARS.get(name, "MODEL")
    elif option.type is not bool:
        settings["metavar"] = "SECONDS" if option.text.startswith("Seconds") else _KINDS.get(option.type, "MODE")
    if option.type == int | float:
        settings["parser"] = _number
    if "ge" in option.limits:
        settings["min"] = option.limits["ge"]
    if "gt" in option.limits:
        settings["callback"] = _above(option.limits["gt"])
    if name == "model":
        settings["callback"] = _a_line_up
    return typer.Option(*_FLAGS.get(name, ()), **settings)


def _variable(name: str) -> str:
    """Return the environment variable that sets an option."""
    return f"MOA_{name.upper()}"


def _is_of_models(name: str) -> bool:
    """Tell whether an option names models, or the line-up of several."""
    return name in _METAVARS or name.endswith("aggregators")


def _brief(text: str) -> str:
    """Return the first sentence of an option's text, and its default."""
    sentences = re.split(r"(?<=\.) (?=[A-Z])", text)
    return " ".join([sentences[0], *(sentence for sentence in sentences[1:] if sentence.startswith("Default"))])


def _number(text: str) -> int | float:
    """Read a count such as `3`, or a fraction such as `0.5`."""
    try:
        return int(text) if re.fullmatch(r"\s*\d+\s*", text) else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number.") from None


def _above(limit: float) -> Callable[[float | None], float | None]:
    def check(value: float | None) -> float | None:
        if value is not None and value <= limit:
            raise typer.BadParameter(f"must be greater than {limit:g}.")
        return value

    return check


def _a_line_up(value: str | None) -> str | None:
    """Say what was meant by a model in the place of a line-up; in the original's bot.py it was the aggregator."""
    if value and value.lower() == "togethercomputer/moa-1":
        raise typer.BadParameter(f"{value!r} is an endpoint of Together; its counterpart here is --model default.")
    if value and ("/" in value or ":" in value):
        raise typer.BadParameter(
            f"{value!r} is a model, and --model takes a line-up: write --aggregator {value} to have it write the "
            f"answer, or --proposer {value} to have it propose."
        )
    return value


def _source(ctx: typer.Context, name: str) -> str:
    source = ctx.get_parameter_source(name)
    return _variable(name) if source is not None and source.name == "ENVIRONMENT" else "command line"


def _check_text(name: str, value: Any) -> None:
    """Refuse a text in another encoding, which would fail when it is sent: after others may have been paid for."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and name != "question":  # a command reads that itself, with what is piped to it
            decode(os.fsencode(text), name=f"--{name.replace('_', '-')}")


def _split(listed: list[str] | None) -> list[str]:
    return [name.strip() for models in listed or [] for name in models.split(",") if name.strip()]


def _value(name: str, value: Any) -> Any:
    """Read the settings of models, `MODEL,temperature=1,samples=3`, and files."""
    if name == "prices":
        from langchain_moa.prices import read_table

        return read_table(value)
    if name == "model" or not _is_of_models(name):
        return value
    return [_with_settings(one) for one in value] if isinstance(value, list) else _with_settings(cast("str", value))


def _with_settings(text: str) -> str | dict[str, str]:
    # A comma is part of a text, such as the instructions, unless a setting's name follows it.
    model, *settings = re.split(r",\s*(?=[a-z_]+=)", text)
    pairs = (setting.partition("=") for setting in settings)
    return {"model": model.strip(), **{name: value for name, _, value in pairs}} if settings else model
