"""Systems under evaluation: a named chat model, built once per set of decoding parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from langchain_core.language_models import BaseChatModel

from langchain_moa.evals.results.keys import key_of

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True, kw_only=True, eq=False)
class System:
    """A system under evaluation, or a judge."""

    name: str
    """Name in files and reports."""

    fingerprint: str
    """Hash of everything that determines its answers. Answers with another fingerprint are not reused."""

    build: Callable[[Mapping[str, Any]], BaseChatModel]
    """Builds the model for given decoding parameters (`temperature`, `max_tokens`, or none)."""

    spec: str = ""
    """Human-readable description, such as the string it was built from."""

    calls: int = 1
    """Model calls per answer. Used for estimates only."""

    passages: int = 0
    """Model outputs that are fed back as input per answer: 6 if an aggregator reads 6 proposals. Estimates only."""

    _models: dict[str, BaseChatModel] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, name: str, model: BaseChatModel) -> Self:
        """Return a system that wraps a chat model.

        Args:
            name: Name in files and reports.
            model: The chat model. A benchmark's `temperature` and `max_tokens` replace the model's fields of the same
                name; a model without these fields keeps its own defaults.
        """
        return cls(name=name, fingerprint=fingerprint_of(model), build=_decoding(model), spec=type(model).__name__)

    def model(self, decoding: Mapping[str, Any]) -> BaseChatModel:
        """Return the model for the given decoding parameters; each is built once."""
        key = json.dumps(dict(decoding), sort_keys=True)
        if key not in self._models:
            self._models[key] = self.build(decoding)
        return self._models[key]


def fingerprint_of(model: BaseChatModel) -> str:
    """Return a hash of a model's class and identifying parameters. API keys are not part of it."""
    identity = json.dumps(model.asdict(), sort_keys=True, default=repr)
    return key_of(type(model).__qualname__, _ADDRESS.sub("", identity))


def _decoding(model: BaseChatModel) -> Callable[[Mapping[str, Any]], BaseChatModel]:
    def build(decoding: Mapping[str, Any]) -> BaseChatModel:
        update = {name: value for name, value in decoding.items() if name in type(model).model_fields}
        return model.model_copy(update=update) if update else model

    return build
