"""The registry of served mixtures, each built once."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from openai import OpenAIError

from langchain_moa.chat_models import ChatMoA
from langchain_moa.exceptions import MoAError
from langchain_moa.lineups import LINEUPS
from langchain_moa.server.api_errors import UnavailableModelError, UnknownModelError, explain

DEFAULT = "moa-1"

# The name of Together's own endpoint, in togethercomputer/together-cookbook, MoA_Under_the_hood.ipynb.
_ALIASES = {"togethercomputer/MoA-1": DEFAULT}

# A variant is a graph and small clients over the process's one pool of connections: some 100 KB.
_MAX_VARIANTS = 64


class Served:
    """The mixtures to serve, by name: your own, every line-up, and `moa-1` as the default. Thread-safe.

    A mixture is built at its first use and kept. Building one per request would open separate connections for some
    providers, and dropping those can hang other requests (openai-python issue 2440).
    """

    def __init__(self, models: Mapping[str, ChatMoA] | None = None) -> None:
        """Create the registry.

        Args:
            models: Your own mixtures by name, served in addition to the line-ups. If `moa-1` is not among them, it is
                the line-up `default`, or `local` without `TOGETHER_API_KEY`.
        """
        self._names = list(dict.fromkeys([DEFAULT, *(models or {}), *LINEUPS]))
        self._models = dict(models or {})
        self._variants: OrderedDict[str, ChatMoA] = OrderedDict()
        self._building = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of the served mixtures, the default first."""
        return list(self._names)

    def model(self, name: str) -> ChatMoA:
        """Return the mixture with this name, building it at its first use.

        Raises:
            UnknownModelError: There is no such mixture.
            UnavailableModelError: The mixture can't be built.
        """
        name = self.resolve(name)
        with self._building:
            if name not in self._models:
                self._models[name] = _build(name)
            return self._models[name]

    def variant(self, name: str, options: Mapping[str, Any]) -> ChatMoA:
        """Return a copy of a mixture with other options. Recently used variants are cached.

        Raises:
            UnknownModelError: There is no such mixture.
            UnavailableModelError: The mixture can't be built.
            ValueError: The options are invalid.
        """
        model = self.model(name)
        key = json.dumps([self.resolve(name), options], sort_keys=True, default=repr)
        with self._building:
            if key not in self._variants:
                self._variants[key] = model.model_copy(update=options)
            self._variants.move_to_end(key)
            while len(self._variants) > _MAX_VARIANTS:
                self._variants.popitem(last=False)
            return self._variants[key]

    def resolve(self, name: str) -> str:
        """Return the listed name of a model, resolving aliases.

        Raises:
            UnknownModelError: There is no such mixture.
        """
        listed = name if name in self._names else _ALIASES.get(name, name)
        if listed not in self._names:
            msg = f"Model {name!r} is unknown; choose from {', '.join(self._names)}."
            raise UnknownModelError(msg)
        return listed


def _build(name: str) -> ChatMoA:
    lineup = name
    if name == DEFAULT:
        lineup = "default" if os.environ.get("TOGETHER_API_KEY") else "local"
    try:
        return ChatMoA(model=lineup, include_references=True)
    except (ValueError, ImportError, MoAError, OpenAIError) as error:
        raise UnavailableModelError(f"Model {name!r} can't be served here: {explain(error)}") from error
