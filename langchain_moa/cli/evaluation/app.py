"""The commands of `moa eval`."""

from __future__ import annotations

import logging
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from langchain_moa.cli.evaluation.commands import generate, import_export, judge, leave_one_out, report, run, search
from langchain_moa.cli.terminal.text import one_line


class _Resumable(TyperGroup):
    """A command group whose commands can be resumed after Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("moa: stopped; results so far are kept, and the same command continues from there.", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Resumable,
    no_args_is_help=True,
    help="Evaluate mixtures and models. On AlpacaEval 2, MT-Bench, FLASK, IFEval or your own task, with cost and time.",
)


@app.callback()
def _find_modules() -> None:
    # Find the user's factories and graders in the current directory. Last, so that they don't shadow installed modules.
    if "" not in sys.path:
        sys.path.append("")
    logger = logging.getLogger("langchain_moa.evals")
    if not any(isinstance(handler, _OnStderr) for handler in logger.handlers):
        logger.addHandler(_OnStderr())


class _OnStderr(logging.Handler):
    """Shows what is wrong with stored results."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(f"moa: {one_line(record.getMessage())}", err=True)


for _command in (
    run.run,
    generate.generate,
    judge.judge,
    report.report,
    leave_one_out.leave_one_out,
    search.search,
    import_export.export,
):
    app.command()(_command)
app.command(name="import")(import_export.import_)
