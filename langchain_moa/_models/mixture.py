"""From a user's options to the proposers and the aggregator that take part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_core.language_models import ModelProfile
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable

from langchain_moa._models.factory import nesting
from langchain_moa._models.members import Member, Participant, to_members, to_participants
from langchain_moa._runtime.bills import load_prices_meanwhile
from langchain_moa._runtime.layer_clock import needed_references
from langchain_moa.lineups import ANSWER_MAX_TOKENS, Lineup, get_lineup
from langchain_moa.options import JUDGED, AggregatorLike, MoAOptions
from langchain_moa.prices import Prices, find_prices

# Every level multiplies the calls.
_MAX_NESTING = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """The models that take part."""

    layers: list[list[Member]]
    aggregators: list[Participant]
    """The model that writes the answer, then those that are tried when it fails."""

    judges: list[Participant]
    """The judge, if it is another model than the aggregator, then those that are tried when it fails."""

    window: int | None = None
    """Maximum number of references that one call sees."""

    prices: Prices | None = None

    is_published: bool = False
    """Whether it is a published line-up."""

    @property
    def aggregator(self) -> Runnable[Any, Any]:
        """The model that writes the answer, if nothing fails."""
        return self.aggregators[0].model

    @property
    def proposers(self) -> str:
        """Names the proposers of all layers, and what they are told to be."""
        return repr([[(m.name, m.model_name, m.instructions) for m in members] for members in self.layers])

    @property
    def nesting(self) -> int:
        """Number of mixtures inside of one another, this one included."""
        return 1 + max(nesting(each.model) for each in self._all)

    @property
    def _all(self) -> list[Participant]:
        return [*self.aggregators, *self.judges, *(member for layer in self.layers for member in layer)]

    def check(self, options: MoAOptions) -> None:
        """Check that the layers can give what the options ask of them.

        Raises:
            ValueError: One of them can't, or there are none.
        """
        if self.nesting > _MAX_NESTING:
            msg = f"The mixture nests {self.nesting} mixtures; at most {_MAX_NESTING} may be inside of one another."
            raise ValueError(msg)
        if not self.layers:
            msg = "layers is empty: give at least one layer of proposers."
            raise ValueError(msg)
        least, quorum = options.min_references, options.quorum
        for number, members in enumerate(self.layers, 1):
            if not members:
                msg = f"Layer {number} has no proposers: give at least one."
                raise ValueError(msg)
            if least > len(members):
                msg = f"min_references is {least}, but layer {number} has only {len(members)} proposers."
                raise ValueError(msg)
            needed = needed_references(quorum, len(members))
            if not 1 <= needed <= len(members):
                msg = f"quorum is {quorum}; layer {number} has {len(members)} proposers: give a count of 1 to "
                raise ValueError(msg + f"{len(members)}, or a fraction of them such as 0.5.")
            if least > needed:
                msg = f"min_references is {least}, more than the quorum of {quorum} of layer {number}."
                raise ValueError(msg)
        if self.window is not None and options.reserve >= self.window:
            msg = f"reserve is {options.reserve}; give at least 1, and less than the window of {self.window}."
            raise ValueError(msg)
        if options.max_cost is not None:
            self._check_prices()

    def _check_prices(self) -> None:
        """Check that a budget in dollars can be kept, as far as the models' names tell."""
        if self.prices is None:
            msg = 'max_cost needs prices: pip install "langchain-moa[prices]", or give prices={model: {"input": ...}}.'
            raise ValueError(msg)
        nothing = UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)
        # Of a Runnable, nobody knows beforehand which models it will ask; and a mixture tells its cost by itself.
        named = {
            each.model_name: each.ls_provider for each in self._all if each.ls_provider and not nesting(each.model)
        }
        unknown = [name for name, provider in named.items() if self.prices.cost(name, nothing, provider) is None]
        if unknown:
            msg = f"max_cost is given, but no price is known for {', '.join(map(repr, unknown))}: give "
            raise ValueError(
                msg + f'prices={{{unknown[0]!r}: {{"input": ..., "output": ...}}}}, in USD per million tokens.'
            )

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What distinguishes the mixture from another, as plain data without keys."""
        return {
            "layers": [[member.identity for member in members] for members in self.layers],
            "aggregators": [aggregator.identity for aggregator in self.aggregators],
            "judges": [judge.identity for judge in self.judges],
            "window": self.window,
            "is_published": self.is_published,
        }

    def profile(self) -> ModelProfile | None:
        """Return what the mixture can take and do: what its aggregator can, in the smallest window of all."""
        profile = self.aggregators[0].profile
        if profile is None:
            return None
        windows = [each.window for each in self._all if each.window]
        return {**profile, "max_input_tokens": min(windows)} if windows else profile


def resolve_mixture(options: MoAOptions, *, cache: bool = True) -> Mixture:
    """Build the models that the options name, with what they leave out filled in from the line-up.

    Args:
        options: The user's.
        cache: Whether models given as strings may answer from a cache.

    Raises:
        ValueError: The options don't fit together; the text names the option and says what to do.
    """
    prices = find_prices(options.prices)
    if prices is not None:
        load_prices_meanwhile()  # models take longer to build when their packages have to be loaded
    lineup = None if options.is_explicit else get_lineup(options.model)
    sampling = {
        "temperature": _first(options.temperature, lineup and lineup.temperature, Lineup.temperature),
        "max_tokens": _first(options.max_tokens, lineup and lineup.max_tokens, Lineup.max_tokens),
        "timeout": options.timeout,
        "max_retries": options.max_retries,
        "model_kwargs": options.model_kwargs,
        "api_key": options.api_key,
        "base_url": options.base_url,
        "cache": cache,
    }
    if options.layers is None:
        members = to_members(_first(options.proposers, lineup and lineup.proposers), sampling)
        layers = [members] * _first(options.rounds, lineup and lineup.rounds, 1)
    else:
        layers = [to_members(layer, sampling) for layer in options.layers]
    writers, judge = writers_and_judge(options, lineup)
    room = (lineup.answer_max_tokens or lineup.max_tokens) if lineup else ANSWER_MAX_TOKENS
    writing = {**sampling, "max_tokens": _first(options.max_tokens, room)}
    mixture = Mixture(
        layers=layers,
        aggregators=[participant for writer in writers for participant in to_participants(writer, writing)],
        judges=to_participants(judge, writing) if judge else [],
        window=_first(options.window, lineup and lineup.window, None),
        prices=prices,
        is_published=bool(lineup and lineup.is_published),
    )
    mixture.check(options)
    return mixture


def writers_and_judge(options: MoAOptions, lineup: Lineup | None) -> tuple[list[AggregatorLike], AggregatorLike | None]:
    """Return who writes, the aggregator first and then its fallbacks, and the judge if it is another model.

    A line-up's fallbacks and judge go with its aggregator.
    """
    judge, fallbacks = options.judge, options.fallback_aggregators
    if options.aggregator is not None or lineup is None:
        return [options.aggregator or "", *fallbacks], judge
    if options.aggregation in JUDGED:
        judge = judge or lineup.judge
    return [lineup.aggregator, *(fallbacks or lineup.fallback_aggregators)], judge


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
