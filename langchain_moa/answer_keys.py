r"""Answer keys: what a text answers, so that proposals can vote.

An answer key takes a proposal's text to its answer, or to `None` when it can't read one. Equal answers are one answer,
and what a key can't read never votes. Any function of that form will do; the ones here are for the usual forms:
`\boxed{}`, option letters, numbers and JSON fields.

Texts are written by models, who may write anything, and keys are read while others wait. So every key here takes time
that grows no faster than the text: under 20 ms for 1 MB. `choice` and `number` read the last 50,000 characters of a
text, `boxed` the first 5,000 of its last box.
"""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import regex

logger = logging.getLogger(__name__)

AnswerKey = Callable[[str], Hashable | None]
"""From a text to its answer; `None`: it has none."""

LETTERS = "ABCDEFGHIJ"
"""Of the options, in their order."""

# Characters that are read of a text, and of a box; answers are at the end.
_MOST_READ = 50_000
_MOST_IN_BOX = 5_000

# Seconds that a user's expression may take for a text.
_PATIENCE = 1.0

# Thousands are set apart by commas, in LaTeX also as `{,}` or `\,`.
_COMMA = r"(?:,|\{,\}|\\,)"
_COMMAS = re.compile(_COMMA)
# One number, or several with commas between them: which of the two is not decided here, because an expression that
# looks ahead for it takes quadratic time.
_NUMBERS = re.compile(
    r"(?<![^\W\d_])(?<![\d.])"  # neither the 2 of H2O nor the rest of a longer number
    r"(?P<minus>(?<![\w)])[-\u2212](?:\\?[$€£¥])?)?"  # a dash between two numbers is no sign
    rf"(?P<groups>\d++(?:{_COMMA}\d++)*+)?(?P<decimals>(?(groups)(?:\.\d++)?|\.\d++))"
    r"(?P<exponent>[eE][-+]?\d{1,4}(?!\w))?"
)
_SAID = re.compile(r"\b(?:answer|option|choice)\b\W{0,4}(?:\bis\b|[:=])", re.IGNORECASE)

# In the order of trust: the last of the first kind that there is counts. `A` and `I` before a word may be words too.
_LETTERS = (
    re.compile(r"\\boxed\{\s*+(?:\\[a-z]++\{\s*+)?\(?([A-J])\s*+[).:}]"),
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
_JSON = json.JSONDecoder(strict=False)
_FENCE = re.compile(r"```(?:json)?\s*+")
_MOST_FENCES = 20
_LONE_LETTER = re.compile(r"[\s(]*([a-j])[\s).]*")


def answer_of(text: str, key: AnswerKey) -> Hashable | None:
    """Return what a key reads in a text; one that fails, or returns what can't be counted, has read nothing."""
    try:
        answer = key(text)
        hash(answer)
    except Exception as error:
        logger.warning("The answer key failed on a proposal, which has no vote: %r", error)
        return None
    return answer


def is_builtin(key: AnswerKey) -> bool:
    """Tell whether a key is one of this module that takes under 20 ms for 1 MB of any text.

    Others belong on a thread: a user's function, and `matching`, whose expression may take its whole second. It lets
    other threads run meanwhile.
    """
    function = key.func if isinstance(key, partial) else key
    return function in (final_answer, boxed, choice, number, _json_field)


def final_answer(text: str) -> Hashable | None:
    r"""Return what a text ends on: what is in its last `\boxed{}`, else its `choice`, else its `number`."""
    return next((answer for key in (boxed, choice, number) if (answer := key(text)) is not None), None)


def boxed(text: str) -> Hashable | None:
    r"""Return what is in the last `\boxed{}` of a text, without spaces; a number as `number` returns it."""
    _, found, rest = text.rpartition(r"\boxed{")
    depth = 1
    for brace in re.finditer(r"[{}]", rest[:_MOST_IN_BOX] if found else ""):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            content = rest[: brace.start()]
            only = _NUMBERS.fullmatch(content.strip(" \n$€£¥%\\"))
            values = _values(only) if only else []
            return values[0] if len(values) == 1 else re.sub(r"\s+", "", content) or None
    return None


def choice(text: str) -> str | None:
    r"""Return the option letter, `A` to `J`, that a text decides for.

    It is the last one in a `\boxed{}`, or else behind `answer`, `option` or `choice`, or else alone on a line, or else
    behind `is` or in parentheses at the end of one, or else the only one that begins a line, as in `B. 9 lines`, or
    stands in parentheses. A lower-case letter counts only where nothing follows it. A text that lists several and names
    none decides for none.
    """
    text = _end_of(text)
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
    text = _end_of(text)
    for said in deque(_SAID.finditer(text), maxlen=1):
        if match := _NUMBERS.search(text, said.end()):
            return _values(match)[0]
    for last in deque(_NUMBERS.finditer(text), maxlen=1):
        return _values(last)[-1]
    return None


def json_field(name: str) -> AnswerKey:
    """Return a key that reads a field of the JSON object that a text begins with, or has in a code block."""
    return partial(_json_field, name=name)


def matching(pattern: str) -> AnswerKey:
    """Return a key that reads the last match of a regular expression: its first group, or all of it.

    An expression that takes more than a second for a text has read nothing there. `regex` runs it, not `re`, which
    can't be interrupted and would stop all other threads meanwhile; its syntax is that of `re`, and more.

    Raises:
        ValueError: It is no regular expression.
    """
    # Imported here because it takes 35 ms.
    import regex

    try:
        return partial(_matching, pattern=regex.compile(pattern))
    except regex.error as error:
        msg = f"answer_key {pattern!r} is no regular expression: {error}."
        raise ValueError(msg) from None


def _end_of(text: str) -> str:
    """Return as much of a text's end as is read, from a word's beginning."""
    if len(text) <= _MOST_READ:
        return text
    end = text[-_MOST_READ:]
    return end[first.end() :] if (first := re.search(r"\s", end)) else end


def _values(match: re.Match[str]) -> list[Decimal]:
    """Return the numbers that stand with commas between them.

    `1,2,300,400` are 1, 2 and 300400: groups of three digits at the end are thousands.
    """
    minus, groups, decimals, exponent = (match[name] or "" for name in ("minus", "groups", "decimals", "exponent"))
    parts = _COMMAS.split(groups)
    first = len(parts) - 1
    while first > 0 and len(parts[first]) == 3 and len(parts[first - 1]) <= 3:
        first -= 1
    numbers = [*parts[:first], "".join(parts[first:]) + decimals + exponent]
    return [Decimal(f"-{numbers[0]}" if minus else numbers[0]), *map(Decimal, numbers[1:])]


def _json_objects(text: str) -> Iterator[Any]:
    """Yield the JSON value that a text begins with, and those that its code blocks begin with."""
    start = len(text) - len(text.lstrip())
    for position in [start, *(fence.end() for fence in islice(_FENCE.finditer(text), _MOST_FENCES))]:
        try:
            yield _JSON.raw_decode(text, position)[0]
        except (ValueError, RecursionError):
            continue


def _json_field(text: str, *, name: str) -> Hashable | None:
    for value in _json_objects(text):
        if isinstance(value, dict) and name in value:
            field = value[name]
            return field if isinstance(field, str | int | float | None) else json.dumps(field, sort_keys=True)
    return None


def _matching(text: str, *, pattern: regex.Pattern[str]) -> str | None:
    matches = deque(pattern.finditer(text, concurrent=True, timeout=_PATIENCE), maxlen=1)
    if not matches:
        return None
    found: str | None = matches[0].group(1 if pattern.groups else 0)
    return found.strip() if found else None
