"""A small benchmark for the tests of what runs evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import HumanMessage

from langchain_moa.evals.types import Answer, JudgeCall, Judgment, Question


def question(id, *turns, **decoding):
    return Question(id=id, turns=tuple((HumanMessage(turn),) for turn in turns), decoding=decoding)


def read(reply):
    return (float(reply.text), {"read": True}) if reply.text.isdigit() else (None, {})


@dataclass
class Quiz:
    """Its judge is asked once a turn, or about nothing where `verdict` gives the score."""

    questions: Sequence[Question] = (question("q1", "One?"), question("q2", "Two?"), question("q3", "Three?"))
    name: str = "quiz"
    fingerprint: str = "1"
    prompt: str = "Rate"
    verdict: Any = None
    judged: list[str] = field(default_factory=list)

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        self.judged.append(question.id)
        if self.verdict is not None:
            return [Judgment(question=question.id, system=answer.system, score=self.verdict(answer))]
        return [
            JudgeCall(
                part=f"turn_{number}",
                messages=[HumanMessage(f"{self.prompt} {question.id} turn {number}: {text}")],
                arguments={"temperature": 0, "max_tokens": 9},
                read=read,
            )
            for number, text in enumerate(answer.texts, 1)
        ]

    def export(self, answers: Sequence[Answer], judgments: Sequence[Judgment]) -> Mapping[str, str]:
        return {"answers.txt": "".join(f"{answer.texts}\n" for answer in answers)}
