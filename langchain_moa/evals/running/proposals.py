"""The answers of single models, as proposals of mixtures: each is asked for once, whoever it is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce

from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage

from langchain_moa.evals.running.question_words import ids_by_words, key_of_words
from langchain_moa.evals.types import Answer, Question


class Proposals:
    """Proposals by proposer and question."""

    def __init__(self, questions: Iterable[Question]) -> None:
        """Take the questions.

        Args:
            questions: With a single turn: what is said in a later one depends on the mixture.

        Raises:
            ValueError: A question has several turns, or two have the same text.
        """
        self._ids = ids_by_words(questions)
        self._answers: dict[str, dict[str, Answer]] = {}

    def add(self, proposer: str, answers: Sequence[Answer]) -> None:
        """Add a proposer's answers. Failed ones are no proposals."""
        good = {answer.question: answer for answer in answers if answer.error is None}
        self._answers.setdefault(proposer, {}).update(good)

    def find(self, proposer: str, messages: Sequence[BaseMessage]) -> str | None:
        """Return what a proposer says to a conversation. `None`: nothing."""
        answer = self._answers.get(proposer, {}).get(self._ids[key_of_words(messages)])
        return answer.texts[0] if answer else None

    def complete(self, answer: Answer, proposers: Sequence[str]) -> Answer:
        """Add what its proposals cost to an answer that was measured without them.

        `seconds` is the slowest proposal's and the answer's own.
        """
        own = [found for name in proposers if (found := self._answers.get(name, {}).get(answer.question))]
        waited = max((proposal.seconds or 0.0 for proposal in own), default=0.0)
        return replace(
            answer,
            calls=answer.calls + sum(proposal.calls for proposal in own),
            usage=sum_of_usages([answer.usage, *(proposal.usage for proposal in own)]),
            seconds=None if answer.seconds is None else answer.seconds + waited,
        )


def sum_of_usages(usages: Sequence[Mapping[str, UsageMetadata]]) -> dict[str, UsageMetadata]:
    """Add up usages by model."""
    models = dict.fromkeys(model for usage in usages for model in usage)
    return {model: reduce(add_usage, (usage[model] for usage in usages if model in usage)) for model in models}
