"""Systems whose inner calls are kept, so that a killed run goes on with the proposals that came back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from langchain_moa._models.members import Participant
    from langchain_moa.chat_models import ChatMoA
    from langchain_moa.evals.systems import System

    _Taker = TypeVar("_Taker", bound=Participant)


def with_kept_calls(system: System) -> System:
    """Return the system with every model in it, mixtures inside of mixtures included, as a `KeptModel`."""
    return replace(system, build=lambda decoding: _kept(system.model(decoding), ""))


def _kept(model: Any, place: str) -> Any:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableBinding

    from langchain_moa.chat_models import ChatMoA
    from langchain_moa.evals.running.kept_calls import KeptModel

    if isinstance(model, RunnableBinding):
        return model.model_copy(update={"bound": _kept(model.bound, place)})
    if isinstance(model, ChatMoA):
        return _kept_mixture(model, place)
    return KeptModel.of(model, place=place) if isinstance(model, BaseChatModel) else model


def _kept_mixture(model: ChatMoA, place: str) -> ChatMoA:
    def kept(takers: Sequence[_Taker], role: str) -> list[_Taker]:
        return [
            replace(taker, model=_kept(taker.model, f"{place}/{role}/{number}")) for number, taker in enumerate(takers)
        ]

    mixture = model._mixture
    copy = model.model_copy()
    copy._take(
        replace(
            mixture,
            layers=[kept(members, f"layer {number}") for number, members in enumerate(mixture.layers, 1)],
            aggregators=kept(mixture.aggregators, "aggregator"),
            judges=kept(mixture.judges, "judge"),
        )
    )
    return copy
