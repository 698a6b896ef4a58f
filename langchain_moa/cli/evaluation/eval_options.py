"""The options that the commands of `moa eval` share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class JudgeMode(Enum):
    """How AlpacaEval's judge is read."""

    LOGPROBS = "logprobs"
    TEXT = "text"


Bench = Annotated[
    list[str],
    typer.Option(
        "--bench",
        metavar="BENCHMARK",
        help="alpaca_eval, mt_bench, flask, or the path of your own task's JSON Lines; repeatable.",
    ),
]
Systems = Annotated[
    list[str],
    typer.Option(
        "--system",
        metavar="NAME=SPEC",
        help="Who answers; repeatable. SPEC is, in this order: a line-up (`moa lineups`); `module:factory`, a function "
        "that returns a chat model and may take `temperature` and `max_tokens`, where there is such a module with such "
        "a function; a model: a Together id, provider:model, or local:model. SPEC alone is its own name.",
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--system", metavar="NAME", help="Whose answers; repeatable. `NAME=SPEC` will do. Default: all that are there."
    ),
]
Judge = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC", help="Who judges: as --system; `NAME=SPEC` names it. Not needed where nobody has to judge."
    ),
]
JudgeName = Annotated[
    str | None,
    typer.Option("--judge", metavar="NAME", help="Whose judgments, where there are several judges'. A SPEC will do."),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where everything is kept.", file_okay=False)]
Grader = Annotated[
    str | None,
    typer.Option(
        metavar="GRADER",
        help="How your own task is graded: exact, contains, numeric[:TOLERANCE], choice, regex[:PATTERN], "
        "module:function, or pairwise (a judge compares with --baseline, in both orders).",
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The system that the others are compared with. Default in reports: the best single model."
    ),
]
JudgeModeOption = Annotated[
    JudgeMode,
    typer.Option(
        help="AlpacaEval: read the judge's log-probabilities; or its text, for a judge without them. The figures are "
        "not comparable then."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only so many questions, drawn at random; marked as partial.")]
Seed = Annotated[int, typer.Option(help="Of the draw, and of the report's bootstrap.")]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Questions at a time. 1 measures latency as one user would see it.")
]
JudgeConcurrency = Annotated[int, typer.Option(min=1, help="Answers judged at a time.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Begin anew: discard what is there.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell how many calls and tokens it would take.")]
PricesOption = Annotated[
    str | None,
    typer.Option(
        "--prices",
        metavar="FILE",
        help='JSON, {model: {"input": …, "output": …}} in USD for a million tokens; or genai-prices, the package.',
    ),
]

OUT = Path("moa-eval")
CONCURRENCY = 8
