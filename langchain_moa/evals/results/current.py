"""Stored judgments that match the current answers."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_moa.evals.results.journal import Row
from langchain_moa.evals.results.keys import answer_key
from langchain_moa.evals.results.store import Store
from langchain_moa.evals.types import Answer, Judgment


def current_judgments(answers: Sequence[Answer], store: Store, judge: str) -> list[Judgment]:
    """Return a judge's judgments of `answers`, including failed ones. Judgments of replaced answers are left out.

    Raises:
        DatasetError: The file is damaged.
    """
    return store.to_judgments(current_rows(store.judgment_journal(judge).rows, answers), judge)


def current_rows(rows: Sequence[Row], answers: Sequence[Answer]) -> list[Row]:
    """Return the rows that judge `answers` with their current texts."""
    keys = {answer.question: answer_key(answer) for answer in answers}
    return [row for row in rows if row["question"] in keys and row.get("answer") == keys[row["question"]]]
