"""`moa eval export` and `moa eval import`: exchange results with the benchmarks' original tools."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from langchain_moa.cli.evaluation import eval_options as options
from langchain_moa.cli.evaluation.system_specs import as_name
from langchain_moa.cli.mixture_options import Debug

if TYPE_CHECKING:
    from langchain_moa.evals.types import Answer, Judgment

    _Item = TypeVar("_Item", Answer, Judgment)


def export(
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the exported files.", file_okay=False)],
    bench: options.Bench,
    judge: options.JudgeName = None,
    system: options.Names = None,
    out: options.Out = options.OUT,
    debug: Debug = False,
) -> None:
    """Export results in the formats of AlpacaEval, FastChat and FLASK, to a folder per benchmark and system."""
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.cli.evaluation.stored_results import judge_name
    from langchain_moa.evals.results.import_export import export_results
    from langchain_moa.evals.results.journal import write_whole

    evaluation = Evaluation(bench=bench, out=out)
    for benchmark in evaluation.benchmarks():
        for name in evaluation.systems(benchmark, system):
            store = evaluation.store(benchmark, name)
            judged = judge_name(evaluation, benchmark, [name], judge) if store.judges() else None
            for file, content in export_results(benchmark, store, judge=judged).items():
                write_whole(to / benchmark.name / name / file, content.encode())
                print(to / benchmark.name / name / file)


def import_(
    answers: Annotated[Path, typer.Argument(metavar="ANSWERS", help="File of answers: model_outputs.json, or .jsonl.")],
    bench: Annotated[str, typer.Option(metavar="BENCHMARK", help="The benchmark that the answers are to.")],
    system: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name for the system, or which of several systems in the file to import."),
    ] = None,
    judgments: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of judgments: annotations.json, or .jsonl.")
    ] = None,
    judge: Annotated[str, typer.Option(metavar="NAME", help="Name for the judge.")] = "imported",
    out: options.Out = options.OUT,
    overwrite: options.Overwrite = False,
    debug: Debug = False,
) -> None:
    """Import results of AlpacaEval, FastChat or FLASK, to judge or report them."""
    from langchain_moa.cli.evaluation.evaluation import Evaluation
    from langchain_moa.evals.results.import_export import import_answers, import_judgments

    evaluation = Evaluation(bench=[bench], out=out)
    (benchmark,) = evaluation.benchmarks()
    told = list(benchmark.read_judgments(judgments)) if judgments else []
    judged = _by_system(told, lambda judgment: (judgment.question, judgment.part), system)
    for name, own in _by_system(list(benchmark.read_answers(answers)), lambda answer: answer.question, system).items():
        store = evaluation.store(benchmark, name)
        import_answers(benchmark, own, store, source=answers.name, overwrite=overwrite)
        print(f"{name}: {len(own)} answers")
        if judgments:
            if name not in judged:
                msg = f"{str(judgments)!r} judges {', '.join(judged)}, not {name!r}: name the system with --system."
                raise ValueError(msg)
            import_judgments(benchmark, judged[name], store, judge=judge, source=judgments.name, overwrite=overwrite)
            print(f"{name}: {len(judged[name])} judgments of {judge}")


def _by_system(items: list[_Item], identity: Callable[[_Item], Hashable], wanted: str | None) -> dict[str, list[_Item]]:
    """Group items by system, under names that files can have; if all can be of one system, use the wanted name.

    Raises:
        ValueError: There are several systems, and none has the wanted name.
    """
    names = list(dict.fromkeys(item.system for item in items))
    groups = {name: [item for item in items if item.system == name] for name in names}
    if wanted is None:
        named = {as_name(name): own for name, own in groups.items()}
        if len(named) < len(groups):
            msg = f"Two systems of the file would have the same name: name one of {', '.join(names)} with --system."
            raise ValueError(msg)
        return named
    if wanted in groups:
        return {wanted: groups[wanted]}
    if len(set(map(identity, items))) < len(items):
        msg = f"The file has several systems, and none is {wanted!r}; choose from {', '.join(names)}."
        raise ValueError(msg)
    return {wanted: items}
