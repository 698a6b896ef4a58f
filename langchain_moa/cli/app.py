"""The Typer app: its commands, and the one place where errors are printed."""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from langchain_moa.cli.commands import ask, chat, config, doctor, download, lineups, serve
from langchain_moa.cli.error_messages import explain, is_expected
from langchain_moa.cli.evaluation import app as evaluation
from langchain_moa.cli.mixture_options import Debug, debugging
from langchain_moa.cli.terminal.help import fit_to_the_terminal, markup_mode
from langchain_moa.cli.terminal.text import clean


class _Group(TyperGroup):
    """A command group that prints errors as one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            if not is_expected(error):
                raise
            if debugging(ctx):
                typer.echo(clean("".join(traceback.format_exception(error))), err=True)
            typer.echo(f"moa: {explain(error)}", err=True)
            raise typer.Exit(1) from None


fit_to_the_terminal()
app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    # Tracebacks that show local variables would show keys.
    pretty_exceptions_enable=False,
    rich_markup_mode=markup_mode(),
    # As the original's bot.py spells its options: --reference_models, --max_tokens.
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
)
for _command in (ask.ask, chat.chat, serve.serve, lineups.lineups, doctor.doctor, download.download, config.config):
    app.command()(_command)
app.add_typer(evaluation.app, name="eval")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"moa {version('langchain-moa')}")
        raise typer.Exit


@app.callback()
def _moa(
    debug: Debug = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Ask several models at once and combine their answers into one (Mixture-of-Agents)."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # A character that the terminal can't show is no reason to end.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
