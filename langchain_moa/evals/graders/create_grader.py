"""Create a grader from its name or from a function."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

from langchain_moa.evals.graders.functions import FunctionGrader
from langchain_moa.evals.graders.grader import Grader
from langchain_moa.evals.graders.matching import MATCHERS, numeric_matcher, regex_matcher

GRADERS = ("exact", "contains", "numeric[:TOLERANCE]", "choice", "regex[:PATTERN]", "MODULE:FUNCTION")
"""The forms of a grader specification."""


def create_grader(spec: str | Callable[..., Any]) -> Grader:
    r"""Return the grader for a name or a function.

    Args:
        spec: A function, as for `FunctionGrader`, or one of

            - `exact`: the answer equals the reference after `normalize`.
            - `contains`: the answer contains the reference as whole words, after `normalize`. `4` is not in `42`.
            - `numeric`, `numeric:0.01`: the number in the answer equals the reference, exactly or within a tolerance.
              Both are parsed with `answer_keys.number`.
            - `choice`: the letter in the answer, parsed with `answer_keys.choice`, is the reference's; the text of
              the choice also counts. A reference may be a letter, `B. text`, or one of the `choices`.
            - `regex`: the reference is a regular expression that matches somewhere in the answer.
            - `regex:PATTERN`: the last match of the pattern (or its first group) equals the reference, as in `exact`.
            - `module:function`: a function to import.

    Raises:
        ValueError: The grader is unknown, or its pattern, tolerance or function is invalid.
    """
    if not isinstance(spec, str):
        return FunctionGrader(spec)
    name, separator, argument = spec.partition(":")
    if name in MATCHERS and not separator:
        return MATCHERS[name]
    if name == "numeric":
        return numeric_matcher(spec, argument)
    if name == "regex":
        return regex_matcher(spec, argument)
    if name == "pairwise":
        raise ValueError(f"Grader {spec!r} needs the answers of a baseline: pass Pairwise(answers)")
    if not separator:
        raise ValueError(f"Grader {spec!r} is unknown; choose from {', '.join(GRADERS)}, pairwise")
    try:
        function = pkgutil.resolve_name(spec)
    except Exception as error:  # the module is the user's
        raise ValueError(f"Grader {spec!r} can't be imported ({error}); write it as MODULE:FUNCTION") from error
    if not callable(function):
        raise ValueError(f"Grader {spec!r} is {function!r}, which can't be called; name a function")
    return FunctionGrader(function, name=spec)
