r"""Answer keys: what a text answers, so that proposals can vote.

An answer key takes a proposal's text to its answer, or to `None` when it can't read one. Equal answers are one answer,
and what a key can't read never votes. Any function of that form will do; the ones here are for the usual forms:
`\boxed{}`, option letters, numbers and JSON fields.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Hashable
from decimal import Decimal
from functools import partial

from langchain_core.utils.json import parse_json_markdown

logger = logging.getLogger(__name__)

AnswerKey = Callable[[str], Hashable | None]
"""From a text to its answer; `None`: it has none."""

# Thousands are set apart by commas, in LaTeX also as `{,}` or `\,`. A dash between two digits is no sign.
_GROUPED = r"\d{1,3}(?:(?:,|\{,\}|\\,)\d{3})+(?:\.\d+)?(?!\d)"
_NUMBER = re.compile(rf"(?<![\w.])(?:[-\u2212]\s?)?\$?(?:{_GROUPED}|\d+(?:\.\d+)?)")
_NOT_OF_A_NUMBER = re.compile(r"[^\d.\-]")
_CUE = re.compile(r"\b(?:answer|option|choice)\b\W{0,4}(?:is\b)?\W*", re.IGNORECASE)
_LETTER = re.compile(r"([A-J])(?![\w'\u2019])(?! [a-z])")
_MARKED_LETTER = re.compile(r"\(([A-J])\)|^\W*([A-J])(?:[.):*]|\s*$)", re.MULTILINE)


def answer_of(text: str, key: AnswerKey) -> Hashable | None:
    """Return what a key reads in a text; one that fails has read nothing."""
    try:
        return key(text)
    except Exception as error:
        logger.warning("The answer key failed on a proposal, which has no vote: %r", error)
        return None


def final_answer(text: str) -> Hashable | None:
    r"""Return what a text ends on: what is in its last `\boxed{}`, else its `choice`, else its `number`."""
    return boxed(text) or choice(text) or number(text)


def boxed(text: str) -> Hashable | None:
    r"""Return what is in the last `\boxed{}` of a text, without spaces; a number as `number` returns it."""
    _, found, rest = text.rpartition(r"\boxed{")
    depth = 1
    for end, character in enumerate(rest if found else ""):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            content = rest[:end]
            only = _NUMBER.fullmatch(content.strip(" \n$%\\"))
            return _as_number(only[0]) if only else re.sub(r"\s+", "", content) or None
    return None


def choice(text: str) -> str | None:
    r"""Return the option letter, A to J, that a text decides for.

    It is the one in `\boxed{}`, else the one after the last `answer is`, `answer:` or the like, else the only one that
    stands in parentheses or at the beginning of a line. A text that lists several and names none decides for none.
    """
    if isinstance(letter := boxed(text), str) and (match := _LETTER.fullmatch(letter.strip("()"))):
        return match[1]
    named = [match[1] for cue in _CUE.finditer(text) if (match := _LETTER.match(text, cue.end()))]
    if named:
        return named[-1]
    marked = {first or second for first, second in _MARKED_LETTER.findall(text)}
    return marked.pop() if len(marked) == 1 else None


def number(text: str) -> Decimal | None:
    r"""Return the number that a text comes to: `$42,409` and `42409.00 dollars` are the same, 4 and 42 are not.

    It is the one in `\boxed{}`, else the first after the last `answer is`, `answer:` or the like, else the last one.
    """
    if isinstance(value := boxed(text), Decimal):
        return value
    cues = [match.end() for match in _CUE.finditer(text) if re.search(r"\bis\b|[:=]", match[0])]
    if cues and (match := _NUMBER.search(text, cues[-1])):
        return _as_number(match[0])
    found = _NUMBER.findall(text)
    return _as_number(found[-1]) if found else None


def json_field(name: str) -> AnswerKey:
    """Return a key that reads a field of the JSON object that a text is, or has in a code block."""
    return partial(_json_field, name=name)


def matching(pattern: str) -> AnswerKey:
    """Return a key that reads the last match of a regular expression: its first group, or all of it.

    Raises:
        ValueError: It is no regular expression.
    """
    try:
        return partial(_matching, pattern=re.compile(pattern))
    except re.error as error:
        msg = f"answer_key {pattern!r} is no regular expression: {error}."
        raise ValueError(msg) from None


def _as_number(text: str) -> Decimal:
    value = Decimal(_NOT_OF_A_NUMBER.sub("", text.replace("\u2212", "-")))
    return value.normalize() + 0  # no negative zero


def _json_field(text: str, *, name: str) -> Hashable | None:
    try:
        value = parse_json_markdown(text)[name]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return value if isinstance(value, str | int | float | None) else json.dumps(value, sort_keys=True)


def _matching(text: str, *, pattern: re.Pattern[str]) -> str | None:
    matches = list(pattern.finditer(text))
    if not matches:
        return None
    found = matches[-1].group(1 if pattern.groups else 0)
    return found.strip() if found else None
