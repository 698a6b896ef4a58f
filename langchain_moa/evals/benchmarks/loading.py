"""From what the command line calls a benchmark to the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from langchain_moa.evals.benchmarks.alpaca_eval import AlpacaEval
from langchain_moa.evals.benchmarks.alpaca_eval_judge import JudgeMode
from langchain_moa.evals.benchmarks.flask import FLASK
from langchain_moa.evals.benchmarks.mt_bench import MTBench
from langchain_moa.evals.benchmarks.task import Task
from langchain_moa.evals.graders.grader import Grader
from langchain_moa.evals.types import Benchmark

PUBLISHED = ("alpaca_eval", "mt_bench", "flask")
"""The names of the published benchmarks."""


def load_benchmark(spec: str, *, grader: str | Grader | None = None, judge_mode: JudgeMode = "logprobs") -> Benchmark:
    """Return a published benchmark by its name, or an own task by its path.

    Args:
        spec: One of `PUBLISHED`, or the path of a task's file.
        grader: How an own task is graded: what `Task` takes. Default: `exact`.
        judge_mode: How AlpacaEval's judge is read: by its log-probabilities, or by its `text`.

    Raises:
        ValueError: There is no such benchmark or grader.
        DatasetError: The benchmark's file can't be had, or is malformed.
    """
    published: dict[str, Callable[[], Benchmark]] = {
        "alpaca_eval": lambda: AlpacaEval(judge_mode=judge_mode),
        "mt_bench": MTBench,
        "flask": FLASK,
    }
    if spec in published:
        return published[spec]()
    path = Path(spec)
    if not path.suffix and not path.exists():
        msg = f"Benchmark {spec!r} is unknown; choose from {', '.join(PUBLISHED)}, or name the file of your own task."
        raise ValueError(msg)
    return Task(path, grader=grader or "exact")
