"""Judges answers as the evaluations do, without their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from langchain_core.messages import BaseMessage

from langchain_moa.evals.types import Answer, Benchmark, Judgment
from tests.fakes import ScriptedChatModel


def judged(
    benchmark: Benchmark,
    answers: Iterable[Answer],
    reply: str | Callable[[list[BaseMessage]], str] = "",
    *,
    judge: ScriptedChatModel | None = None,
) -> list[Judgment]:
    """Return the judgments of answers by a judge that replies so."""
    questions = {question.id: question for question in benchmark.questions}
    judge = judge or ScriptedChatModel(reply=reply)
    judgments = []
    for answer in answers:
        for verdict in benchmark.judge(questions[answer.question], answer):
            if isinstance(verdict, Judgment):
                judgments.append(verdict)
                continue
            message = judge.invoke(list(verdict.messages), **verdict.arguments)
            score, fields = verdict.read(message)
            judgments.append(
                Judgment(
                    question=answer.question,
                    system=answer.system,
                    part=verdict.part,
                    score=score,
                    fields=fields,
                    reply=message.text,
                )
            )
    return judgments
