"""Evaluate any chat model on AlpacaEval 2, MT-Bench, FLASK, IFEval or your own task, with its cost.

Import the public names from here; the modules below are internal.

Example:
    ```python
    import asyncio
    from pathlib import Path
    from tempfile import mkdtemp

    from langchain_moa import ChatMoA
    from langchain_moa.evals import Store, System, Task, generate_answers, judge_answers, make_report


    async def evaluate(folder: Path) -> str:
        task, runs = Task(folder / "task.jsonl", grader="numeric"), {}
        for system in (System.of("mixture", ChatMoA()), System.of("lite", ChatMoA(model="together-moa-lite"))):
            store = Store(folder / "results", benchmark=task.name, system=system.name)
            answers = await generate_answers(task, system, store)
            runs[system.name] = answers, await judge_answers(task, answers, store)
        return make_report(task, runs, judge=None, prices=None).to_markdown()


    folder = Path(mkdtemp())
    (folder / "task.jsonl").write_text('{"id": 1, "input": "What is 2 + 3?", "reference": 5}')
    print(asyncio.run(evaluate(folder)))
    ```
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_moa.evals.benchmarks.alpaca_eval import AlpacaEval
    from langchain_moa.evals.benchmarks.flask import FLASK
    from langchain_moa.evals.benchmarks.ifeval import IFEval
    from langchain_moa.evals.benchmarks.loading import load_benchmark
    from langchain_moa.evals.benchmarks.mt_bench import MTBench
    from langchain_moa.evals.benchmarks.sampling import sample
    from langchain_moa.evals.benchmarks.task import Task
    from langchain_moa.evals.graders.pairwise import Pairwise
    from langchain_moa.evals.report.make_report import make_report
    from langchain_moa.evals.report.report import Report
    from langchain_moa.evals.results.store import Store
    from langchain_moa.evals.running.estimate import Estimate, estimate_run
    from langchain_moa.evals.running.generate_answers import generate_answers
    from langchain_moa.evals.running.judge_answers import judge_answers
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.types import Answer, Benchmark, JudgeCall, Judgment, Metric, Question
    from langchain_moa.prices import load_prices

# By path from here. Loaded at first use: a report needs numpy, and answers do not.
_MODULES = {
    "FLASK": "benchmarks.flask",
    "AlpacaEval": "benchmarks.alpaca_eval",
    "Answer": "types",
    "Benchmark": "types",
    "Estimate": "running.estimate",
    "IFEval": "benchmarks.ifeval",
    "JudgeCall": "types",
    "Judgment": "types",
    "MTBench": "benchmarks.mt_bench",
    "Metric": "types",
    "Pairwise": "graders.pairwise",
    "Question": "types",
    "Report": "report.report",
    "Store": "results.store",
    "System": "systems",
    "Task": "benchmarks.task",
    "estimate_run": "running.estimate",
    "generate_answers": "running.generate_answers",
    "judge_answers": "running.judge_answers",
    "load_benchmark": "benchmarks.loading",
    "load_prices": ".prices",
    "make_report": "report.make_report",
    "sample": "benchmarks.sampling",
}

__all__ = [
    "FLASK",
    "AlpacaEval",
    "Answer",
    "Benchmark",
    "Estimate",
    "IFEval",
    "JudgeCall",
    "Judgment",
    "MTBench",
    "Metric",
    "Pairwise",
    "Question",
    "Report",
    "Store",
    "System",
    "Task",
    "estimate_run",
    "generate_answers",
    "judge_answers",
    "load_benchmark",
    "load_prices",
    "make_report",
    "sample",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
