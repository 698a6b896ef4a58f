"""Members: who is asked in a layer, ready for a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from langchain_core.language_models import ModelProfile
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableBinding, RunnableWithFallbacks

from langchain_moa._messages.cache_control import for_provider
from langchain_moa._messages.conversation import adviser_view, fitting_content
from langchain_moa._messages.prompts import with_system
from langchain_moa._models.factory import (
    build_model,
    model_identity,
    model_name,
    model_profile,
    unbound,
    without_streaming,
)
from langchain_moa._models.provider import ls_provider_of, provider_of
from langchain_moa.proposers import Aggregator, ModelSettings, Proposer


@dataclass(frozen=True, kw_only=True, eq=False)
class Participant:
    """A model that takes part, and what has to be known of it at every call."""

    model: Runnable[Any, Any]
    model_name: str
    profile: ModelProfile | None
    provider: str | None
    """`_llm_type` of a chat model."""

    ls_provider: str | None
    """LangSmith's name for the provider of a chat model."""

    max_tokens: int | None
    """Maximum number of tokens that it may write, as far as it says so."""

    instructions: str | None = None
    """Added to the system message that it sees."""

    @classmethod
    def of(cls, model: Runnable[Any, Any], **details: Any) -> Self:
        """Return the participant that a model is."""
        return cls(
            model=model,
            model_name=model_name(model),
            profile=model_profile(model),
            provider=provider_of(model),
            ls_provider=ls_provider_of(model),
            max_tokens=_max_tokens(model),
            **details,
        )

    @property
    def window(self) -> int | None:
        """Tokens that it takes; `None` when it does not say."""
        return (self.profile or {}).get("max_input_tokens")

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes it from another, as plain data without keys."""
        return {"instructions": self.instructions, "model": model_identity(self.model)}

    def sees(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return a conversation for this model: with its instructions, without what it or its provider don't take."""
        seen = list(messages)
        if not all(isinstance(message.content, str) for message in messages):
            seen = for_provider(fitting_content(messages, self.profile), self.provider)
        return with_system(seen, self.instructions) if self.instructions else seen


@dataclass(frozen=True, kw_only=True, eq=False)
class Member(Participant):
    """One proposer of one layer."""

    name: str
    timeout: float
    """Seconds that one answer may take."""

    def view(self, messages: Sequence[BaseMessage], tools: Sequence[Any]) -> list[BaseMessage]:
        """Return what this proposer sees of the conversation, before any references."""
        return self.sees(adviser_view(messages, tools))


def to_members(
    proposers: Iterable[str | Proposer | Runnable[Any, Any]],
    sampling: Mapping[str, Any],
) -> list[Member]:
    """Build the members of a layer: one per sample, with names that are unique in it.

    Args:
        proposers: As the user wrote them.
        sampling: What models given as strings are built with: arguments of `build_model`. Its `timeout` is how many
            seconds any proposer may take.
    """
    as_proposers = [p if isinstance(p, Proposer) else Proposer(model=p) for p in proposers]
    samples = [p for p in as_proposers for _ in range(p.samples)]
    members: list[Member] = []
    taken: set[str] = set()
    for proposer in samples:
        is_repeated = sum(_same(proposer.model, other.model) for other in samples) > 1
        timeout = proposer.timeout or sampling["timeout"]
        model = _built(proposer, {**sampling, "timeout": timeout})
        known_as = model_name(model)
        name = _unique(proposer.name or known_as.rpartition("/")[2].lower(), taken)
        taken.add(name)
        members.append(
            Member.of(
                # From a cache, all samples would be the same.
                without_streaming(model, cache=not is_repeated),
                name=name,
                instructions=proposer.instructions,
                timeout=timeout,
            )
        )
    return members


def to_participants(
    aggregator: str | Aggregator | Runnable[Any, Any], sampling: Mapping[str, Any]
) -> list[Participant]:
    """Build an aggregator or a judge: one with fallbacks is several, itself and its fallbacks.

    Args:
        aggregator: As the user wrote it.
        sampling: As in `to_members`.
    """
    if not isinstance(aggregator, Aggregator):
        aggregator = Aggregator(model=aggregator)
    model = aggregator.model
    if isinstance(model, RunnableWithFallbacks) and model.exception_key is None:
        each = [aggregator.model_copy(update={"model": one}) for one in model.runnables]
        return [participant for one in each for participant in to_participants(one, sampling)]
    return [Participant.of(_built(aggregator, sampling), instructions=aggregator.instructions)]


def _same(model: str | Runnable[Any, Any], other: str | Runnable[Any, Any]) -> bool:
    return model == other if isinstance(model, str) else model is other


def _built(settings: ModelSettings, sampling: Mapping[str, Any]) -> Runnable[Any, Any]:
    """Return the model, with sampling of its own where its settings have it."""
    own = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    own = {name: value for name, value in own.items() if value is not None}
    if isinstance(settings.model, str):
        return build_model(settings.model, **{**sampling, **own})
    return settings.model.bind(**own) if own else settings.model


def _max_tokens(model: Runnable[Any, Any]) -> int | None:
    """Return the maximum number of tokens that a model says it may write, by any of the names that packages use."""
    bound = model.kwargs if isinstance(model, RunnableBinding) else {}
    inner = unbound(model)
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict"):
        for value in (bound.get(name), getattr(inner, name, None)):
            if isinstance(value, int) and value > 0:
                return value
    return None


def _unique(name: str, taken: set[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
