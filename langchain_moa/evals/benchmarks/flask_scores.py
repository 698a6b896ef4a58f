"""Parse the scores in a FLASK judge's reply.

Source: kaistAI/FLASK, gpt_review/gpt4_eval.py::parse_score and gpt_review/aggregate_skill.py.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from math import isfinite
from statistics import fmean
from typing import Any

SKILLS = (
    "robustness",
    "correctness",
    "efficiency",
    "factuality",
    "commonsense",
    "comprehension",
    "insightfulness",
    "completeness",
    "metacognition",
    "readability",
    "conciseness",
    "harmlessness",
)
"""The skill names, in the order of aggregate_skill.py."""

_NOT_APPLICABLE = ("na", "n/a", "not applicable")


def parse_scores(review: str) -> dict[str, float | str]:
    """Parse the last dictionary in a review, lower-cased and with underscores replaced by spaces.

    A score may be a number, a number as text, or `N/A`. Empty: there is no valid dictionary.
    """
    # What the original's `{[^}]+}` finds, which takes a time that grows with the square of the review's braces.
    inside = [text for piece in review.split("}")[:-1] if (text := piece.partition("{")[2])]
    if not inside:
        return {}
    try:
        with warnings.catch_warnings():
            # Markdown's `\_` becomes an escape that Python does not know, which it says on stderr.
            warnings.simplefilter("ignore")
            scores = ast.literal_eval(f"{{{inside[-1]}}}".replace("\n", "").replace("_", " ").lower())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return {}
    if not isinstance(scores, dict):
        return {}
    return {
        key: "N/A" if value in _NOT_APPLICABLE else value
        for key, value in scores.items()
        if isinstance(key, str) and isinstance(value, int | float | str)
    }


def scores_by_skill(scores: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return the valid scores as pairs of a skill from `SKILLS` and its score."""
    named = ((_skill(key), _number(value)) for key, value in scores.items())
    return [(skill, number) for skill, number in named if skill in SKILLS and number is not None]


def mean_score(scores: Mapping[str, Any]) -> float | None:
    """Return the mean of the valid scores. `None`: there are none."""
    numbers = [number for _, number in scores_by_skill(scores)]
    return fmean(numbers) if numbers else None


def _skill(key: str) -> str:
    words = key.split(" ")
    return words["logical" in key] if len(words) > ("logical" in key) else ""


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return number if isfinite(number) else None
