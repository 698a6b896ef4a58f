"""The commands of `moa eval`."""

from __future__ import annotations

import sys

import typer

from langchain_moa.cli.evaluation import exchange, generate, judge, leave_one_out, report, run

app = typer.Typer(
    no_args_is_help=True,
    help="Is a mixture worth it here? AlpacaEval 2, MT-Bench, FLASK and your own task, with cost and latency.",
)


@app.callback()
def _find_modules() -> None:
    # The user's own factories and graders lie where the command is run. Last, so that none takes the place of an
    # installed module.
    if "" not in sys.path:
        sys.path.append("")


for _command in (run.run, generate.generate, judge.judge, report.report, leave_one_out.leave_one_out, exchange.export):
    app.command()(_command)
app.command(name="import")(exchange.import_)
