"""`Proposer`: a model that answers in a proposer layer, with settings of its own."""

from __future__ import annotations

from typing import Any, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Proposer(BaseModel):
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

    @model_validator(mode="after")
    def _sampling_needs_a_chat_model(self) -> Self:
        plain = not isinstance(self.model, str | BaseChatModel)
        if plain and (self.temperature is not None or self.max_tokens is not None):
            msg = "temperature and max_tokens need a model string or a chat model; set them inside the Runnable."
            raise ValueError(msg)
        return self
