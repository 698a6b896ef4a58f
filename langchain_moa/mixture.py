"""From a user's options to the proposers and the aggregator that take part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import Runnable

from langchain_moa.lineups import Lineup, get_lineup
from langchain_moa.models import build_model
from langchain_moa.proposers import Member, Proposer, to_members

ProposerLike = str | Proposer | Runnable[Any, Any]
"""What a user may write for a proposer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """Who takes part."""

    layers: list[list[Member]]
    aggregator: Runnable[Any, Any]


def resolve_mixture(
    *,
    model: str | None,
    proposers: Sequence[ProposerLike] | None,
    rounds: int | None,
    layers: Sequence[Sequence[ProposerLike]] | None,
    aggregator: str | Runnable[Any, Any] | None,
    temperature: float | None,
    max_tokens: int | None,
    timeout: float,
    min_references: int,
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
    }
    if layers is None:
        members = to_members(_first(proposers, lineup and lineup.proposers), **sampling)
        member_layers = [members] * _first(rounds, lineup and lineup.rounds, 1)
    else:
        member_layers = [to_members(layer, **sampling) for layer in layers]
    _check_layers(member_layers, min_references)
    writer = _first(aggregator, lineup and lineup.aggregator)
    return Mixture(
        layers=member_layers,
        aggregator=build_model(writer, **sampling) if isinstance(writer, str) else writer,
    )


def _check_layers(layers: list[list[Member]], min_references: int) -> None:
    if not layers:
        msg = "layers is empty: give at least one layer of proposers."
        raise ValueError(msg)
    for number, members in enumerate(layers, 1):
        if not members:
            msg = f"Layer {number} has no proposers: give at least one."
            raise ValueError(msg)
        if min_references > len(members):
            msg = f"min_references is {min_references}, but layer {number} has only {len(members)} proposers."
            raise ValueError(msg)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
