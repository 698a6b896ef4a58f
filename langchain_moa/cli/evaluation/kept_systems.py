"""Systems whose inner calls are kept, so that a killed run goes on with the proposals that came back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from langchain_moa.chat_models import ChatMoA
    from langchain_moa.evals.systems import System


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
    from langchain_moa.proposers import Proposer

    mixture = model._mixture
    layers = [
        [
            Proposer(
                model=_kept(member.model, f"{place}/{number}/{member.name}"),
                name=member.name,
                instructions=member.instructions,
                timeout=member.timeout,
            )
            for member in members
        ]
        for number, members in enumerate(mixture.layers, 1)
    ]
    writers: list[Runnable[Any, Any]] = [
        _kept(writer.model, f"{place}/aggregator/{number}") for number, writer in enumerate(mixture.aggregators)
    ]
    taking_part = {"layers": layers, "aggregator": writers[0], "fallback_aggregators": writers[1:]}
    others = {"proposers": None, "rounds": None, "window": mixture.window}
    # Already in the models, where the options are for models given as strings.
    built = dict.fromkeys(("temperature", "max_tokens", "max_retries", "model_kwargs", "api_key", "base_url"))
    return model.model_copy(update={**taking_part, **others, **built})
