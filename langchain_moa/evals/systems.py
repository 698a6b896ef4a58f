"""What is evaluated: a name, and a chat model for each way of decoding that a benchmark asks for."""

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
    """What files and reports call it."""

    fingerprint: str
    """Hash of what decides its answers. Answers of another fingerprint are not taken up again."""

    build: Callable[[Mapping[str, Any]], BaseChatModel]
    """From a decoding (`temperature`, `max_tokens`, or nothing) to a model all of whose calls use it."""

    spec: str = ""
    """What it is, in a person's words: the string that it was built from."""

    calls: int = 1
    """Model calls that one answer takes. An estimate reads it, nothing else does."""

    passages: int = 0
    """Outputs of its own that the calls of one answer read: 6 when an aggregator reads 6 proposals. As `calls`."""

    _models: dict[str, BaseChatModel] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, name: str, model: BaseChatModel) -> Self:
        """Return a chat model as a system.

        Args:
            name: What files and reports call it.
            model: A benchmark's `temperature` and `max_tokens` replace those of its fields that have these names; a
                model without them decodes as it does by itself.
        """
        return cls(name=name, fingerprint=fingerprint_of(model), build=_decoding(model), spec=type(model).__name__)

    def model(self, decoding: Mapping[str, Any]) -> BaseChatModel:
        """Return the model for a decoding, built once."""
        key = json.dumps(dict(decoding), sort_keys=True)
        if key not in self._models:
            self._models[key] = self.build(decoding)
        return self._models[key]


def fingerprint_of(model: BaseChatModel) -> str:
    """Return a hash of a model's class and of what it says identifies it. No key is part of that."""
    identity = json.dumps(model.asdict(), sort_keys=True, default=repr)
    return key_of(type(model).__qualname__, _ADDRESS.sub("", identity))


def _decoding(model: BaseChatModel) -> Callable[[Mapping[str, Any]], BaseChatModel]:
    def build(decoding: Mapping[str, Any]) -> BaseChatModel:
        update = {name: value for name, value in decoding.items() if name in type(model).model_fields}
        return model.model_copy(update=update) if update else model

    return build
