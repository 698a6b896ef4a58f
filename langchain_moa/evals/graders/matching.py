"""Graders that compare the answer with a reference: text, numbers, choices and regular expressions."""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from langchain_moa.answer_keys import LETTERS, choice, matching, number
from langchain_moa.evals.failures import failed_judgment
from langchain_moa.evals.statistics.mean_metric import MeanMetric, scores_by_question
from langchain_moa.evals.statistics.metric_warnings import unscored
from langchain_moa.evals.types import Answer, JudgeCall, Judgment, Question


class Matcher:
    """Grades an answer as right if what is parsed from it matches what is parsed from any of the references."""

    score_name = "accuracy (%)"

    def __init__(
        self,
        spec: str,
        *,
        answer: Callable[[str, Sequence[str]], Any],
        reference: Callable[[str, Sequence[str]], Any],
        matches: Callable[[Any, Any], bool] = operator.eq,
        extracts: bool = False,
    ) -> None:
        """Create a grader.

        Args:
            spec: The grader's specification, used in error messages and as its fingerprint.
            answer: Parses an answer, given the question's choices. `None`: nothing found, the answer is wrong.
            reference: Parses a reference, given the question's choices. `None`: the reference is invalid.
            matches: Compares a parsed answer with a parsed reference.
            extracts: Whether to record the parsed answer in the judgment.
        """
        self.fingerprint = spec
        self._answer = answer
        self._reference = reference
        self._matches = matches
        self._extracts = extracts

    def check(self, question: Question) -> None:
        """Check that the question has references and that each can be parsed.

        Raises:
            ValueError: There is no reference, or one is invalid.
        """
        self._expected(question)

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return a judgment with score 1 for a right answer and 0 for a wrong one."""
        found = self._answer(answer.texts[0], question.fields["choices"])
        right = found is not None and any(self._matches(found, wanted) for wanted in self._expected(question))
        fields = {"found": None if found is None else str(found)} if self._extracts else {}
        return [Judgment(question=question.id, system=answer.system, score=float(right), fields=fields)]

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return the score 0."""
        return [failed_judgment(answer, 0)]

    def metric(
        self, questions: Sequence[Question], answers: Sequence[Answer], judgments: Sequence[Judgment]
    ) -> MeanMetric:
        """Return the accuracy, in percent."""
        scores = scores_by_question(questions, judgments, scale=100)
        return MeanMetric(
            scores, name="accuracy", bounds=(0, 100), figures={}, breakdowns={}, warnings=unscored(judgments)
        )

    def _expected(self, question: Question) -> list[Any]:
        references = references_of(question)
        if not references:
            raise ValueError(f"the grader {self.fingerprint!r} needs a 'reference'")
        expected = [self._reference(reference, question.fields["choices"]) for reference in references]
        if None in expected:
            unusable = references[expected.index(None)]
            raise ValueError(f"the grader {self.fingerprint!r} can't use the reference {unusable!r}")
        return expected


def references_of(question: Question) -> list[str]:
    """Return a question's references as text; empty if it has none.

    Raises:
        ValueError: One is neither text nor a number.
    """
    reference = question.fields["reference"]
    references = reference if isinstance(reference, list) else [] if reference is None else [reference]
    for one in references:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise ValueError(f"the reference {one!r} is neither text nor a number")
    return [str(one) for one in references]


def normalize(text: str) -> str:
    """Normalize text for the graders `exact` and `contains`.

    Ignores case, the kind and amount of white space, Unicode composition (NFC) and one full stop at the end.
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split()).removesuffix(".")


def _text(text: str, choices: Sequence[str]) -> str:
    return normalize(text)


def _wanted(reference: str, choices: Sequence[str]) -> str | None:
    # No text at all would be in every answer.
    return normalize(reference) or None


def _contains(answer: str, wanted: str) -> bool:
    # Neither a part of a word, nor of a number such as 4.5 or 4,200.
    return re.search(rf"(?<!\w)(?<!\d[.,]){re.escape(wanted)}(?!\w|[.,]\d)", answer) is not None


def _answer_letter(text: str, choices: Sequence[str]) -> str | None:
    return _chosen(text, choices) or choice(text)


def _reference_letter(reference: str, choices: Sequence[str]) -> str | None:
    # Not as an answer is read: `B. The answer is C` may be an option.
    letter = re.match(rf"\s*\(?([{LETTERS}])(?:[).:]|\s*$)", reference.upper())
    return _chosen(reference, choices) or (letter[1] if letter and _exists(letter[1], choices) else None)


def _chosen(text: str, choices: Sequence[str]) -> str | None:
    """Return the letter of the choice that a text is, with or without its letter in front."""
    said = normalize(text)
    lettered = zip(LETTERS, choices, strict=False)
    return next((a for a, option in lettered if said in (normalize(option), normalize(f"{a}. {option}"))), None)


def _exists(letter: str, choices: Sequence[str]) -> bool:
    return not choices or letter in LETTERS[: len(choices)]


def _pattern(reference: str, choices: Sequence[str]) -> re.Pattern[str]:
    try:
        return re.compile(reference)
    except re.error as error:
        raise ValueError(f"{reference!r} is not a valid regular expression: {error}") from error


def _number(text: str, choices: Sequence[str]) -> Decimal | None:
    return number(text)


def numeric_matcher(spec: str, tolerance: str) -> Matcher:
    """Return the grader `numeric:TOLERANCE`.

    Raises:
        ValueError: The tolerance is not a number of at least 0.
    """
    if not re.fullmatch(r"\d*\.?\d+", tolerance):
        raise ValueError(
            f"Grader {spec!r} has an invalid tolerance; write a number of at least 0, such as numeric:0.01"
        )
    most = Decimal(tolerance)

    def is_close(found: Decimal, wanted: Decimal) -> bool:
        return abs(found - wanted) <= most

    return Matcher(spec, answer=_number, reference=_number, matches=is_close, extracts=True)


def regex_matcher(spec: str, pattern: str) -> Matcher:
    """Return the grader `regex:PATTERN`.

    Raises:
        ValueError: The pattern is not a valid regular expression.
    """
    _pattern(pattern, ())  # whose error speaks of no answer key
    read = matching(pattern)

    def extract(text: str, choices: Sequence[str]) -> str | None:
        found = read(text)
        return None if found is None else normalize(str(found))

    return Matcher(spec, answer=extract, reference=_wanted, extracts=True)


MATCHERS: dict[str, Matcher] = {
    "exact": Matcher("exact", answer=_text, reference=_wanted),
    "contains": Matcher("contains", answer=_text, reference=_wanted, matches=_contains),
    "numeric": Matcher("numeric", answer=_number, reference=_number, extracts=True),
    "choice": Matcher("choice", answer=_answer_letter, reference=_reference_letter, extracts=True),
    "regex": Matcher(
        "regex",
        answer=lambda text, choices: text,
        reference=_pattern,
        matches=lambda text, pattern: pattern.search(text) is not None,
    ),
}
