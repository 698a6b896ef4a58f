"""Your own task: a file of questions, and a grader."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired

from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages
from pydantic import JsonValue
from typing_extensions import TypedDict

from langchain_moa.answer_keys import LETTERS
from langchain_moa.evals.datasets.downloads import read_text
from langchain_moa.evals.datasets.jsonl import read_rows, write_rows
from langchain_moa.evals.graders.create_grader import create_grader
from langchain_moa.evals.graders.grader import Grader
from langchain_moa.evals.types import Answer, JudgeCall, Judgment, Metric, Question
from langchain_moa.exceptions import DatasetError


class _QuestionRow(TypedDict):
    id: str | int
    input: NotRequired[str]
    messages: NotRequired[list[dict[str, Any]]]
    reference: NotRequired[JsonValue]
    choices: NotRequired[list[str]]


class _AnswerRow(TypedDict):
    id: str | int
    output: str
    system: NotRequired[str]


class _JudgmentRow(TypedDict):
    id: str | int
    score: float | None
    part: NotRequired[str]
    system: NotRequired[str]
    fields: NotRequired[dict[str, Any]]
    reply: NotRequired[str]


class Task:
    """A benchmark of your own questions, read from a JSON Lines file.

    Each line is a JSON object with these fields:

    - `id`: a string or number, unique in the file.
    - `input`: the question as text; or `messages`: a conversation, each message with `role` and `content`.
    - `reference`: the expected answer. For most graders a string, a number, or a list of accepted alternatives.
    - `choices`: up to ten options, appended to the `input`, one per line: `A. first`.
    """

    def __init__(self, path: Path, *, grader: str | Callable[..., Any] | Grader = "exact") -> None:
        """Read the questions.

        Args:
            path: The file. Its name up to the first full stop is the name of the task.
            grader: Name of a grader (`exact`, `contains`, `numeric`, `choice`, `regex`, `module:function`), a function,
                or a grader such as `Pairwise`.

        Raises:
            DatasetError: The file is missing or malformed, or a question lacks what the grader needs.
            ValueError: The grader is unknown.
        """
        self.name = path.name.partition(".")[0]
        self._grader: Grader = create_grader(grader) if isinstance(grader, str) or callable(grader) else grader
        self.score_name = self._grader.score_name
        questions = [(line, _question(row, path, line)) for line, row in read_rows(path, _QuestionRow)]
        for line, question in questions:
            try:
                self._grader.check(question)
            except ValueError as error:
                raise DatasetError(f"Question {question.id!r}: {error}", path=path, line=line) from error
        self._by_id = _by_id(questions, path)
        self.questions: Sequence[Question] = tuple(self._by_id.values())
        content = f"{read_text(path)}\n{self._grader.fingerprint}"
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return the grader's judgments of an answer, or its judge calls. May block."""
        return () if answer.error is not None else self._grader.judge(question, answer)

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return the grader's lowest score."""
        return self._grader.unanswered(answer)

    def metric(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Metric:
        """Return one system's metric."""
        return self._grader.metric(self.questions, answers, judgments)

    def export(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Mapping[str, str]:
        """Return `answers.jsonl` and `judgments.jsonl`, in the format of `read_answers` and `read_judgments`."""
        outputs = [
            {"id": answer.question, "system": answer.system, "output": answer.texts[0]}
            for answer in answers
            if answer.error is None
        ]
        verdicts = [
            {
                "id": judgment.question,
                "system": judgment.system,
                "part": judgment.part,
                "score": judgment.score,
                "fields": judgment.fields,
                "reply": judgment.reply,
            }
            for judgment in judgments
            if judgment.error is None
        ]
        return {"answers.jsonl": write_rows(outputs), "judgments.jsonl": write_rows(verdicts)}

    def read_answers(self, path: Path) -> Sequence[Answer]:
        """Read answers from a JSON Lines file with `id`, `output` and optionally `system`.

        Without `system`, the file name is the name of the system.

        Raises:
            DatasetError: The file is missing or malformed, or has an unknown question id.
        """
        return [
            Answer(
                question=self._known(row["id"], path, line),
                system=row.get("system", path.name.partition(".")[0]),
                texts=(row["output"].strip(),),
            )
            for line, row in read_rows(path, _AnswerRow)
        ]

    def read_judgments(self, path: Path) -> Sequence[Judgment]:
        """Read judgments in the format of `export`. Only `id` and `score` are required.

        Raises:
            DatasetError: The file is missing or malformed, or has an unknown question id.
        """
        return [
            Judgment(
                question=self._known(row["id"], path, line),
                system=row.get("system", path.name.partition(".")[0]),
                part=row.get("part", ""),
                score=row["score"],
                fields=row.get("fields", {}),
                reply=row.get("reply", ""),
            )
            for line, row in read_rows(path, _JudgmentRow)
        ]

    def _known(self, question: str | int, path: Path, line: int) -> str:
        if str(question) not in self._by_id:
            raise DatasetError(f"The task {self.name!r} has no question {question!r}", path=path, line=line)
        return str(question)


def _by_id(questions: Sequence[tuple[int, Question]], path: Path) -> dict[str, Question]:
    if not questions:
        raise DatasetError(
            "The file has no questions; write one JSON object per line, with 'id' and 'input'", path=path
        )
    by_id: dict[str, Question] = {}
    for line, question in questions:
        if question.id in by_id:
            raise DatasetError(f"Duplicate id {question.id!r}; ids must be unique", path=path, line=line)
        by_id[question.id] = question
    return by_id


def _question(row: _QuestionRow, path: Path, line: int) -> Question:
    choices = row.get("choices", [])
    try:
        messages = _messages(row, choices)
    except (ValueError, NotImplementedError) as error:
        raise DatasetError(f"Question {str(row['id'])!r}: {error}", path=path, line=line) from error
    return Question(
        id=str(row["id"]),
        turns=(tuple(messages),),
        fields={
            "input": row["input"] if "input" in row else row["messages"],
            "reference": row.get("reference"),
            "choices": choices,
        },
    )


def _messages(row: _QuestionRow, choices: Sequence[str]) -> list[BaseMessage]:
    if ("input" in row) == ("messages" in row):
        raise ValueError("it needs either 'input' or 'messages'")
    if "messages" in row:
        if choices:
            raise ValueError("'choices' are appended to an 'input'; with 'messages', write them into the messages")
        if not row["messages"]:
            raise ValueError("its 'messages' are empty")
        return convert_to_messages(row["messages"])
    if len(choices) > len(LETTERS):
        raise ValueError(f"it has {len(choices)} choices; at most {len(LETTERS)} are allowed")
    listed = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return [HumanMessage("\n".join([row["input"], *listed]))]
