"""MT-Bench: 80 questions of two turns, each turn's answer rated from 1 to 10 by a judge (arXiv:2306.05685).

Source of the protocol: lm-sys/FastChat, fastchat/llm_judge, at the commit that mt_bench_data/NOTICE names; of the
temperatures at which a mixture answers: togethercomputer/MoA, generate_for_mt_bench.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from typing_extensions import TypedDict

from langchain_moa.evals.datasets.fastchat import DATA, JudgePrompt, judge_prompts
from langchain_moa.evals.datasets.jsonl import read_rows, write_rows
from langchain_moa.evals.failures import failed_judgment
from langchain_moa.evals.judge_names import judge_fields, judge_of
from langchain_moa.evals.statistics.mean_metric import MeanMetric, means_by, scores_by_question
from langchain_moa.evals.statistics.metric_warnings import other_judge, part_of_the_questions, unscored
from langchain_moa.evals.types import Answer, JudgeCall, Judgment, Question
from langchain_moa.exceptions import DatasetError

# Source: fastchat/llm_judge/common.py::temperature_config. In the order of the questions.
_TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "reasoning": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "extraction": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
_MAX_TOKENS = 1024
_JUDGE_ARGUMENTS = {"temperature": 0, "max_tokens": 2048}
_JUDGES = ("gpt-4", "gpt-4-0613")
_TURNS = ("turn_1", "turn_2")
# Source: arXiv:2406.04692, table 2b, whose repeated runs differ by 0.06 to 0.10.
_SATURATED = "MT-Bench is saturated: the gaps between good systems are of the size of the run-to-run spread, about 0.1."

# What FastChat writes in place of an answer or a judgment that failed.
_FAILED = "$ERROR$"
_UNRATED = -1


class _QuestionRow(TypedDict):
    question_id: int
    category: str
    turns: list[str]


class _Choice(TypedDict):
    turns: list[str]


class _AnswerRow(TypedDict):
    question_id: int
    model_id: str
    choices: list[_Choice]


class _JudgmentRow(TypedDict):
    question_id: int
    model: str
    judge: tuple[str, str]
    judgment: str
    score: float
    turn: int


def parse_rating(reply: str) -> float | None:
    """Return the rating in a judge's reply: the first `[[8.5]]`, or else the first `[8.5]`.

    Source: fastchat/llm_judge/common.py::run_judge_single, which has -1 for `None`.
    """
    match = re.search(r"\[\[(\d+\.?\d*)\]\]", reply) or re.search(r"\[(\d+\.?\d*)\]", reply)
    return float(match[1]) if match else None


class MTBench:
    """MT-Bench with single-answer grading: the default of FastChat and of the Mixture-of-Agents paper."""

    name = "mt_bench"
    score_name = "score (1-10)"

    def __init__(self) -> None:
        """Read the questions, reference answers and judge prompts, which ship with the package."""
        paths = [DATA / name for name in ("question.jsonl", "reference_answer_gpt-4.jsonl", "judge_prompts.jsonl")]
        self.fingerprint = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
        references = {row["question_id"]: row["choices"][0]["turns"] for _, row in read_rows(paths[1], _AnswerRow)}
        self.questions: Sequence[Question] = tuple(
            _question(row, references.get(row["question_id"])) for _, row in read_rows(paths[0], _QuestionRow)
        )
        self._by_id = {question.id: question for question in self.questions}

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return two judge calls: for the first turn, and for the second turn given the first."""
        if answer.error is not None:
            return ()
        return [_judge_call(question, answer, turn) for turn in range(len(_TURNS))]

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return the rating 1 for each turn."""
        return [failed_judgment(answer, 1, part=turn) for turn in _TURNS]

    def metric(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> MeanMetric:
        """Return the mean of all ratings, and the means by turn and category.

        The average is over all ratings, not over the means of the two turns; these differ if ratings are missing.
        A rating above 10 is counted as it is, with a warning. Source: fastchat/llm_judge/show_result.py.
        """
        rated = [
            (self._by_id[judgment.question], judgment.part, judgment.score)
            for judgment in judgments
            if judgment.score is not None
        ]
        values = scores_by_question(self.questions, judgments)
        return MeanMetric(
            values,
            name="average",
            bounds=(1, 10),
            figures=means_by(((part, score) for _, part, score in rated), _TURNS),
            breakdowns={
                "category": means_by(
                    ((question.fields["category"], score) for question, _, score in rated), tuple(_TEMPERATURES)
                )
            },
            warnings=[
                *part_of_the_questions(len(values), len(self.questions)),
                *other_judge(judgments, _JUDGES),
                *unscored(judgments),
                *_out_of_range(judgments),
                _SATURATED,
            ],
        )

    def export(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Mapping[str, str]:
        """Return FastChat's files: `model_answer/<system>.jsonl` and `model_judgment/<judge>_single.jsonl`.

        FastChat's `tstamp` is omitted (none of its tools reads it), and so are failed answers, which it would rate.
        """
        answered = {answer.question: answer for answer in answers if answer.error is None}
        in_order = [answered[question.id] for question in self.questions if question.id in answered]
        judged = [(judgment, answered[judgment.question]) for judgment in judgments if judgment.question in answered]
        judged.sort(key=lambda pair: (pair[0].part, int(pair[0].question)))
        files = {}
        if in_order:
            files[f"model_answer/{_file_name(in_order[0].system)}.jsonl"] = write_rows(map(_answer_row, in_order))
        if judged:
            rows = (self._judgment_row(judgment, answer) for judgment, answer in judged)
            files[f"model_judgment/{_file_name(judge_of(judgments))}_single.jsonl"] = write_rows(rows)
        return files

    def read_answers(self, path: Path) -> Sequence[Answer]:
        """Read FastChat's `model_answer/*.jsonl`. Of several choices the first is used, as in FastChat.

        Raises:
            DatasetError: The file is missing or malformed, or has an unknown question id.
        """
        return [self._answer(row, path, line) for line, row in read_rows(path, _AnswerRow)]

    def read_judgments(self, path: Path) -> Sequence[Judgment]:
        """Read FastChat's `*_single.jsonl` with its scores. It may contain several systems.

        Raises:
            DatasetError: The file is missing or malformed, or has an unknown question id.
        """
        return [self._judgment(row, path, line) for line, row in read_rows(path, _JudgmentRow)]

    def _known(self, question_id: int, path: Path, line: int) -> str:
        if str(question_id) not in self._by_id:
            raise DatasetError(f"MT-Bench has no question {question_id!r}; its ids are 81 to 160", path=path, line=line)
        return str(question_id)

    def _answer(self, row: _AnswerRow, path: Path, line: int) -> Answer:
        question = self._known(row["question_id"], path, line)
        texts = row["choices"][0]["turns"] if row["choices"] else []
        if len(texts) != len(_TURNS):
            raise DatasetError(
                f"Question {question!r} has {len(texts)} answers; both turns need one", path=path, line=line
            )
        if _FAILED in texts:
            return Answer(question=question, system=row["model_id"], error="FastChat failed to get an answer")
        return Answer(question=question, system=row["model_id"], texts=tuple(text.strip() for text in texts))

    def _judgment(self, row: _JudgmentRow, path: Path, line: int) -> Judgment:
        if not 1 <= row["turn"] <= len(_TURNS):
            raise DatasetError(f"Turn {row['turn']!r} is unknown; choose 1 or 2", path=path, line=line)
        judge, prompt = row["judge"]
        failed = row["judgment"] == _FAILED
        return Judgment(
            question=self._known(row["question_id"], path, line),
            system=row["model"],
            part=_TURNS[row["turn"] - 1],
            score=None if row["score"] == _UNRATED else row["score"],
            fields={"prompt": prompt, "judge": judge},
            reply="" if failed else row["judgment"],
            error="FastChat failed to get a judgment" if failed else None,
        )

    def _judgment_row(self, judgment: Judgment, answer: Answer) -> dict[str, Any]:
        turn = _TURNS.index(judgment.part)
        call = _judge_call(self._by_id[judgment.question], answer, turn)
        return {
            "question_id": int(judgment.question),
            "model": judgment.system,
            "judge": [judge_of([judgment]), _prompt(self._by_id[judgment.question], turn).name],
            "user_prompt": call.messages[-1].text,
            "judgment": judgment.reply if judgment.error is None else _FAILED,
            "score": _UNRATED if judgment.score is None else judgment.score,
            "turn": turn + 1,
        }


def _question(row: _QuestionRow, references: list[str] | None) -> Question:
    return Question(
        id=str(row["question_id"]),
        turns=tuple((HumanMessage(turn),) for turn in row["turns"]),
        decoding={"temperature": _TEMPERATURES[row["category"]], "max_tokens": _MAX_TOKENS},
        fields={"category": row["category"], "references": references},
    )


def _prompt(question: Question, turn: int) -> JudgePrompt:
    kind = "single-math-v1" if question.fields["references"] else "single-v1"
    return judge_prompts()[f"{kind}-multi-turn" if turn else kind]


def _judge_call(question: Question, answer: Answer, turn: int) -> JudgeCall:
    prompt = _prompt(question, turn)
    texts = {f"ref_answer_{number}": text for number, text in enumerate(question.fields["references"] or (), 1)}
    for number, (messages, text) in enumerate(zip(question.turns, answer.texts, strict=True), 1):
        texts[f"question_{number}"], texts[f"answer_{number}"] = messages[0].text, text
    # The first turn's prompts have no numbers in these two names.
    texts["question"], texts["answer"] = texts["question_1"], texts["answer_1"]

    def read(reply: AIMessage) -> tuple[float | None, Mapping[str, Any]]:
        return parse_rating(reply.text), {"prompt": prompt.name, **judge_fields(reply)}

    return JudgeCall(part=_TURNS[turn], messages=prompt.messages(**texts), arguments=_JUDGE_ARGUMENTS, read=read)


def _out_of_range(judgments: Sequence[Judgment]) -> list[str]:
    above = [judgment.question for judgment in judgments if judgment.score is not None and judgment.score > 10]
    return [f"Rated above 10, and counted as it is: question {', '.join(above)}."] if above else []


def _answer_row(answer: Answer) -> dict[str, Any]:
    return {
        "question_id": int(answer.question),
        # FastChat has a random id, which would make two exports of the same answers differ.
        "answer_id": f"{answer.system}-{answer.question}",
        "model_id": answer.system,
        "choices": [{"index": 0, "turns": list(answer.texts)}],
    }


def _file_name(name: str) -> str:
    return name.replace("/", "_")
