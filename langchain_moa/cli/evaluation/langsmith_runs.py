"""`--langsmith`: a dataset in LangSmith as the task, and the results as its experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import typer

if TYPE_CHECKING:
    from langsmith import Client

    from langchain_moa.cli.evaluation.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class LangSmithDataset:
    """A dataset whose examples were read."""

    name: str
    client: Client

    path: Path
    """Its examples as a task file."""

    @classmethod
    def read(cls, name: str, out: Path) -> Self:
        """Read a dataset's examples into a task file in the folder for all results.

        Raises:
            DatasetError: The dataset can't be read.
        """
        from langsmith import Client

        from langchain_moa.evals.datasets.langsmith_dataset import read_dataset

        client = Client()
        return cls(name=name, client=client, path=read_dataset(client, name, out / "langsmith"))

    def write(self, evaluation: Evaluation, systems: Sequence[str], judge: str) -> None:
        """Write each system's results as an experiment, and say where.

        Raises:
            ValueError: LangSmith can't be reached, or refuses it.
        """
        from langsmith.utils import LangSmithError

        from langchain_moa.cli.evaluation.stored_results import judged
        from langchain_moa.evals.results.langsmith_experiment import write_experiment

        name = self.path.stem
        benchmark = next(one for one in evaluation.graded_benchmarks() if one.name == name)
        for system in systems:
            answers, judgments, _ = judged(evaluation, benchmark, system, judge)
            try:
                experiment = write_experiment(
                    self.client,
                    self.name,
                    system,
                    questions=evaluation.questions(benchmark),
                    answers=answers,
                    judgments=judgments,
                )
            except LangSmithError as error:
                msg = f"The results are kept, but could not be written to LangSmith: {error}"
                raise ValueError(msg) from error
            typer.echo(f"Written to LangSmith as the experiment {experiment!r} of {self.name!r}.", err=True)
