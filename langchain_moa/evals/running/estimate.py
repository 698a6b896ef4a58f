"""Estimate the calls and tokens of an evaluation before the first call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately

from langchain_moa.evals.systems import System
from langchain_moa.evals.types import Answer, Benchmark, JudgeCall, Question

# An answer of the models on the AlpacaEval 2 leaderboard has about 1,800 characters, 450 tokens.
_ANSWER_TOKENS = 450
_ANSWER = "word " * 360

# An explanation and a rating, as MT-Bench's and FLASK's judges write them.
_VERDICT_TOKENS = 250

# The prompt around the references, such as the Aggregate-and-Synthesize one.
_PROMPT_TOKENS = 150


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated calls and tokens of one system on one benchmark."""

    benchmark: str
    system: str
    questions: int

    calls: int
    """Calls of the system's models; judge calls are counted separately."""

    input_tokens: int
    output_tokens: int

    judge_calls: int
    judge_input_tokens: int
    judge_output_tokens: int


def estimate_run(benchmark: Benchmark, system: System, questions: Sequence[Question], *, judged: bool) -> Estimate:
    """Estimate calls and tokens from the lengths of the questions, assuming answers of typical length.

    Args:
        benchmark: The benchmark; it renders the judge prompts for made-up answers.
        system: The system; its `calls` and `passages` give the cost per answer.
        questions: The questions to be asked.
        judged: Whether answers are judged by a judge. If not, no grader runs either.
    """
    read, written = _generation(system, questions)
    calls = [call for question in questions for call in _judge_calls(benchmark, question)] if judged else []
    return Estimate(
        benchmark=benchmark.name,
        system=system.name,
        questions=len(questions),
        calls=sum(len(question.turns) for question in questions) * system.calls,
        input_tokens=read,
        output_tokens=written,
        judge_calls=len(calls),
        judge_input_tokens=sum(_tokens(call.messages) for call in calls),
        judge_output_tokens=sum(
            min(call.arguments.get("max_tokens") or _VERDICT_TOKENS, _VERDICT_TOKENS) for call in calls
        ),
    )


def _generation(system: System, questions: Sequence[Question]) -> tuple[int, int]:
    """Return the input and output tokens of all answers."""
    read = written = 0
    for question in questions:
        answer = min(question.decoding.get("max_tokens") or _ANSWER_TOKENS, _ANSWER_TOKENS)
        conversation: list[BaseMessage] = []
        for turn in question.turns:
            conversation += turn
            read += system.calls * _tokens(conversation) + system.passages * answer
            read += _PROMPT_TOKENS * (system.calls > 1)
            written += system.calls * answer
            conversation.append(AIMessage(_ANSWER))
    return read, written


def usual_answer(question: Question, *, system: str = "baseline") -> Answer:
    """Return a made-up answer of typical length."""
    return Answer(question=question.id, system=system, texts=(f"{_ANSWER}({system})",) * len(question.turns))


def _judge_calls(benchmark: Benchmark, question: Question) -> list[JudgeCall]:
    answer = usual_answer(question, system="system")
    return [verdict for verdict in benchmark.judge(question, answer) if isinstance(verdict, JudgeCall)]


def _tokens(messages: Sequence[BaseMessage]) -> int:
    return count_tokens_approximately(messages)
