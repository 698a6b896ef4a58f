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

import os
import pickle
import re
from collections.abc import Mapping
from copyreg import __newobj__  # type: ignore[attr-defined]  # the stubs leave it out
from pathlib import Path
from typing import Any, Self
from weakref import WeakValueDictionary

from langchain_core.exceptions import LangChainException, ModelError, ModelTimeoutError
from pydantic import SecretStr


class MoAError(LangChainException):
    """Base of the errors that this package raises while it works.

    A wrong configuration is a `ValueError` at construction instead.
    """

    def __reduce__(self) -> Any:
        # An exception is rebuilt by calling its class with `args`, which lacks the keyword arguments.
        return __newobj__, (type(self), *self.args), self.__dict__


class _Causes(dict[str, Exception]):
    """Errors by name that survive a pickle, whatever class they are of.

    Many an SDK's error can be pickled and not be loaded (openai 3.57: `APIStatusError`), which breaks a process pool.
    """

    def __reduce__(self) -> Any:
        return type(self), ({name: _portable(error) for name, error in self.items()},)

    def __deepcopy__(self, memo: Any) -> Self:
        return type(self)(self)


class _RemoteError(ModelError):
    """Stands for an error of another process that can't be pickled."""

    def __init__(self, message: str, is_retryable: bool) -> None:
        super().__init__(message, is_retryable)
        self.is_retryable = is_retryable

    def __str__(self) -> str:
        return str(self.args[0])


def _portable(error: Exception) -> Exception:
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:
        pass
    return _RemoteError(describe(error), _is_retryable(error))


def _is_retryable(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or bool(getattr(error, "is_retryable", False))


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
        self.errors: dict[str, Exception] = _Causes(errors)

    @property
    def is_retryable(self) -> bool:  # type: ignore[override]  # core declares a plain attribute
        """Whether the same call may succeed later: true when that holds for any cause."""
        return any(map(_is_retryable, self.errors.values()))


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


_held_keys: WeakValueDictionary[int, SecretStr] = WeakValueDictionary()
"""The keys of the models that were built from strings, as long as the models live."""

# A shorter value, such as `none` or `EMPTY`, is a word that a text may need.
_SHORTEST_KEY = 8

_KEY_NAMES = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$")

# The keys of OpenAI, Anthropic, Together, OpenRouter, Groq, xAI, Fireworks, Hugging Face, Replicate, NVIDIA, LangSmith,
# Google and AWS have such shapes, then a bearer token, and 64 hexadecimal digits. Stars: providers mask the middle.
_KEY_SHAPES = re.compile(
    r"""\b(?:sk|pk|rk|tgp|gsk|xai|fw|hf|r8|nvapi|lsv2)[-_](?=[\w*.-]*[\d*])[\w*.-]{6,}[\w*]
    | \bAIza[\w-]{20,} | \b(?:AKIA|ASIA)[A-Z0-9]{12,} | (?<=\bBearer\ )[\w.~+/=-]{8,} | \b[0-9a-f]{64}\b""",
    re.VERBOSE,
)


def hold_key(key: SecretStr) -> None:
    """Have `describe` never show a key, as long as somebody holds it."""
    _held_keys[id(key)] = key


def describe(error: BaseException) -> str:
    """Return an error as metadata and messages show it: without what looks like a key.

    Some providers repeat the key in the text of a 401.
    """
    text = str(error)
    return f"{type(error).__name__}: {_without_keys(text)}" if text else type(error).__name__


def _without_keys(text: str) -> str:
    held = [value for name, value in os.environ.items() if _KEY_NAMES.search(name)]
    held += [key.get_secret_value() for key in list(_held_keys.values())]
    for key in sorted(held, key=len, reverse=True):
        if len(key) >= _SHORTEST_KEY:
            text = text.replace(key, "[key]")
    return _KEY_SHAPES.sub("[key]", text)
