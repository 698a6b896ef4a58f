"""Members: who is asked in a layer, ready for a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from langchain_core.language_models import ModelProfile
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableBinding

from langchain_moa._messages.cache_control import for_provider
from langchain_moa._messages.conversation import adviser_view, fitting_content
from langchain_moa._messages.prompts import with_system
from langchain_moa._models.factory import build_model, model_name, model_profile, unbound, without_streaming
from langchain_moa._models.provider import ls_provider_of, provider_of
from langchain_moa.proposers import Proposer


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

    def takes(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return a conversation without what this model does not take: kinds of content, marks of other providers."""
        for message in messages:
            if not isinstance(message.content, str):
                return for_provider(fitting_content(messages, self.profile), self.provider)
        return list(messages)


@dataclass(frozen=True, kw_only=True, eq=False)
class Member(Participant):
    """One proposer of one layer."""

    name: str
    instructions: str | None
    timeout: float
    """Seconds that one answer may take."""

    def view(self, messages: Sequence[BaseMessage], tools: Sequence[Any]) -> list[BaseMessage]:
        """Return what this proposer sees of the conversation, before any references."""
        seen = self.takes(adviser_view(messages, tools))
        return with_system(seen, self.instructions) if self.instructions else seen


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
        own = {"temperature": proposer.temperature, "max_tokens": proposer.max_tokens, "timeout": proposer.timeout}
        options = {**sampling, **{name: value for name, value in own.items() if value is not None}}
        if isinstance(proposer.model, str):
            model: Runnable[Any, Any] = build_model(proposer.model, **options)
        else:
            model = proposer.model
        known_as = model_name(model)
        name = _unique(proposer.name or known_as.rpartition("/")[2].lower(), taken)
        taken.add(name)
        members.append(
            Member.of(
                _without_streaming(model, proposer, is_repeated=is_repeated),
                name=name,
                instructions=proposer.instructions,
                timeout=options["timeout"],
            )
        )
    return members


def _same(model: str | Runnable[Any, Any], other: str | Runnable[Any, Any]) -> bool:
    return model == other if isinstance(model, str) else model is other


def _without_streaming(model: Runnable[Any, Any], proposer: Proposer, *, is_repeated: bool) -> Runnable[Any, Any]:
    """Return the model as it is asked: for whole answers, with the proposer's own sampling."""
    # From a cache, all samples would be the same.
    asked = without_streaming(model, cache=not is_repeated)
    own = {"temperature": proposer.temperature, "max_tokens": proposer.max_tokens}
    if isinstance(proposer.model, str) or not (own := {k: v for k, v in own.items() if v is not None}):
        return asked
    return asked.bind(**own)


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
