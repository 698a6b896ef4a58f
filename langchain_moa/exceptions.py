"""The errors of this package.

* LangChainException                      (langchain_core.exceptions)
  + MoAError                              base of ours
    - ProposersFailedError  (ModelError)  too few proposers of a layer answered; .layer, .errors by proposer name
    - DeadlineError         (TimeoutError) a call was not finished at its deadline
    - FirstTokenTimeoutError (TimeoutError) an aggregator gave no token in time
    - EmptyAnswerError      (ModelError)  an aggregator ended without a word
    - LocalModelError                     the embedded local model can't be found, loaded or fetched
    - DatasetError          (ValueError)  a benchmark's file is missing or malformed; .path, .line
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_core.exceptions import LangChainException, ModelError, ModelTimeoutError


class MoAError(LangChainException):
    """Base of the errors that this package raises while it works.

    A wrong configuration is a `ValueError` at construction instead.
    """


class ProposersFailedError(MoAError, ModelError):
    """Too few proposers of a layer gave a reference."""

    def __init__(self, message: str, *, layer: int, errors: Mapping[str, Exception]) -> None:
        """Keep the causes.

        Args:
            message: What the user reads.
            layer: The layer that failed, from 1.
            errors: What went wrong, by proposer name, in the proposers' order.
        """
        super().__init__(message)
        self.layer = layer
        self.errors = dict(errors)

    @property
    def is_retryable(self) -> bool:  # type: ignore[override]  # core declares a plain attribute
        """Whether the same call may succeed later: true when that holds for any cause."""
        return any(isinstance(e, TimeoutError) or getattr(e, "is_retryable", False) for e in self.errors.values())


class DeadlineError(MoAError, ModelTimeoutError, TimeoutError):
    """A call was not finished at its deadline."""

    is_retryable = True


class FirstTokenTimeoutError(MoAError, ModelTimeoutError, TimeoutError):
    """An aggregator gave no token within `first_token_timeout`."""

    is_retryable = True

    def __init__(self, model: str, seconds: float) -> None:
        super().__init__(f"{model!r} gave no token within {seconds:g} seconds (first_token_timeout)")
        self.model = model
        self.seconds = seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.model, self.seconds)


class EmptyAnswerError(MoAError, ModelError):
    """An aggregator ended without text, reasoning or a tool call."""

    is_retryable = True

    def __init__(self, model: str, finish_reason: str | None) -> None:
        super().__init__(f"{model!r} gave an empty answer (finish reason: {finish_reason})")
        self.model = model
        self.finish_reason = finish_reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.model, self.finish_reason)


class LocalModelError(MoAError):
    """The embedded local model can't be found, loaded or fetched."""


class DatasetError(MoAError, ValueError):
    """A benchmark's file is missing or malformed."""

    def __init__(self, message: str, *, path: Path, line: int | None = None) -> None:
        """Keep the place.

        Args:
            message: What the user reads. It is shown after the place.
            path: The file.
            line: From 1; `None`: the whole file.
        """
        super().__init__(f"{path}{'' if line is None else f':{line}'}: {message}")
        self.path = path
        self.line = line


def describe(error: BaseException) -> str:
    """Return an error as metadata and messages show it."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
