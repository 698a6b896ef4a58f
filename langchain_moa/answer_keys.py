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

LETTERS = "ABCDEFGHIJ"
"""Of the options, in their order."""

# Thousands are set apart by commas, in LaTeX also as `{,}` or `\,`.
_COMMA = r"(?:,|\{,\}|\\,)"
_NUMBER = re.compile(
    r"(?<![^\W\d_])(?<![\d.])"  # neither the 2 of H2O nor the rest of a longer number
    r"(?P<minus>(?<![\w)])[-\u2212](?:\\?[$€£¥])?)?"  # a dash between two numbers is no sign
    rf"(?P<digits>(?:\d{{1,3}}(?:{_COMMA}\d{{3}})+(?!{_COMMA}?\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?P<exponent>[eE][-+]?\d{1,4}(?!\w))?"
)
_SAID = re.compile(r"\b(?:answer|option|choice)\b\W{0,4}(?:\bis\b|[:=])", re.IGNORECASE)

# In the order of trust: the last of the first kind that there is counts. `A` and `I` before a word may be words too.
_LETTERS = (
    re.compile(r"\\boxed\{\s*(?:\\[a-z]+\{)?\s*\(?([A-J])\s*[).:}]"),
    re.compile(
        r"(?i:\b(?:answer|option|choice)\b\W{0,4}(?:\bis\b)?)[\s:*_(\"'`$\\]*"
        r"([B-HJ](?![\w'\u2019])|[AI](?![\w'\u2019]|\s+(?!because\b|since\b|as\b)[a-z])"
        r"|[a-j](?=[ \t)*_.\"'`]*$))",
        re.MULTILINE,
    ),
    re.compile(r"^[ \t*_(\"'`]*([A-J])[ \t*_).\"'`]*$", re.MULTILINE),
    re.compile(r"(?:\bis\b[ :*_(\"'`]*|(?<!\w)\()([A-J])[ *_).\"'`]*$", re.MULTILINE),
)
_MARKED_LETTER = re.compile(r"(?:^[ \t*_(\"'`]*([A-J])[*_\"'`]*[).:]|(?<!\w)\(([A-J])\))", re.MULTILINE)
_LONE_LETTER = re.compile(r"[\s(]*([a-j])[\s).]*")


def answer_of(text: str, key: AnswerKey) -> Hashable | None:
    """Return what a key reads in a text; one that fails has read nothing."""
    try:
        return key(text)
    except Exception as error:
        logger.warning("The answer key failed on a proposal, which has no vote: %r", error)
        return None


def final_answer(text: str) -> Hashable | None:
    r"""Return what a text ends on: what is in its last `\boxed{}`, else its `choice`, else its `number`."""
    return next((answer for key in (boxed, choice, number) if (answer := key(text)) is not None), None)


def boxed(text: str) -> Hashable | None:
    r"""Return what is in the last `\boxed{}` of a text, without spaces; a number as `number` returns it."""
    _, found, rest = text.rpartition(r"\boxed{")
    depth = 1
    for end, character in enumerate(rest if found else ""):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            content = rest[:end]
            only = _NUMBER.fullmatch(content.strip(" \n$€£¥%\\"))
            return _as_number(only) if only else re.sub(r"\s+", "", content) or None
    return None


def choice(text: str) -> str | None:
    r"""Return the option letter, `A` to `J`, that a text decides for.

    It is the last one in a `\boxed{}`, or else behind `answer`, `option` or `choice`, or else alone on a line, or else
    behind `is` or in parentheses at the end of one, or else the only one that begins a line, as in `B. 9 lines`, or
    stands in parentheses. A lower-case letter counts only where nothing follows it. A text that lists several and names
    none decides for none.
    """
    for pattern in _LETTERS:
        if found := pattern.findall(text):
            return str(found[-1]).upper()
    if len(marked := {first or second for first, second in _MARKED_LETTER.findall(text)}) == 1:
        return str(marked.pop())
    lone = _LONE_LETTER.fullmatch(text)
    return lone[1].upper() if lone else None


def number(text: str) -> Decimal | None:
    r"""Return the number that a text comes to: `$42,409` and `42409.00 dollars` are the same, 4 and 42 are not.

    It is the one in `\boxed{}`, else the first after the last `answer is`, `answer:` or the like, else the last one. A
    digit behind a letter is part of a name, as in `H2O`.
    """
    if isinstance(value := boxed(text), Decimal):
        return value
    for said in list(_SAID.finditer(text))[-1:]:
        if match := _NUMBER.search(text, said.end()):
            return _as_number(match)
    found = list(_NUMBER.finditer(text))
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


def _as_number(match: re.Match[str]) -> Decimal:
    digits = re.sub(_COMMA, "", match["digits"])
    return Decimal(f"{'-' if match['minus'] else ''}{digits}{match['exponent'] or ''}")


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
