"""The commands of `moa eval`."""

from __future__ import annotations

import typer

from langchain_moa.cli import leave_one_out
from langchain_moa.cli.evaluation import exchange, generate, judge, report, run

app = typer.Typer(
    no_args_is_help=True,
    help="Is a mixture worth it here? AlpacaEval 2, MT-Bench, FLASK and your own task, with cost and latency.",
)
for _command in (run.run, generate.generate, judge.judge, report.report, leave_one_out.leave_one_out, exchange.export):
    app.command()(_command)
app.command(name="import")(exchange.import_)
