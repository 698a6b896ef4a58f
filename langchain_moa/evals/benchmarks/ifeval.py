"""IFEval: 541 prompts with instructions that a program can verify, such as a number of words (arXiv:2311.07911).

Source of the protocol: google-research/google-research, instruction_following_eval, at the commit of `INPUT_DATA`. The
prompts (Apache-2.0) are downloaded on first use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from langchain_core.messages import HumanMessage
from typing_extensions import TypedDict

from langchain_moa.evals.benchmarks.ifeval_instructions import check_known, followed, followed_loosely
from langchain_moa.evals.benchmarks.ifeval_text import check_installed
from langchain_moa.evals.datasets.downloads import DataFile, fetch
from langchain_moa.evals.datasets.jsonl import read_rows, write_rows
from langchain_moa.evals.failures import failed_judgment
from langchain_moa.evals.statistics.mean_metric import MeanMetric, means_by, scores_by_question
from langchain_moa.evals.statistics.metric_warnings import part_of_the_questions, unscored
from langchain_moa.evals.types import Answer, JudgeCall, Judgment, Question
from langchain_moa.exceptions import DatasetError

INPUT_DATA = DataFile(
    name="ifeval/input_data.jsonl",
    url="https://raw.githubusercontent.com/google-research/google-research/19638399cc9e03623c5b9087a1d6fa8813974ce9/"
    "instruction_following_eval/data/input_data.jsonl",
    sha256="67ffeee0fcb87c317c5b08a2de85557b4a7e96ada6178aa645b4954fe4b53d49",
)

# The version of the checks; a change of it makes stored judgments be computed again.
_CHECKS = "1"


class _PromptRow(TypedDict):
    key: int
    prompt: str
    instruction_id_list: list[str]
    kwargs: list[dict[str, Any]]


class _ResponseRow(TypedDict):
    prompt: str
    response: str


class IFEval:
    """IFEval: 541 prompts with one to three verifiable instructions each, checked without a judge."""

    name = "ifeval"
    score_name = "prompts followed, strict (%)"

    def __init__(self) -> None:
        """Load the prompts; they are downloaded on first use.

        Raises:
            DatasetError: The data can't be downloaded.
            ImportError: The extra `evals` is not installed.
        """
        check_installed()
        path = fetch(INPUT_DATA)
        rows = read_rows(path, _PromptRow)
        for line, row in rows:
            check_known(row["instruction_id_list"], path=path, line=line)
        self.questions: Sequence[Question] = tuple(_question(row) for _, row in rows)
        self.fingerprint = hashlib.sha256(f"{INPUT_DATA.sha256}{_CHECKS}".encode()).hexdigest()
        self._by_id = {question.id: question for question in self.questions}
        self._by_prompt = {_prompt(question): question for question in self.questions}

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return one judgment with score 1 if all instructions are followed and 0 if not.

        Its `fields` have `strict` and `loose`, each with one truth value per instruction. Loosely an instruction is
        followed if it is by any of eight variants of the answer: with and without its first line, its last line, and
        its asterisks. Source: instruction_following_eval/evaluation_lib.py.
        """
        if answer.error is not None:
            return ()
        instructions, text = question.fields["instructions"], answer.texts[0]
        strict = [followed(one["id"], one["arguments"], text) for one in instructions]
        loose = [followed_loosely(one["id"], one["arguments"], text) for one in instructions]
        fields = {"strict": strict, "loose": loose}
        return [Judgment(question=question.id, system=answer.system, score=float(all(strict)), fields=fields)]

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return the score 0: no instruction is followed."""
        wrong = [False] * len(self._by_id[answer.question].fields["instructions"])
        return [failed_judgment(answer, 0, fields={"strict": wrong, "loose": wrong})]

    def metric(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> MeanMetric:
        """Return the accuracy by prompt (the main score) and by instruction, strict and loose, in percent."""
        verdicts = {judgment.question: judgment.fields for judgment in judgments if judgment.score is not None}
        scored = [question for question in self.questions if question.id in verdicts]
        strict = [pair for question in scored for pair in _by_instruction(question, verdicts[question.id]["strict"])]
        loose = [verdicts[question.id]["loose"] for question in scored]
        kinds = tuple(sorted({kind for kind, _ in strict}))
        groups = tuple(dict.fromkeys(_group(kind) for kind in kinds))
        return MeanMetric(
            scores_by_question(self.questions, judgments, scale=100),
            name="prompts, strict",
            bounds=(0, 100),
            figures={
                "instructions, strict": _percent(value for _, value in strict),
                "prompts, loose": _percent(map(all, loose)),
                "instructions, loose": _percent(value for values in loose for value in values),
            },
            breakdowns={
                "group": means_by(((_group(kind), 100.0 * value) for kind, value in strict), groups),
                "instruction": means_by(((kind, 100.0 * value) for kind, value in strict), kinds),
            },
            warnings=[*part_of_the_questions(len(scored), len(self.questions)), *unscored(judgments)],
        )

    def export(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Mapping[str, str]:
        """Return upstream's files: `input_response_data.jsonl`, `eval_results_strict.jsonl` and `…_loose.jsonl`."""
        texts = {answer.question: answer.texts[0] for answer in answers if answer.error is None}
        verdicts = {judgment.question: judgment.fields for judgment in judgments if judgment.score is not None}
        answered = [question for question in self.questions if question.id in texts]
        judged = [question for question in answered if question.id in verdicts]
        files = {"input_response_data.jsonl": write_rows(_response_row(one, texts[one.id]) for one in answered)}
        for mode in ("strict", "loose") if judged else ():
            rows = (_result_row(one, texts[one.id], verdicts[one.id][mode]) for one in judged)
            files[f"eval_results_{mode}.jsonl"] = write_rows(rows)
        return files

    def read_answers(self, path: Path) -> Sequence[Answer]:
        """Read upstream's `input_response_data_*.jsonl`. The file's name is the name of the system.

        Raises:
            DatasetError: The file is missing or malformed, or answers what is none of the prompts.
        """
        system = path.name.partition(".")[0].removeprefix("input_response_data_")
        answers = []
        for line, row in read_rows(path, _ResponseRow):
            if row["prompt"] not in self._by_prompt:
                raise DatasetError(f"IFEval has no prompt {row['prompt']!r}", path=path, line=line)
            question = self._by_prompt[row["prompt"]]
            answers.append(Answer(question=question.id, system=system, texts=(row["response"],)))
        return answers

    def read_judgments(self, path: Path) -> Sequence[Judgment]:
        """Raise an error: judgments are computed from the answers, without a call.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("IFEval needs no judge: import the answers and run `moa eval judge`", path=path)


def _question(row: _PromptRow) -> Question:
    pairs = zip(row["instruction_id_list"], row["kwargs"], strict=True)
    instructions = [{"id": name, "arguments": arguments} for name, arguments in pairs]
    turn = (HumanMessage(row["prompt"]),)
    return Question(id=str(row["key"]), turns=(turn,), fields={"instructions": instructions})


def _prompt(question: Question) -> str:
    return str(question.turns[0][0].text)


def _by_instruction(question: Question, values: Sequence[bool]) -> Iterable[tuple[str, bool]]:
    return zip((one["id"] for one in question.fields["instructions"]), values, strict=True)


def _group(kind: str) -> str:
    return kind.partition(":")[0]


def _percent(values: Iterable[bool]) -> float:
    counted = list(values)
    return 100 * fmean(counted) if counted else float("nan")


def _response_row(question: Question, text: str) -> dict[str, Any]:
    return {"prompt": _prompt(question), "response": text}


def _result_row(question: Question, text: str, values: Sequence[bool]) -> dict[str, Any]:
    return {
        "follow_all_instructions": all(values),
        "follow_instruction_list": list(values),
        "instruction_id_list": [one["id"] for one in question.fields["instructions"]],
        **_response_row(question, text),
    }
