"""A LangSmith dataset's examples as a task file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langsmith.utils import LangSmithError

from langchain_moa.evals.datasets.jsonl import write_rows
from langchain_moa.exceptions import DatasetError, describe

if TYPE_CHECKING:
    from langsmith import Client
    from langsmith.schemas import Example

# Of several keys the first of these is taken.
_INPUTS = ("input", "question", "prompt", "query", "text")
_OUTPUTS = ("reference", "output", "answer", "expected", "label", "text")


def read_dataset(client: Client, dataset: str, folder: Path) -> Path:
    """Write a LangSmith dataset's examples into a file for `Task`, named after the dataset.

    An example's id is the question's. Its `messages`, or the only one of its inputs (or else its `input`, `question`,
    `prompt`, `query` or `text`), is what is asked. The only one of its outputs (or else its `reference`, `output`,
    `answer`, `expected`, `label` or `text`) is the reference; an example without outputs has none.

    Args:
        client: The client, which knows the endpoint and the key.
        dataset: The dataset's name.
        folder: Where the file is written. It is replaced if it is there.

    Returns:
        The file's path.

    Raises:
        DatasetError: The dataset can't be read, is empty, or has an example that asks nothing.
    """
    # A prefix, so that a dataset's name is never that of a published benchmark.
    path = folder / f"langsmith-{re.sub(r'[^0-9A-Za-z_-]+', '-', dataset).strip('-')}.jsonl"
    try:
        examples = list(client.list_examples(dataset_name=dataset))
    except LangSmithError as error:
        raise DatasetError(f"LangSmith's dataset {dataset!r} can't be read: {describe(error)}", path=path) from error
    if not examples:
        raise DatasetError(f"LangSmith's dataset {dataset!r} has no examples", path=path)
    rows = [_row(example, path) for example in examples]
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(write_rows(rows), encoding="utf-8")
    return path


def _row(example: Example, path: Path) -> dict[str, Any]:
    inputs, outputs = example.inputs or {}, example.outputs or {}
    row = {"id": str(example.id), "reference": _one_of(outputs, _OUTPUTS)}
    if isinstance(inputs.get("messages"), list):
        return {**row, "messages": inputs["messages"]}
    asked = _one_of(inputs, _INPUTS)
    if asked is None:
        msg = f"Example {example.id} asks nothing: give it `messages`, one input, or one that is named {_INPUTS[0]!r}"
        raise DatasetError(msg, path=path)
    return {**row, "input": asked if isinstance(asked, str) else json.dumps(asked, ensure_ascii=False)}


def _one_of(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return the only value, or else the first that has one of these names. `None`: there is none."""
    if len(values) == 1:
        return next(iter(values.values()))
    return next((values[name] for name in names if name in values), None)
