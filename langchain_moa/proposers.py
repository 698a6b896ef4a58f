"""`Proposer` and `Aggregator`: models that take part, with settings of their own."""

from __future__ import annotations

from typing import Any, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.load.serializable import Serializable
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field, field_validator, model_validator


class ModelSettings(Serializable):
    """A model, and the settings that it may have of its own."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    model: str | Runnable[Any, Any]
    """`provider:model`, a bare Together model id, a chat model, or any Runnable from messages to a message."""

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature; default: the mixture's for a string, the object's own for a model object."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Maximum number of tokens of one answer; default as for `temperature`."""

    instructions: str | None = Field(default=None, min_length=1)
    """Added to the system message that this model sees: a persona, a style, a form."""

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return that LangChain's `dumps` and `load` can write and read it."""
        return True

    @field_validator("model", mode="before")
    @classmethod
    def _is_a_model(cls, value: Any) -> Any:
        check_model(value)
        return value

    @model_validator(mode="after")
    def _sampling_needs_a_chat_model(self) -> Self:
        plain = not isinstance(self.model, str | BaseChatModel)
        if plain and (self.temperature is not None or self.max_tokens is not None):
            msg = "temperature and max_tokens need a model string or a chat model; set them inside the Runnable."
            raise ValueError(msg)
        return self


class Proposer(ModelSettings):
    """A model that answers in a proposer layer, with what makes its answers its own."""

    name: str | None = Field(default=None, min_length=1)
    """What metadata, events and traces call it. Default: the last part of the model's name, in lower case."""

    samples: int = Field(default=1, ge=1)
    """How many answers it gives in each layer, each a reference of its own."""

    timeout: float | None = Field(default=None, gt=0)
    """Seconds that one answer may take; default: the mixture's."""


class Aggregator(ModelSettings):
    """A model that writes the answer, judges, or stands in for one that does."""


def check_member(value: Any, kind: type[ModelSettings], option: str | None) -> None:
    """Check that an option's value is not settings for another part.

    Raises:
        ValueError: It is, or is no model.
    """
    if isinstance(value, ModelSettings) and not isinstance(value, kind):
        msg = f"{option} takes no {type(value).__name__}: give the model itself, or {kind.__name__}(model=...)."
        raise ValueError(msg)
    check_model(value)


def check_model(value: Any) -> None:
    """Say what to write instead of something that is often taken for a model.

    Raises:
        ValueError: It is a function or a class.
    """
    if isinstance(value, Runnable) or not callable(value):
        return
    name = getattr(value, "__name__", type(value).__name__)
    if isinstance(value, type):
        msg = f"{name} is a class: give an object of it, such as {name}(...)."
    else:
        msg = f"{name} is a function: make a Runnable of it, RunnableLambda({name})."
    raise ValueError(msg)
