"""Read and write AlpacaEval's own files: `model_outputs.json` and `annotations.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import AliasChoices, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from langchain_moa.evals.benchmarks.alpaca_eval_judge import find_logprobs, is_switched
from langchain_moa.evals.datasets.downloads import read_text
from langchain_moa.evals.types import Answer, Judgment, Question
from langchain_moa.exceptions import DatasetError

BASELINE = "gpt4_1106_preview"
PUBLISHED_JUDGE = "gpt-4-1106-preview"
_ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"  # what the published annotations call it

Row = TypeVar("Row")


class EvalRow(TypedDict):
    """A row of the evaluation set, which is the baseline's `model_outputs.json`."""

    dataset: str
    instruction: str
    output: str


class _OutputRow(TypedDict):
    """What one system said to one instruction, also as a row of annotations says it."""

    instruction: NotRequired[str]
    index: NotRequired[int]
    output: Annotated[str, Field(validation_alias=AliasChoices("output", "output_2"))]
    generator: Annotated[str, Field(validation_alias=AliasChoices("generator", "generator_2"))]


class _AnnotationRow(TypedDict):
    """What the judge said of a system's output, the second, and the baseline's, the first."""

    instruction: str
    output_1: str
    output_2: str
    generator_2: str
    annotator: NotRequired[str]
    preference: float | None
    raw_completion: NotRequired[dict[str, Any] | None]


def read_list(path: Path, row: type[Row]) -> list[Row]:
    """Read a JSON list.

    Args:
        path: The file, decompressed if its name ends in `.gz`.
        row: The type of an item. Unknown keys are dropped.

    Raises:
        DatasetError: The file can't be read, or is not a list of this type.
    """
    try:
        return TypeAdapter(list[row]).validate_json(read_text(path))  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DatasetError(f"{f'row {place}: ' if place else ''}{first['msg']}", path=path) from error


def read_outputs(path: Path, questions: Iterable[Question]) -> list[Answer]:
    """Read a `model_outputs.json`, or the outputs in an `annotations.json`.

    Outputs are taken as they are, because their length counts. An `index` in the evaluation set stands in for an
    instruction.

    Raises:
        DatasetError: The file is missing or malformed, or answers what is none of the questions.
    """
    by_instruction = _by_instruction(questions)
    by_index = {int(question.id): question for question in by_instruction.values()}
    answers = []
    for row in read_list(path, _OutputRow):
        if "instruction" in row:
            question = _find(by_instruction, row["instruction"], path)
        else:
            question = _find(by_index, row.get("index"), path)
        answers.append(Answer(question=question.id, system=row["generator"], texts=(row["output"],)))
    return answers


def read_annotations(path: Path, questions: Iterable[Question]) -> list[Judgment]:
    """Read an `annotations.json`, with the preferences that it holds.

    Raises:
        DatasetError: The file is missing or malformed, judges answers to what is none of the questions, or compares
            them with another baseline.
    """
    by_instruction = _by_instruction(questions)
    judgments = []
    for row in read_list(path, _AnnotationRow):
        question = _find(by_instruction, row["instruction"], path)
        if row["output_1"] != question.fields["baseline"]:
            raise DatasetError(
                f"`output_1` is not the baseline's, at the instruction {row['instruction']!r}", path=path
            )
        fields, reply = _read_completion(row)
        score = 1.5 if row["preference"] == 0 else row["preference"]  # 0: a draw
        system = row["generator_2"]
        judgments.append(Judgment(question=question.id, system=system, score=score, fields=fields, reply=reply))
    return judgments


def write_outputs(questions: Iterable[Question], answers: Mapping[str, Answer]) -> str:
    """Return the text of a `model_outputs.json`. Failed answers are missing."""
    return _write(
        {
            "dataset": question.fields["dataset"],
            "instruction": question.turns[0][0].text,
            "output": answers[question.id].texts[0],
            "generator": answers[question.id].system,
        }
        for question in questions
        if question.id in answers
    )


def write_annotations(
    questions: Iterable[Question], answers: Mapping[str, Answer], judgments: Mapping[str, Judgment], judge: str
) -> str:
    """Return the text of an `annotations.json`. A preference of `null` is a reply without a verdict."""
    return _write(
        {
            "instruction": question.turns[0][0].text,
            "output_1": question.fields["baseline"],
            "generator_1": BASELINE,
            "dataset": question.fields["dataset"],
            "output_2": answers[question.id].texts[0],
            "generator_2": answers[question.id].system,
            "annotator": judge,
            "preference": judgments[question.id].score,
            "raw_completion": _completion(judgments[question.id]),
        }
        for question in questions
        if question.id in answers and question.id in judgments
    )


def _by_instruction(questions: Iterable[Question]) -> dict[str, Question]:
    return {question.turns[0][0].text: question for question in questions}


def _find(questions: Mapping[Any, Question], asked: Any, path: Path) -> Question:
    try:
        return questions[asked]
    except KeyError:
        raise DatasetError(f"AlpacaEval has no instruction {asked!r}", path=path) from None


def _read_completion(row: _AnnotationRow) -> tuple[Mapping[str, Any], str]:
    """Return a judgment's fields, and the judge's reply."""
    if row["output_1"] == row["output_2"]:
        return {"identical": True}, ""
    annotator = row.get("annotator", "unknown")
    judge = PUBLISHED_JUDGE if annotator == _ANNOTATOR else annotator
    completion = row.get("raw_completion") or {}
    logprobs = find_logprobs(completion.get("logprobs"))
    fields = {"switched": is_switched(row["instruction"]), "judge": judge}
    return fields if logprobs is None else {**fields, "logprobs": logprobs}, str(completion.get("text") or "")


def _completion(judgment: Judgment) -> Mapping[str, Any] | None:
    """Return the reply as OpenAI's API sent it, as far as it was kept; `None`: the judge was not asked."""
    if judgment.fields.get("identical"):
        return None
    logprobs = judgment.fields.get("logprobs")
    likeliest = [{"token": token, "logprob": value} for token, value in (logprobs or {}).items()]
    return {"text": judgment.reply, "logprobs": {"content": [{"top_logprobs": likeliest}]} if likeliest else None}


def _write(rows: Iterable[Mapping[str, Any]]) -> str:
    return json.dumps(list(rows), indent=2, ensure_ascii=False) + "\n"
