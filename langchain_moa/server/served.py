"""What is served: mixtures by name, each built once."""

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

# Together's own name for its endpoint, in togethercomputer/together-cookbook, MoA_Under_the_hood.ipynb.
_ALIASES = {"togethercomputer/MoA-1": DEFAULT}

# A variant is a graph and small clients over the process's one pool of connections: some 100 KB.
_MAX_VARIANTS = 64


class Served:
    """Mixtures by name: the caller's own, every line-up, and `moa-1` for the default. Safe to use from threads.

    A mixture is built at its first use and kept: one that is built for each request would open connections of its own
    for some providers, and dropping those can hang the requests of others (openai-python issue 2440).
    """

    def __init__(self, models: Mapping[str, ChatMoA] | None = None) -> None:
        """Keep the caller's own mixtures.

        Args:
            models: By name, beside the line-ups. `moa-1`, if it is not among them, is the line-up `default`, or without
                `TOGETHER_API_KEY` the line-up `local`.
        """
        self._names = list(dict.fromkeys([DEFAULT, *(models or {}), *LINEUPS]))
        self._models = dict(models or {})
        self._variants: OrderedDict[str, ChatMoA] = OrderedDict()
        self._building = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of what is served, the default first."""
        return list(self._names)

    def model(self, name: str) -> ChatMoA:
        """Return the mixture of that name; the first time takes a moment.

        Raises:
            UnknownModelError: There is none.
            UnavailableModelError: It can't be built here.
        """
        name = self.resolve(name)
        with self._building:
            if name not in self._models:
                self._models[name] = _build(name)
            return self._models[name]

    def variant(self, name: str, options: Mapping[str, Any]) -> ChatMoA:
        """Return the mixture of that name with other options; the variants used last are kept.

        Raises:
            UnknownModelError: There is none.
            UnavailableModelError: It can't be built here.
            ValueError: The options don't fit together.
        """
        model = self.model(name)
        key = json.dumps([self.resolve(name), options], sort_keys=True)
        with self._building:
            if key not in self._variants:
                self._variants[key] = model.model_copy(update=options)
            self._variants.move_to_end(key)
            while len(self._variants) > _MAX_VARIANTS:
                self._variants.popitem(last=False)
            return self._variants[key]

    def resolve(self, name: str) -> str:
        """Return the name under which a model is listed.

        Raises:
            UnknownModelError: Nothing is served by that name.
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
