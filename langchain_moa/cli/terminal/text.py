"""Text for a terminal: counts, and what models and providers say, made safe to print."""

from __future__ import annotations

import os

# C0 and C1 control characters, and DEL. Without ESC and CSI an escape sequence is plain text.
_CONTROLS = dict.fromkeys(code for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t")
_SECRET_NAMES = ("_API_KEY", "_TOKEN", "_SECRET")


def printable(text: str) -> str:
    """Return `text` without control characters other than newlines and tabs."""
    return text.translate(_CONTROLS)


def clean(text: str) -> str:
    """Return `text` without control characters, and without the keys that the environment holds."""
    for name, value in os.environ.items():
        if name.endswith(_SECRET_NAMES) and len(value) >= 8:
            text = text.replace(value, "***")
    return printable(text)


def counted(number: int, noun: str) -> str:
    """Return a number of things in words, such as "1 call" or "2 calls"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """Return `text` cleaned, on one line."""
    return " ".join(clean(text).split())
