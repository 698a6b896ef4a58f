"""Load a benchmark by name, or a task from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from langchain_moa.evals.benchmarks.alpaca_eval import AlpacaEval
from langchain_moa.evals.benchmarks.alpaca_eval_judge import JudgeMode
from langchain_moa.evals.benchmarks.flask import FLASK
from langchain_moa.evals.benchmarks.ifeval import IFEval
from langchain_moa.evals.benchmarks.mt_bench import MTBench
from langchain_moa.evals.benchmarks.task import Task
from langchain_moa.evals.graders.grader import Grader
from langchain_moa.evals.types import Benchmark

PUBLISHED = ("alpaca_eval", "mt_bench", "flask", "ifeval")
"""The names of the published benchmarks."""

UNJUDGED = ("ifeval",)
"""The names of those that need no judge."""


def load_benchmark(spec: str, *, grader: str | Grader | None = None, judge_mode: JudgeMode = "logprobs") -> Benchmark:
    """Return a published benchmark by name, or your own task by path.

    Args:
        spec: `alpaca_eval`, `mt_bench`, `flask` or `ifeval`, or the path of a task file.
        grader: Grader of your own task, as for `Task`. Default: `exact`.
        judge_mode: How to read the AlpacaEval judge: from its log-probabilities (`logprobs`), or from its `text`.

    Raises:
        ValueError: The benchmark or the grader is unknown.
        DatasetError: The benchmark's file is missing, malformed, or can't be downloaded.
    """
    published: dict[str, Callable[[], Benchmark]] = {
        "alpaca_eval": lambda: AlpacaEval(judge_mode=judge_mode),
        "mt_bench": MTBench,
        "flask": FLASK,
        "ifeval": IFEval,
    }
    if spec in published:
        return published[spec]()
    path = Path(spec)
    if not path.suffix and not path.exists():
        msg = f"Benchmark {spec!r} is unknown; choose from {', '.join(PUBLISHED)}, or give the path of your own task."
        raise ValueError(msg)
    return Task(path, grader=grader or "exact")
