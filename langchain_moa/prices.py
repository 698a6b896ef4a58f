"""Token prices in US dollars: from a table, from the package `genai-prices`, and a few rows of our own.

What has no known price is `None`, never zero.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from langchain_core.messages.ai import UsageMetadata

_FIELDS = {"input", "output", "cached"}
_MILLION = 1_000_000
_PACKAGE = "genai-prices"

_is_loaded = False
"""Whether `genai-prices` is there with its data."""


class Cost(NamedTuple):
    """Cost of one call, in US dollars."""

    total: float
    input: float | None = None
    """Part of the total that is for the input. `None`: only the total is known."""

    output: float | None = None


class Prices(Protocol):
    """A source of token prices."""

    @property
    def source(self) -> str:
        """Where the prices come from; shown in the report."""

    def cost(self, model: str, usage: UsageMetadata, provider: str | None = None) -> Cost | None:
        """Return the cost in US dollars. `None`: the model's price is unknown.

        Args:
            model: Model name, as the provider reported it with the usage.
            usage: Token usage. Input tokens include cached ones, output tokens include reasoning.
            provider: LangChain's name for the provider (`ls_provider`), such as `together`. Default: Together for a
                name with a slash, such as `zai-org/GLM-5.3`, else the provider that is known for such a model.
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

    def cost(self, model: str, usage: UsageMetadata, provider: str | None = None) -> Cost | None:
        """Return the cost in US dollars. `None`: the model is not in the list."""
        price = self.prices.get(model)
        if price is None:
            return None
        cached = _details(usage, "input").get("cache_read", 0)
        cached_price = price.input if price.cached is None else price.cached
        read = ((usage["input_tokens"] - cached) * price.input + cached * cached_price) / _MILLION
        written = usage["output_tokens"] * price.output / _MILLION
        return Cost(read + written, read, written)


OWN_PRICES = PriceList(
    prices=MappingProxyType(
        {
            # Source: models.dev, provider togetherai, 2026-10. genai-prices 0.2.3 does not have it.
            "google/gemma-4-31B-it": Price(input=0.20, output=0.50),
            # Runs in this process.
            "smollm2-135m-instruct": Price(input=0, output=0),
        }
    ),
    source="langchain-moa",
)
"""Models of the line-ups that `genai-prices` does not know."""


class GenAIPrices:
    """Prices from the installed package `genai-prices`, as of its release; nothing is downloaded.

    The package is loaded when the first price is asked for.
    """

    @property
    def source(self) -> str:
        """The package and its version."""
        return f"{_PACKAGE} {version(_PACKAGE)}"

    def cost(self, model: str, usage: UsageMetadata, provider: str | None = None) -> Cost | None:
        """Return the cost in US dollars. `None`: the package does not know the model."""
        package = load_package()
        read, written = _details(usage, "input"), _details(usage, "output")
        five_minutes, one_hour = read.get("ephemeral_5m_input_tokens", 0), read.get("ephemeral_1h_input_tokens", 0)
        tokens = package.Usage(
            input_tokens=usage["input_tokens"],
            cache_read_tokens=read.get("cache_read", 0),
            # Anthropic's package reports writes to the cache either as a whole or by how long they are kept.
            cache_write_tokens=read.get("cache_creation", 0) + five_minutes + one_hour,
            cache_write_5m_tokens=five_minutes,
            cache_write_1h_tokens=one_hour,
            input_audio_tokens=read.get("audio", 0),
            output_tokens=usage["output_tokens"],
            output_audio_tokens=written.get("audio", 0),
            output_reasoning_tokens=written.get("reasoning", 0),
        )
        provider = provider or ("together" if "/" in model else None)
        try:
            price = package.calc_price(tokens, model, provider_id=provider)
        except (LookupError, ValueError):  # unknown, or a usage that contradicts itself
            return None
        return Cost(float(price.total_price), float(price.input_price), float(price.output_price))


@dataclass(frozen=True)
class FirstKnown:
    """Several sources of prices: of each model, the price that the first of them knows."""

    sources: Sequence[Prices]

    @property
    def source(self) -> str:
        """All of them."""
        return ", ".join(source.source for source in self.sources)

    def cost(self, model: str, usage: UsageMetadata, provider: str | None = None) -> Cost | None:
        """Return the cost in US dollars. `None`: no source knows the model."""
        costs = (source.cost(model, usage, provider) for source in self.sources)
        return next((cost for cost in costs if cost is not None), None)


def load_package() -> Any:
    """Import `genai-prices` with its data, which takes a fraction of a second the first time.

    Raises:
        ImportError: It is not installed.
    """
    global _is_loaded
    package = import_module("genai_prices")
    import_module("genai_prices.data_snapshot").get_snapshot()
    _is_loaded = True
    return package


def is_loaded() -> bool:
    """Return whether a price of `genai-prices` would be there at once: the package is loaded, or not installed."""
    return _is_loaded or not has_package()


def has_package() -> bool:
    """Return whether `genai-prices` is installed, without importing it."""
    return sys.modules.get("genai_prices") is not None or find_spec("genai_prices") is not None


def find_prices(table: Mapping[str, Any] | None) -> Prices | None:
    """Return the prices to use: those of a table, then those of `genai-prices`, then our own.

    Args:
        table: `{model: {"input": …, "output": …, "cached": …}}` in US dollars per million tokens.

    Returns:
        `None` when there is no table and `genai-prices` is not installed.

    Raises:
        ValueError: The table is malformed.
    """
    if table is None and not has_package():
        return None
    own = [to_price_list(table, source="prices")] if table is not None else []
    package = [GenAIPrices()] if has_package() else []
    return FirstKnown((*own, *package, OWN_PRICES))


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
    if source != _PACKAGE:
        path = Path(source)
        return to_price_list(read_table(path), source=path.name)
    try:
        load_package()
    except ImportError:
        msg = f'Prices from {_PACKAGE!r} need that package: pip install "langchain-moa[prices]"'
        raise ImportError(msg) from None
    return FirstKnown((GenAIPrices(), OWN_PRICES))


def read_table(path: Path) -> Any:
    """Read a JSON file of prices.

    Raises:
        ValueError: It is not JSON, or malformed.
        OSError: It can't be read.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{path}: the price file is not valid JSON: {error}"
        raise ValueError(msg) from None
    to_price_list(table, source=str(path))
    return table


def to_price_list(table: Any, *, source: str) -> PriceList:
    """Return a table `{model: {"input": …, "output": …, "cached": …}}` as a price list.

    Raises:
        ValueError: It is malformed; the text names the source and the model.
    """
    if not isinstance(table, Mapping):
        msg = f"{source}: prices must be an object by model name, not {type(table).__name__}."
        raise ValueError(msg)
    prices = {model: _to_price(source, model, entry) for model, entry in table.items()}
    return PriceList(prices=prices, source=source)


def _to_price(source: str, model: str, entry: Any) -> Price:
    complete = isinstance(entry, Mapping) and {"input", "output"} <= entry.keys() <= _FIELDS
    if not complete or not all(_is_price(value) for value in entry.values()):
        msg = (
            f'{source}: the price of {model!r} is {entry!r}; give {{"input": …, "output": …}} and, if it differs, '
            '"cached", each in US dollars per million tokens.'
        )
        raise ValueError(msg)
    return Price(**entry)


def _is_price(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _details(usage: UsageMetadata, side: str) -> dict[str, int]:
    """Return the details of a usage's tokens that say something: some packages fill in `None`."""
    details: Mapping[str, Any] = usage.get(f"{side}_token_details") or {}  # type: ignore[assignment]
    return {kind: tokens for kind, tokens in details.items() if tokens}
