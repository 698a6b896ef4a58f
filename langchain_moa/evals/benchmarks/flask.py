"""FLASK: 1,740 instructions, each answer scored from 1 to 5 in the skills that it needs (arXiv:2307.10928).

Source of the protocol: kaistAI/FLASK, gpt_review/, at the commit of the files below; of the aggregator's input:
togethercomputer/MoA, generate_for_flask.py. The data has no license, so it is downloaded on first use and not part of
this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NotRequired

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from langchain_moa.evals.benchmarks.flask_scores import SKILLS, mean_score, parse_scores, scores_by_skill
from langchain_moa.evals.datasets.downloads import DataFile, fetch, read_text
from langchain_moa.evals.datasets.jsonl import read_rows, write_rows
from langchain_moa.evals.failures import failed_judgment
from langchain_moa.evals.judge_names import judge_fields
from langchain_moa.evals.statistics.mean_metric import MeanMetric, means_by
from langchain_moa.evals.statistics.metric_warnings import other_judge, part_of_the_questions, unscored
from langchain_moa.evals.types import Answer, JudgeCall, Judgment, Question
from langchain_moa.exceptions import DatasetError

_URL = "https://raw.githubusercontent.com/kaistAI/FLASK/3b4e22bc34aa9dc15ea0c51be3cbf5f3c8b1b5e5"
_QUESTIONS = DataFile(
    name="flask/flask_evaluation.jsonl",
    url=f"{_URL}/evaluation_set/flask_evaluation.jsonl",
    sha256="791950bf1f159b048eba8fee205eba606926c25467a9a31e6f9b6affc2e3e13d",
)
_PROMPTS = DataFile(
    name="flask/prompt.jsonl",
    url=f"{_URL}/gpt_review/src/prompt.jsonl",
    sha256="64836bb1eb6940e7ddbbbf0ea66265191bfd49476036ca15fc2660bbfa326134",
)
_SKILL_DESCRIPTIONS = DataFile(
    name="flask/skillset_description.json",
    url=f"{_URL}/metadata_annotation/skillset/src/skillset_description.json",
    sha256="78f03c29f5a6510b76b8a765cb539c302d69898b7e4d7c68372c9cc2427e595e",
)

_WITH_SAMPLE_ANSWER = 2  # the prompt_id that gpt4_eval.py takes
_DECODING = {"temperature": 0.7, "max_tokens": 2048}
_JUDGES = ("gpt-4-0613",)

# Source: aggregate_domain.py and aggregate_difficulty_skill.py. The rows' -1, for unknown, is not among them.
_DOMAINS = (
    "Humanities",
    "Language",
    "Social Science",
    "History",
    "Culture",
    "Technology",
    "Coding",
    "Math",
    "Natural Science",
    "Health",
)
_DIFFICULTIES = (
    "simple lifestyle knowledge",
    "advanced lifestyle knowledge",
    "formal education knowledge",
    "major level knowledge",
    "expert level knowledge",
)
_OWN_AVERAGE = (
    "FLASK publishes no overall score: the average here is the mean of the skills' means, so that a rare skill counts "
    "as much as a frequent one."
)


class _QuestionRow(TypedDict):
    idx: int
    instruction: str
    answer: str
    task: str
    skill: list[str]
    domain: list[str]
    difficulty: str | int


class _Prompt(TypedDict):
    prompt_id: int
    system_prompt: str
    prompt_template: str
    defaults: dict[str, str]


class _Skill(TypedDict):
    Skill: str
    Criteria: str
    Scoring: dict[str, str]


class _AnswerRow(TypedDict):
    question_id: int
    text: str
    model_id: NotRequired[str]


class _ReviewRow(TypedDict):
    idx: int
    review: NotRequired[str]
    score: dict[str, Any]


class FLASK:
    """FLASK: 1,740 instructions, scored by skill, with the prompt that shows the judge a sample answer."""

    name = "flask"
    score_name = "mean over the skills (1-5)"

    def __init__(self, *, temperature: float | None = 0) -> None:
        """Load the questions, the prompt and the skill descriptions; they are downloaded on first use.

        Args:
            temperature: Sampling temperature of the judge. FLASK's script sets 0 but never passes it on, so its
                published scores were made with the provider's default: `None`.

        Raises:
            DatasetError: A file can't be downloaded.
        """
        self._temperature = temperature
        paths = [fetch(file) for file in (_QUESTIONS, _PROMPTS, _SKILL_DESCRIPTIONS)]
        prompts = {row["prompt_id"]: row for _, row in read_rows(paths[1], _Prompt)}
        self._prompt = prompts[_WITH_SAMPLE_ANSWER]
        self._skills = TypeAdapter(list[_Skill]).validate_json(read_text(paths[2]))
        self.questions: Sequence[Question] = tuple(_question(row) for _, row in read_rows(paths[0], _QuestionRow))
        hashes = "".join(file.sha256 for file in (_QUESTIONS, _PROMPTS, _SKILL_DESCRIPTIONS))
        self.fingerprint = hashlib.sha256(f"{hashes}{temperature}".encode()).hexdigest()
        self._by_id = {question.id: question for question in self.questions}

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return the judge call, which asks for a score for each of the question's skills."""
        if answer.error is not None:
            return ()
        user = self._prompt["prompt_template"].format(
            question=question.turns[0][0].text,
            response=answer.texts[0],
            sample_answer=question.fields["answer"],
            skills="".join(map(self._rubric, question.fields["skill"])),
            num=3,
            **self._prompt["defaults"],
        )
        arguments = {} if self._temperature is None else {"temperature": self._temperature}
        messages = [SystemMessage(self._prompt["system_prompt"]), HumanMessage(user)]
        return [JudgeCall(part="", messages=messages, arguments=arguments, read=_read)]

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return the score 1 for each skill that the question asks for."""
        scores = {skill.lower(): 1 for skill in self._by_id[answer.question].fields["skill"]}
        return [failed_judgment(answer, 1, fields={"scores": scores})]

    def metric(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> MeanMetric:
        """Return the mean of the skills' means, and the means by skill, domain and difficulty.

        All skills that the judge scored are counted, including those that the question does not ask for. A score
        outside 1-5 is counted as it is, with a warning. The mean of a domain or difficulty is over all skill scores.
        Source: aggregate_skill.py, aggregate_domain.py, aggregate_difficulty_skill.py.
        """
        judged = {
            judgment.question: scores_by_skill(judgment.fields["scores"])
            for judgment in judgments
            if judgment.score is not None
        }
        scored = [(question, judged[question.id]) for question in self.questions if question.id in judged]
        domains = (
            (domain, score)
            for question, scores in scored
            for _, score in scores
            for domain in question.fields["domain"]
        )
        difficulties = (
            (str(question.fields["difficulty"]), score) for question, scores in scored for _, score in scores
        )
        skills = means_by(chain.from_iterable(scores for _, scores in scored), SKILLS)
        return MeanMetric(
            {question.id: scores for question, scores in scored},
            name="average",
            bounds=(1, 5),
            figures={},
            breakdowns={
                "skill": skills,
                "domain": means_by(domains, _DOMAINS),
                "difficulty": means_by(difficulties, _DIFFICULTIES),
            },
            warnings=[
                *part_of_the_questions(len(scored), len(self.questions)),
                *other_judge(judgments, _JUDGES),
                *unscored(judgments),
                *_without_scores(skills),
                *_out_of_range(scored),
                _OWN_AVERAGE,
            ],
        )

    def export(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Mapping[str, str]:
        """Return FLASK's files: `<system>.jsonl` with the outputs, and `<system>_review.jsonl`.

        Failed answers are omitted. `total_tokens_step4` is omitted if the judge reported no token usage.
        """
        outputs = {answer.question: answer for answer in answers if answer.error is None}
        reviews = {judgment.question: judgment for judgment in judgments if judgment.error is None}
        answered = [outputs[question.id] for question in self.questions if question.id in outputs]
        reviewed = [question for question in self.questions if question.id in outputs and question.id in reviews]
        files = {}
        if answered:
            files[f"{_file_name(answered[0])}.jsonl"] = write_rows(map(_answer_row, answered))
        if reviewed:
            rows = (_review_row(question, outputs[question.id], reviews[question.id]) for question in reviewed)
            files[f"{_file_name(answered[0])}_review.jsonl"] = write_rows(rows)
        return files

    def read_answers(self, path: Path) -> Sequence[Answer]:
        """Read outputs in FLASK's format. Without `model_id`, the file name is the name of the system.

        Raises:
            DatasetError: The file is missing or malformed, or has an unknown question id.
        """
        return [
            Answer(
                question=self._known(row["question_id"], path, line),
                system=row.get("model_id", path.name.partition(".")[0]),
                texts=(row["text"].strip(),),
            )
            for line, row in read_rows(path, _AnswerRow)
        ]

    def read_judgments(self, path: Path) -> Sequence[Judgment]:
        """Read reviews in FLASK's format with their scores. The file name is the name of the system.

        Raises:
            DatasetError: The file is missing or malformed, or has an unknown question id.
        """
        return [
            Judgment(
                question=self._known(row["idx"], path, line),
                system=path.name.partition(".")[0].removesuffix("_review"),
                score=mean_score(row["score"]),
                fields={"scores": row["score"]},
                reply=row.get("review", ""),
            )
            for line, row in read_rows(path, _ReviewRow)
        ]

    def _known(self, idx: int, path: Path, line: int) -> str:
        if str(idx) not in self._by_id:
            raise DatasetError(f"FLASK has no question {idx!r}; its ids are 1 to 1740", path=path, line=line)
        return str(idx)

    def _rubric(self, label: str) -> str:
        """Return the rubric of a skill: its description and what each score means. Source: gpt4_eval.py::gen_prompt."""
        skill = next(skill for skill in self._skills if label in skill["Skill"])
        scale = "".join(f"\nScore {score}: {skill['Scoring'][score]}" for score in "12345")
        return f"\n{skill['Skill']}: {skill['Criteria']}{scale}\n\n"


def _question(row: _QuestionRow) -> Question:
    return Question(
        id=str(row["idx"]),
        turns=((HumanMessage(row["instruction"]),),),
        decoding=_DECODING,
        fields={key: row[key] for key in ("answer", "task", "skill", "domain", "difficulty")},
    )


def _read(reply: AIMessage) -> tuple[float | None, Mapping[str, Any]]:
    scores = parse_scores(reply.text)
    return mean_score(scores), {"scores": scores, **judge_fields(reply)}


def _without_scores(skills: Mapping[str, float]) -> list[str]:
    missing = [skill for skill in SKILLS if skill not in skills]
    return [f"No scores for {', '.join(missing)}: the average leaves them out."] if missing else []


def _out_of_range(scored: Sequence[tuple[Question, Sequence[tuple[str, float]]]]) -> list[str]:
    outside = [question.id for question, scores in scored if any(not 1 <= score <= 5 for _, score in scores)]
    return [f"Scored outside 1-5, and counted as it is: question {', '.join(outside)}."] if outside else []


def _answer_row(answer: Answer) -> dict[str, Any]:
    return {"question_id": int(answer.question), "text": answer.texts[0], "model_id": answer.system}


def _review_row(question: Question, answer: Answer, judgment: Judgment) -> dict[str, Any]:
    tokens = sum(usage["total_tokens"] for usage in judgment.usage.values())
    return {
        "idx": int(question.id),
        "instruction": question.turns[0][0].text,
        **question.fields,
        "target_txt": answer.texts[0],
        "review": judgment.reply,
        "score": judgment.fields["scores"],
        **({"total_tokens_step4": tokens} if judgment.usage else {}),
    }


def _file_name(answer: Answer) -> str:
    return answer.system.replace("/", "_")
