"""What an answer says, read out of its text."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

LETTERS = "ABCDEFGHIJ"
"""Of the options, in their order."""

_NUMBER = re.compile(
    r"(?<![^\W\d_])(?<![\d.])"  # neither the 2 of H2O nor the rest of a longer number
    r"(?P<minus>(?<![\w)])[-\u2212][$€£¥]?)?"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!,?\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?P<exponent>[eE][-+]?\d{1,4}(?!\w))?"
)


def normalise(text: str) -> str:
    """Return a text as `exact` and `contains` compare it.

    Case, the kind and amount of white space, the way accented letters are encoded, and one full stop at the end make
    no difference.
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split()).removesuffix(".")


def last_number(text: str) -> Decimal | None:
    """Return the last number in a text; `None`: there is none.

    A comma before every three digits separates thousands; what stands around the number, such as a currency or a
    unit, makes no difference: `$42,409.50 a year` is 42409.5. A digit behind a letter is part of a name, as in `H2O`.
    """
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    last = numbers[-1]
    number = Decimal(last["digits"].replace(",", "") + (last["exponent"] or ""))
    return -number if last["minus"] else number


# In the order of trust: the last of the first kind that there is counts. `I` before a word is a pronoun.
_LETTERS = (
    re.compile(r"\\boxed\{\s*(?:\\text\{)?\s*\(?([A-J])\b"),
    re.compile(
        r"(?i:\b(?:answer|option|choice)\b(?:\s+is\b)?)[\s:*_(\"'`]*"
        r"([A-HJ](?![\w'])|I(?![\w'\u2019]|\s+[a-z])|[a-j](?=[ \t)*_.\"'`]*$))",
        re.MULTILINE,
    ),
    re.compile(r"^[ \t*_(\"'`]*([A-J])[ \t*_).\"'`]*$", re.MULTILINE),
    re.compile(r"(?:\bis\b[ :*_(\"'`]*|(?<!\w)\()([A-J])[ *_).\"'`]*$", re.MULTILINE),
)
_LISTED_LETTER = re.compile(r"^[ \t*_(\"'`]*([A-J])[*_\"'`]*[).:]", re.MULTILINE)
_LONE_LETTER = re.compile(r"[\s(]*([a-j])[\s).]*")


def option_letter(text: str) -> str | None:
    r"""Return the letter of the option, `A` to `J`, that a text decides on; `None`: none that is clear.

    It is the last letter in a `\boxed{B}`, or else behind `answer`, `option` or `choice`, or else alone on a line, or
    else behind `is` or in brackets at the end of one, or else the only one that begins a line before a bracket, a full
    stop or a colon, as in `B. 9 lines`. A lower-case letter counts only where nothing follows it.
    """
    for pattern in _LETTERS:
        if found := pattern.findall(text):
            return str(found[-1]).upper()
    if len(listed := set(_LISTED_LETTER.findall(text))) == 1:
        return str(listed.pop())
    lone = _LONE_LETTER.fullmatch(text)
    return lone[1].upper() if lone else None
