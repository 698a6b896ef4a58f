"""`Proposer`: a model that answers in a proposer layer, with settings of its own."""

from __future__ import annotations

from typing import Any, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.load.serializable import Serializable
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field, field_validator, model_validator


class Proposer(Serializable):
    """A model that answers in a proposer layer, with what makes its answers its own."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    model: str | Runnable[Any, Any]
    """`provider:model`, a bare Together model id, a chat model, or any Runnable from messages to a message."""

    name: str | None = Field(default=None, min_length=1)
    """What metadata, events and traces call it. Default: the last part of the model's name, in lower case."""

    samples: int = Field(default=1, ge=1)
    """How many answers it gives in each layer, each a reference of its own."""

    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature; default: the mixture's for a string, the object's own for a model object."""

    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens that one answer may have; default as for `temperature`."""

    instructions: str | None = Field(default=None, min_length=1)
    """A persona: added to the system message that this proposer sees."""

    timeout: float | None = Field(default=None, gt=0)
    """Seconds that one answer may take; default: the mixture's."""

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
