"""From the name of a grader, or a function, to the grader."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

from langchain_moa.evals.graders.functions import FunctionGrader
from langchain_moa.evals.graders.grader import Grader
from langchain_moa.evals.graders.matching import MATCHERS, numeric_matcher, regex_matcher

GRADERS = ("exact", "contains", "numeric[:TOLERANCE]", "choice", "regex[:PATTERN]", "MODULE:FUNCTION")
"""What the specification of a grader can be."""


def create_grader(spec: str | Callable[..., Any]) -> Grader:
    r"""Return a grader.

    Args:
        spec: A function, as `FunctionGrader` takes it, or one of

            - `exact`: the answer is the reference, as `normalise` has both.
            - `contains`: the reference is in the answer as whole words, both so normalised. `4` is not in `42`.
            - `numeric`, `numeric:0.01`: the answer comes to the reference's number, or as close as that, as
              `answer_keys.number` reads both.
            - `choice`: the answer decides for the reference's letter, as `answer_keys.choice` reads it, or is the
              choice that has it. A reference may be a letter, `B. text`, or one of the `choices`.
            - `regex`: the reference is a regular expression that is found in the answer.
            - `regex:PATTERN`: the last match of the pattern, or of its first group, is the reference as in `exact`.
            - `module:function`: a function, by its name.

    Raises:
        ValueError: There is no such grader, or its pattern, tolerance or function can't be used.
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
        raise ValueError(f"Grader {spec!r} needs a baseline's answers: give a Pairwise(answers)")
    if not separator:
        raise ValueError(f"Grader {spec!r} is unknown; choose from {', '.join(GRADERS)}, pairwise")
    try:
        function = pkgutil.resolve_name(spec)
    except Exception as error:  # the module is the user's
        raise ValueError(f"Grader {spec!r} can't be imported ({error}); write it as MODULE:FUNCTION") from error
    if not callable(function):
        raise ValueError(f"Grader {spec!r} is {function!r}, which can't be called; name a function")
    return FunctionGrader(function, name=spec)
