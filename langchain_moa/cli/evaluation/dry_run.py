"""`--dry-run`: estimate the calls and tokens of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langchain_moa.cli.terminal.answer_view import print_rows

if TYPE_CHECKING:
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.evals.running.estimate import Estimate
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.types import Benchmark

_HEADER = [
    "benchmark",
    "system",
    "questions",
    "calls",
    "tokens in",
    "tokens out",
    "judge calls",
    "judge in",
    "judge out",
]


def show_estimates(
    evaluation: Evaluation, benchmarks: Sequence[Benchmark], systems: Sequence[System], *, judged: bool
) -> None:
    """Print estimated calls and tokens, by benchmark and system and in total."""
    from langchain_moa.evals.running.estimate import estimate_run

    estimates = [
        estimate_run(
            benchmark,
            counted(system),
            evaluation.questions(benchmark),
            judged=judged and evaluation.needs_judge(benchmark, system=system.name),
        )
        for benchmark in benchmarks
        for system in systems
    ]
    rows = [[one.benchmark, one.system, *_numbers([one])] for one in estimates]
    _print(Console(), [*rows, ["all", "", *_numbers(estimates)]])


def counted(system: System) -> System:
    """Return the system with its calls per answer: of a mixture as it is built the most that it may take."""
    from langchain_moa._models.description import Description
    from langchain_moa.chat_models import ChatMoA

    model = system.model({})
    if not isinstance(model, ChatMoA):
        return system
    description = Description.of(model)
    return replace(system, calls=description.calls()[1], passages=description.passages)


def _print(console: Console, rows: Sequence[Sequence[str]]) -> None:
    if not console.is_terminal:
        print_rows(console, _HEADER, rows, whole=0)
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(_HEADER):
        # A word a line: then the numbers need no more room than they have in 80 columns.
        header = name.replace(" ", "\n")
        table.add_column(header, justify="left" if number < 2 else "right", overflow="fold", no_wrap=number != 1)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _numbers(estimates: Sequence[Estimate]) -> list[str]:
    counts = [sum(getattr(one, name) for one in estimates) for name in ("questions", "calls", "judge_calls")]
    tokens = [
        sum(getattr(one, name) for one in estimates)
        for name in ("input_tokens", "output_tokens", "judge_input_tokens", "judge_output_tokens")
    ]
    questions, calls, judge_calls = (f"{count:,}" for count in counts)
    read, written, judge_read, judge_written = (_about(count) for count in tokens)
    return [questions, calls, read, written, judge_calls, judge_read, judge_written]


def _about(tokens: int) -> str:
    """Format an approximate number of tokens with two significant digits."""
    rounded = float(f"{tokens:.2g}")
    if rounded >= 1_000_000:
        return f"~{rounded / 1_000_000:g}M"
    return f"~{rounded / 1_000:g}k" if rounded >= 1_000 else f"~{rounded:g}" if tokens else "0"
