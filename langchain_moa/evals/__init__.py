"""Whether a system is worth its cost: AlpacaEval 2, MT-Bench, FLASK and the user's own task, for any chat model.

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
    from langchain_moa.evals.alpaca_eval import AlpacaEval
    from langchain_moa.evals.benchmarks import load_benchmark
    from langchain_moa.evals.estimate import Estimate, estimate_run
    from langchain_moa.evals.flask import FLASK
    from langchain_moa.evals.generate import generate_answers
    from langchain_moa.evals.judge import judge_answers
    from langchain_moa.evals.mt_bench import MTBench
    from langchain_moa.evals.pairwise import Pairwise
    from langchain_moa.evals.prices import load_prices
    from langchain_moa.evals.report import Report, make_report
    from langchain_moa.evals.sampling import sample
    from langchain_moa.evals.store import Store
    from langchain_moa.evals.systems import System
    from langchain_moa.evals.task import Task
    from langchain_moa.evals.types import Answer, Benchmark, JudgeCall, Judgment, Metric, Question

# Loaded at first use: a report needs numpy, and answers do not.
_MODULES = {
    "FLASK": "flask",
    "AlpacaEval": "alpaca_eval",
    "Answer": "types",
    "Benchmark": "types",
    "Estimate": "estimate",
    "JudgeCall": "types",
    "Judgment": "types",
    "MTBench": "mt_bench",
    "Metric": "types",
    "Pairwise": "pairwise",
    "Question": "types",
    "Report": "report",
    "Store": "store",
    "System": "systems",
    "Task": "task",
    "estimate_run": "estimate",
    "generate_answers": "generate",
    "judge_answers": "judge",
    "load_benchmark": "benchmarks",
    "load_prices": "prices",
    "make_report": "report",
    "sample": "sampling",
}

__all__ = [
    "FLASK",
    "AlpacaEval",
    "Answer",
    "Benchmark",
    "Estimate",
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
    return getattr(import_module(f"langchain_moa.evals.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
