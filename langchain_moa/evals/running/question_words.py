"""Questions by what they say: a proposer that replays is asked in words, and answers are kept by question."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from langchain_core.messages import BaseMessage, messages_to_dict

from langchain_moa.evals.types import Question


def key_of_words(messages: Sequence[BaseMessage]) -> str:
    """Return a key of a conversation that does not depend on message ids."""
    return json.dumps([(one["type"], one["data"]["content"]) for one in messages_to_dict(messages)])


def ids_by_words(questions: Iterable[Question]) -> dict[str, str]:
    """Return the ids of single-turn questions by `key_of_words`.

    Raises:
        ValueError: A question has several turns, or two have the same text.
    """
    ids: dict[str, str] = {}
    for question in questions:
        if len(question.turns) != 1:
            msg = (
                f"Question {question.id!r} has {len(question.turns)} turns. What is said in a later one depends on who "
                "takes part: use a single-turn benchmark."
            )
            raise ValueError(msg)
        other = ids.setdefault(key_of_words(question.turns[0]), question.id)
        if other != question.id:
            msg = f"Questions {other!r} and {question.id!r} have the same text: remove one of them."
            raise ValueError(msg)
    return ids
