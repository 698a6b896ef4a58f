"""Token prices, from a file or from the package `genai-prices`. An unknown price is `None`, never zero."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from langchain_core.messages.ai import UsageMetadata

_FIELDS = {"input", "output", "cached"}
_MILLION = 1_000_000
_PACKAGE = "genai-prices"


class Prices(Protocol):
    """A source of token prices."""

    @property
    def source(self) -> str:
        """Where the prices come from; shown in the report."""

    def cost(self, model: str, usage: UsageMetadata) -> float | None:
        """Return the cost in US dollars. `None`: the model's price is unknown.

        Args:
            model: Model name, as the provider reported it with the usage.
            usage: Token usage. Input tokens include cached ones.
        """


@dataclass(frozen=True, kw_only=True)
class Price:
    """Prices of one model, in US dollars per million tokens."""

    input: float
    output: float
    cached: float | None = None
    """Price of cached input tokens. `None`: same as `input`."""


@dataclass(frozen=True, kw_only=True)
class PriceList:
    """A price list by model name."""

    prices: Mapping[str, Price]
    source: str

    def cost(self, model: str, usage: UsageMetadata) -> float | None:
        """Return the cost in US dollars. `None`: the model is not in the list."""
        price = self.prices.get(model)
        if price is None:
            return None
        cached = _cached_tokens(usage)
        cached_price = price.input if price.cached is None else price.cached
        dollars = (usage["input_tokens"] - cached) * price.input + cached * cached_price
        return (dollars + usage["output_tokens"] * price.output) / _MILLION


class GenAIPrices:
    """Prices from the installed package `genai-prices`, as of its release; nothing is downloaded."""

    def __init__(self) -> None:
        """Load the package.

        Raises:
            ImportError: The package is not installed.
        """
        try:
            self._package = import_module("genai_prices")
        except ImportError:
            msg = f"Prices from {_PACKAGE!r} need that package: pip install {_PACKAGE}"
            raise ImportError(msg) from None
        self.source = f"{_PACKAGE} {version(_PACKAGE)}"

    def cost(self, model: str, usage: UsageMetadata) -> float | None:
        """Return the cost in US dollars. `None`: the package does not know the model.

        A name with a slash, such as `zai-org/GLM-5.3`, is treated as a Together model id.
        """
        tokens = self._package.Usage(
            input_tokens=usage["input_tokens"],
            output_tokens=usage["output_tokens"],
            cache_read_tokens=_cached_tokens(usage),
        )
        try:
            price = self._package.calc_price(tokens, model, provider_id="together" if "/" in model else None)
        except LookupError:
            return None
        return float(price.total_price)


def load_prices(source: str) -> Prices:
    """Load token prices.

    Args:
        source: `genai-prices`, or the path of a JSON file `{model: {"input": …, "output": …, "cached": …}}` in US
            dollars per million tokens; `cached` is optional.

    Raises:
        ImportError: `genai-prices` is not installed.
        ValueError: The file is malformed.
        OSError: The file can't be read.
    """
    return GenAIPrices() if source == _PACKAGE else _read_prices(Path(source))


def _read_prices(path: Path) -> PriceList:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path}: the price file is not valid JSON: {error}"
        raise ValueError(msg) from None
    if not isinstance(entries, dict):
        msg = f"{path}: the price file must be a JSON object by model, not {type(entries).__name__}."
        raise ValueError(msg)
    return PriceList(
        prices={model: _to_price(path, model, entry) for model, entry in entries.items()}, source=path.name
    )


def _to_price(path: Path, model: str, entry: Any) -> Price:
    complete = isinstance(entry, dict) and {"input", "output"} <= entry.keys() <= _FIELDS
    if not complete or not all(_is_price(value) for value in entry.values()):
        msg = (
            f'{path}: the price of {model!r} is {entry!r}; give {{"input": …, "output": …}} and, if it differs, '
            '"cached", each in US dollars per million tokens.'
        )
        raise ValueError(msg)
    return Price(**entry)


def _is_price(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _cached_tokens(usage: UsageMetadata) -> int:
    return usage.get("input_token_details", {}).get("cache_read", 0)
