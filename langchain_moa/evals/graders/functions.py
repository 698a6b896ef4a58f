"""Graders that are Python functions: your own, or evaluators from openevals."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from langchain_moa.evals.failures import failed_judgment
from langchain_moa.evals.statistics.mean_metric import MeanMetric, means_by, scores_by_question
from langchain_moa.evals.statistics.metric_warnings import unscored
from langchain_moa.evals.types import Answer, Bounds, JudgeCall, Judgment, Question
from langchain_moa.exceptions import describe

_ARGUMENTS = ("inputs", "outputs", "reference_outputs")


class FunctionGrader:
    """Grades with a function that takes any of the keyword arguments `inputs`, `outputs` and `reference_outputs`.

    `inputs` is the row's `input` or `messages`, `outputs` the text of the answer and `reference_outputs` the row's
    `reference`. The function returns a score (a number or a boolean), or a result in the format of openevals and
    LangSmith: `{"key": ..., "score": ..., "comment": ...}`, or a list of those, whose mean is the score.
    """

    score_name = "mean score"

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        """Create a grader from a function.

        Args:
            function: A synchronous function. It may block, for instance to call a model.
            name: Name in error messages. Default: the function's qualified name.

        Raises:
            ValueError: The function takes none of the three arguments, requires others, or is asynchronous.
        """
        self._function = function
        self._name = name or _name(function)
        self._arguments = _arguments(function, self._name)
        self.fingerprint = f"{self._name}\n{_source(function)}"

    def check(self, question: Question) -> None:
        """Accept any question; the function decides what it needs."""

    def judge(self, question: Question, answer: Answer) -> Sequence[JudgeCall | Judgment]:
        """Return the function's score as a judgment. If it raises or returns no score, the judgment has an error."""
        known = {
            "inputs": question.fields["input"],
            "outputs": answer.texts[0],
            "reference_outputs": question.fields["reference"],
        }
        try:
            result = self._function(**{name: known[name] for name in self._arguments})
            scores, comment = _read(result)
        except Exception as error:
            message = f"Grader {self._name!r} failed: {describe(error)}"
            return [Judgment(question=question.id, system=answer.system, error=message)]
        score = sum(scores.values()) / len(scores)
        return [
            Judgment(question=question.id, system=answer.system, score=score, fields={"scores": scores}, reply=comment)
        ]

    def unanswered(self, answer: Answer) -> Sequence[Judgment]:
        """Return the score 0, whatever the function's lowest score may be."""
        return [failed_judgment(answer, 0)]

    def metric(
        self, questions: Sequence[Question], answers: Sequence[Answer], judgments: Sequence[Judgment]
    ) -> MeanMetric:
        """Return the mean score, and means by key where the function returns several."""
        scored = [judgment.fields.get("scores", {}) for judgment in judgments if judgment.score is not None]
        keys = list(dict.fromkeys(key for scores in scored for key in scores))
        by_key = means_by(((key, score) for scores in scored for key, score in scores.items()), keys)
        return MeanMetric(
            scores_by_question(questions, judgments),
            name="mean score",
            bounds=_bounds(judgments),
            figures={},
            breakdowns={"key": by_key} if len(by_key) > 1 else {},
            warnings=unscored(judgments),
        )


def _bounds(judgments: Sequence[Judgment]) -> Bounds | None:
    """Return 0 and 1 if all scores lie between them, as those of openevals do."""
    return (0, 1) if all(0 <= one.score <= 1 for one in judgments if one.score is not None) else None


def _name(function: Callable[..., Any]) -> str:
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def _source(function: Callable[..., Any]) -> str:
    """Return the source code, so that an edited function grades again. Empty: not available."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""


def _arguments(function: Callable[..., Any], name: str) -> Sequence[str]:
    """Return which of the three arguments the function takes."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise ValueError(f"Grader {name!r} is asynchronous; pass a synchronous function, it runs in a thread")
    signature = inspect.signature(function)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    arguments = _ARGUMENTS if takes_any else tuple(name for name in _ARGUMENTS if name in signature.parameters)
    try:
        signature.bind(**dict.fromkeys(arguments))
    except TypeError as error:
        raise ValueError(
            f"Grader {name!r} must take only {', '.join(_ARGUMENTS)} as keyword arguments: {error}"
        ) from error
    if not arguments:
        raise ValueError(f"Grader {name!r} takes none of the arguments {', '.join(_ARGUMENTS)}; rename its parameters")
    return arguments


def _read(result: Any) -> tuple[dict[str, float], str]:
    """Return the scores by key, and the comments, from what the function returned."""
    results: Iterable[Any] = result if isinstance(result, list | tuple) else [result]
    scores, comments = {}, []
    for number, one in enumerate(results, 1):
        if isinstance(one, Mapping):
            key = str(one.get("key") or f"score {number}")
            scores[key] = _number(one.get("score"))
            comments.append(str(one.get("comment") or ""))
        else:
            scores[f"score {number}"] = _number(one)
    if not scores:
        raise ValueError("it returned no score")
    return scores, "\n".join(filter(None, comments))


def _number(score: Any) -> float:
    if isinstance(score, str | None) or not isfinite(number := float(score)):
        raise ValueError(f"{score!r} is not a score; return a number, a boolean, or a dictionary with a 'score'")
    return number
