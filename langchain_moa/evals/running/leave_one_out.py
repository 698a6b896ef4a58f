"""Leave-one-out ablation: re-aggregate a mixture's cached references without one proposer, or several.

Only the aggregator is called again. With one layer, this is the mixture without the proposers. With several layers,
they are left out of the last layer only; their references in earlier layers stay, and their cost is counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_moa.evals.running.proposals import sum_of_usages
from langchain_moa.evals.running.question_words import ids_by_words, key_of_words
from langchain_moa.evals.types import Answer, Question

Call = Mapping[str, Any]
"""A proposer's call in an answer's metadata: `proposer`, `model`, `status`, `seconds`, `usage` and, if any, `text`."""


class CachedReferences:
    """The cached references of the last layer, by question."""

    def __init__(self, questions: Sequence[Question], answers: Sequence[Answer]) -> None:
        """Read the references from a mixture's answers.

        Args:
            questions: Single-turn questions; later turns would depend on the proposer that is left out.
            answers: Answers with references in `response_metadata["moa"]`; failed answers are skipped.

        Raises:
            ValueError: A question has several turns, two questions have the same text, an answer has no references, or
                there is only one proposer.
        """
        self._answers = {answer.question: answer for answer in answers if answer.error is None}
        self.questions = [question for question in questions if question.id in self._answers]
        self._by_words = ids_by_words(self.questions)
        for question in self.questions:
            self._check_references(question)
        calls = [call for question in self.questions for call in self.calls(question.id)[-1]]
        self.proposers = list(dict.fromkeys(str(call["proposer"]) for call in calls))
        if len(self.proposers) < 2:
            msg = f"Leave-one-out needs at least two proposers in the last layer; there are {len(self.proposers)}."
            raise ValueError(msg)

    @property
    def fingerprint(self) -> str:
        """Hash of all references."""
        said = {
            question.id: [[c["proposer"], c.get("text")] for c in self.calls(question.id)[-1]]
            for question in self.questions
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def layers(self) -> int:
        """The largest number of proposer layers of any answer."""
        return max(len(self.calls(question.id)) for question in self.questions)

    def calls(self, question: str) -> Sequence[Sequence[Call]]:
        """Return the proposers' calls for a question, layer by layer."""
        layers: Sequence[Sequence[Call]] = self._answers[question].metadata[0]["moa"]["layers"]
        return layers

    def find(self, proposer: str, messages: Sequence[BaseMessage]) -> str | None:
        """Return a proposer's cached reference for a conversation. `None`: it gave none."""
        calls = self.calls(self._by_words[key_of_words(messages)])[-1]
        return next((call.get("text") for call in calls if call["proposer"] == proposer), None)

    def groups(self, most: int) -> list[tuple[str, ...]]:
        """Return which proposers are left out together: each alone, then two of them, up to so many.

        Raises:
            ValueError: Nobody would be left.
        """
        if most >= len(self.proposers):
            msg = f"Leaving out {most} of {len(self.proposers)} proposers leaves nobody: give at most "
            raise ValueError(f"{msg}{len(self.proposers) - 1}.")
        return [group for count in range(1, most + 1) for group in combinations(self.proposers, count)]

    def complete(self, answer: Answer, *, without: Collection[str]) -> Answer:
        """Add the cost of the cached references to an answer.

        Args:
            answer: The answer as measured: the aggregator's call alone.
            without: The proposers that were left out.

        Returns:
            The answer with `calls` and `usage` of the whole mixture without the proposers. `seconds` is estimated: the
                slowest call of each layer plus the aggregator's call.
        """
        *before, last = self.calls(answer.question)
        layers = [*before, [call for call in last if call["proposer"] not in without]]
        kept = [call for layer in layers for call in layer if call["status"] != "skipped"]
        waited = sum(max((call["seconds"] for call in layer), default=0.0) for layer in layers)
        return replace(
            answer,
            calls=answer.calls + len(kept),
            usage=sum_of_usages(
                [answer.usage, *({call["model"]: call["usage"]} for call in kept if call.get("usage"))]
            ),
            seconds=None if answer.seconds is None else answer.seconds + waited,
        )

    def _check_references(self, question: Question) -> None:
        try:
            there = any("text" in call for call in self.calls(question.id)[-1])
        except (KeyError, IndexError):
            there = False
        if not there:
            msg = (
                f"The answer to question {question.id!r} has no references: generate it with a ChatMoA with "
                "include_references=True, as `moa eval generate` does for line-ups."
            )
            raise ValueError(msg)
