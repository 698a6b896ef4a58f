"""Whose model a chat model is."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from langchain_moa._models.factory import unbound


def provider_of(model: Runnable[Any, Any]) -> str | None:
    """Return the kind of a chat model, such as `chat-ollama` or `anthropic-chat`; `None` for another Runnable."""
    inner = unbound(model)
    # Every chat model has to define it, and nothing public tells the provider (langchain-core 1.8).
    return inner._llm_type if isinstance(inner, BaseChatModel) else None


def ls_provider_of(model: Runnable[Any, Any]) -> str | None:
    """Return the name under which traces know a chat model's provider, such as `together`; `None` for another Runnable.

    It tells who bills the calls.
    """
    inner = unbound(model)
    # What core itself asks for the metadata of every run; nothing public tells it (langchain-core 1.8).
    return inner._get_ls_params().get("ls_provider") if isinstance(inner, BaseChatModel) else None
