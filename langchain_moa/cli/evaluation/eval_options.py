"""The options that the commands of `moa eval` share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Failures(Enum):
    """How failed answers count."""

    WRONG = "wrong"
    DROP = "drop"


class JudgeMode(Enum):
    """How AlpacaEval's judge is read."""

    LOGPROBS = "logprobs"
    TEXT = "text"


_bench = typer.Option(
    "--bench",
    metavar="BENCHMARK",
    help="alpaca_eval, mt_bench, flask, ifeval, or the path of your own task (JSON Lines); repeatable.",
)
Bench = Annotated[list[str], _bench]
BenchOrNone = Annotated[list[str] | None, _bench]
LangSmith = Annotated[
    str | None,
    typer.Option(
        metavar="DATASET",
        help="A dataset in LangSmith as a task of your own: its examples are read, and each system's results are "
        "written as an experiment. Takes LANGSMITH_API_KEY and LANGSMITH_ENDPOINT.",
    ),
]
Systems = Annotated[
    list[str],
    typer.Option(
        "--system",
        metavar="NAME=SPEC",
        help="System to evaluate; repeatable. SPEC is a line-up (`moa lineups`); or `module:factory`, a function that "
        "returns a chat model and may take `temperature` and `max_tokens`; or a model: a Together id, provider:model, "
        "or local:model. The first of these that exists is taken. Without NAME, the system is named after SPEC.",
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--system",
        metavar="NAME",
        help="System to include; repeatable. `NAME=SPEC` works too. Default: all with answers.",
    ),
]
Judge = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help="The judge, as for --system; `NAME=SPEC` names it. Not needed for tasks graded without a judge.",
    ),
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge", metavar="NAME", help="The judge whose judgments are used, if there are several. A SPEC works too."
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for all results.", file_okay=False)]
Grader = Annotated[
    str | None,
    typer.Option(
        metavar="GRADER",
        help="How your own task is graded: exact, contains, numeric[:TOLERANCE], choice, regex[:PATTERN], "
        "module:function, or pairwise (a judge compares with --baseline in both orders).",
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="System that the others are compared with. Default in reports: the best single model."
    ),
]
JudgeModeOption = Annotated[
    JudgeMode,
    typer.Option(
        help="AlpacaEval: read the judge's log-probabilities, or its text for judges without them; scores from text "
        "are not comparable with published ones."
    ),
]
FailuresOption = Annotated[
    Failures,
    typer.Option(
        "--failures",
        help="How failed answers count in the report: as wrong, or not at all. A verdict that depends on it is "
        "withheld.",
    ),
]
EqualCost = Annotated[
    bool,
    typer.Option(
        "--equal-cost",
        help="Compare every mixture also with the best single model given the same money and the same number of calls: "
        "several samples of it, which vote or which it aggregates. Needs --prices.",
    ),
]
Detect = Annotated[
    float | None,
    typer.Option(
        "--detect",
        metavar="DIFFERENCE",
        help="A difference in the score's unit: how many questions it takes to show it.",
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Number of questions, sampled at random; marked as partial.")]
Repeats = Annotated[
    int,
    typer.Option(
        min=1,
        help="How often each question is asked, of which scores are means; errors are clustered by question. Give the "
        "same number to `judge` and `report`.",
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed of the sample of questions.")]
Concurrency = Annotated[
    int, typer.Option(min=1, help="Questions asked at the same time. 1 measures the latency that a single user sees.")
]
JudgeConcurrency = Annotated[int, typer.Option(min=1, help="Answers judged at the same time.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Discard stored results and start again.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only estimate the number of calls and tokens.")]
PricesOption = Annotated[
    str | None,
    typer.Option(
        "--prices",
        metavar="FILE",
        help='JSON file, {model: {"input": …, "output": …}} in USD per million tokens; or the package genai-prices.',
    ),
]

OUT = Path("moa-eval")
CONCURRENCY = 8
