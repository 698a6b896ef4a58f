"""From a user's options to the proposers and the aggregator that take part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_core.language_models import ModelProfile
from langchain_core.runnables import Runnable

from langchain_moa._models.factory import build_model, model_identity, model_profile, nesting
from langchain_moa._models.members import Member, to_members
from langchain_moa._runtime.layer_clock import Limits
from langchain_moa.lineups import Lineup, get_lineup
from langchain_moa.proposers import Proposer

ProposerLike = str | Proposer | Runnable[Any, Any]
"""What a user may write for a proposer."""


# Every level multiplies the calls.
_MAX_NESTING = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """Who takes part."""

    layers: list[list[Member]]
    aggregators: list[Runnable[Any, Any]]
    """The one that writes the answer, then those that are tried when it fails."""

    window: int | None = None
    """The line-up's: most references that the aggregator sees at once."""

    @property
    def aggregator(self) -> Runnable[Any, Any]:
        """Who writes the answer, if nothing fails."""
        return self.aggregators[0]

    @property
    def nesting(self) -> int:
        """How many mixtures there are inside of one another, this one included."""
        inner = [*self.aggregators, *(member.model for layer in self.layers for member in layer)]
        return 1 + max(nesting(model) for model in inner)

    def check(self, min_references: int, limits: Limits) -> None:
        """Check that the layers can give that many references.

        Raises:
            ValueError: One of them can't, or there are none.
        """
        if self.nesting > _MAX_NESTING:
            msg = f"The mixture nests {self.nesting} mixtures; at most {_MAX_NESTING} may be inside of one another."
            raise ValueError(msg)
        if not self.layers:
            msg = "layers is empty: give at least one layer of proposers."
            raise ValueError(msg)
        for number, members in enumerate(self.layers, 1):
            if not members:
                msg = f"Layer {number} has no proposers: give at least one."
                raise ValueError(msg)
            if min_references > len(members):
                msg = f"min_references is {min_references}, but layer {number} has only {len(members)} proposers."
                raise ValueError(msg)
            if not 1 <= limits.needed(len(members)) <= len(members):
                msg = f"quorum is {limits.quorum}; layer {number} has {len(members)} proposers: give a count of 1 to "
                raise ValueError(msg + f"{len(members)}, or a fraction of them such as 0.5.")
            if min_references > limits.needed(len(members)):
                msg = f"min_references is {min_references}, more than the quorum of {limits.quorum} of layer {number}."
                raise ValueError(msg)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What distinguishes the mixture from another, as plain data without keys."""
        return {
            "layers": [
                [{"instructions": member.instructions, "model": model_identity(member.model)} for member in members]
                for members in self.layers
            ],
            "aggregators": [model_identity(aggregator) for aggregator in self.aggregators],
        }

    def profile(self) -> ModelProfile | None:
        """Return what the mixture can take and do: what its aggregator can, in the smallest window of all."""
        profile = model_profile(self.aggregator)
        if profile is None:
            return None
        profiles = [profile, *(model_profile(member.model) or {} for layer in self.layers for member in layer)]
        windows = [known["max_input_tokens"] for known in profiles if known.get("max_input_tokens")]
        return {**profile, "max_input_tokens": min(windows)} if windows else profile


def resolve_mixture(
    *,
    model: str | None,
    proposers: Sequence[ProposerLike] | None,
    rounds: int | None,
    layers: Sequence[Sequence[ProposerLike]] | None,
    aggregator: str | Runnable[Any, Any] | None,
    fallback_aggregators: Sequence[str | Runnable[Any, Any]],
    temperature: float | None,
    max_tokens: int | None,
    timeout: float,
    cache: bool = True,
) -> Mixture:
    """Fill in from the line-up what the user left out, check that it fits together, and build the models.

    Raises:
        ValueError: It does not fit together; the text names the option and says what to do.
    """
    if layers is not None and (proposers is not None or rounds is not None):
        msg = "layers spells out every layer: give either layers, or proposers and rounds."
        raise ValueError(msg)
    # With explicit proposers and aggregator the model's name is a label only.
    explicit = aggregator is not None and (layers is not None or proposers is not None)
    lineup = None if explicit else get_lineup(model or "default")
    if rounds is not None and rounds < 1:
        msg = f"rounds is {rounds}; it must be at least 1."
        raise ValueError(msg)
    sampling = {
        "temperature": _first(temperature, lineup and lineup.temperature, Lineup.temperature),
        "max_tokens": _first(max_tokens, lineup and lineup.max_tokens, Lineup.max_tokens),
        "timeout": timeout,
        "cache": cache,
    }
    if layers is None:
        members = to_members(_first(proposers, lineup and lineup.proposers), **sampling)
        member_layers = [members] * _first(rounds, lineup and lineup.rounds, 1)
    else:
        member_layers = [to_members(layer, **sampling) for layer in layers]
    writers = [_first(aggregator, lineup and lineup.aggregator), *fallback_aggregators]
    return Mixture(
        layers=member_layers,
        aggregators=[build_model(writer, **sampling) if isinstance(writer, str) else writer for writer in writers],
        window=lineup.window if lineup else None,
    )


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
