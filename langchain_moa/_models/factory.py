"""From a string such as `together:zai-org/GLM-5.3` to a chat model."""

from __future__ import annotations

import hashlib
import os
from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.runnables import Runnable, RunnableBinding

# The SDK tries again on 408, 409, 429, 5xx and broken connections, and honours Retry-After. Three tries in all, as
# in togethercomputer/together-cookbook, MoA_Under_the_hood.ipynb.
_MAX_RETRIES = 2


def build_model(
    spec: str, *, temperature: float | None, max_tokens: int | None, timeout: float, cache: bool = True
) -> BaseChatModel:
    """Build the chat model that a string names.

    Args:
        spec: `provider:model` as `init_chat_model` reads it, or a bare Together model id. `local:…` is the embedded
            model, by name or by the path of a GGUF file.
        temperature: Sampling temperature; `None` leaves it to the provider.
        max_tokens: Most tokens that a call may write; `None` leaves it to the provider.
        timeout: Seconds that one request may take.
        cache: Whether the model may answer from a cache; not when several samples of it are wanted.

    Raises:
        ValueError: The key for Together is missing, or the provider is unknown.
        ImportError: A package for the provider is missing.
    """
    provider, _, name = spec.partition(":")
    if "/" in provider or not name:
        provider, name = "together", spec
    options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "timeout": timeout}
    if not cache:
        options["cache"] = False
    if provider == "together":
        return _chat_together(name, **options)
    if provider == "openai":
        return _chat_openai(name, **options)
    if provider == "local":
        return _chat_local(name, **options)
    return _chat_of_provider(spec, **options)


def model_name(model: Runnable[Any, Any]) -> str:
    """Return the name under which a model's provider knows it, or the best that there is."""
    model = unbound(model)
    for attribute in ("model_name", "model"):
        if isinstance(name := getattr(model, attribute, None), str) and name:
            return name
    return model.get_name()


def model_profile(model: Runnable[Any, Any]) -> ModelProfile | None:
    """Return what a model says that it can take, if it says anything."""
    model = unbound(model)
    return model.profile if isinstance(model, BaseChatModel) else None


def nesting(model: Runnable[Any, Any]) -> int:
    """Return how many mixtures a model nests: 0 for an ordinary one."""
    return getattr(unbound(model), "nesting", 0)


def model_identity(model: Runnable[Any, Any]) -> Any:
    """Return what distinguishes a model from another, as plain data without keys."""
    inner = unbound(model)
    if not isinstance(inner, BaseChatModel):
        # A Runnable does not tell what it does: two of one name must not share a cache's entry.
        return f"{model.get_name()} {uuid4()}"
    arguments: dict[str, Any] = {}
    while isinstance(model, RunnableBinding):
        arguments = {**model.kwargs, **arguments}
        model = model.bound
    # The key that core's own cache has for the model, which knows of more than `asdict` (a server's address, say).
    key = hashlib.sha256(inner._get_llm_string().encode(errors="backslashreplace")).hexdigest()
    return {**inner.asdict(), **arguments, "key": key}


def without_streaming(model: Runnable[Any, Any], *, cache: bool = True) -> Runnable[Any, Any]:
    """Return a copy of a model that answers as a whole, whoever listens for tokens.

    Args:
        model: A chat model; another Runnable is returned as it is.
        cache: Whether it may answer from a cache.
    """
    if not isinstance(model, BaseChatModel):
        return model
    # A listener upstream would make it stream: an answer of 8,000 tokens then costs a thousand times the CPU.
    return model.model_copy(
        update={"disable_streaming": True} if cache else {"disable_streaming": True, "cache": False}
    )


def unbound(model: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return what a chain of `bind` and `with_config` wraps: a chat model, or the Runnable itself."""
    while not isinstance(model, BaseChatModel) and isinstance(inner := getattr(model, "bound", None), Runnable):
        model = inner
    return model


def _chat_together(name: str, **options: Any) -> BaseChatModel:
    # ChatTogether falls back to OPENAI_API_KEY and would send it to Together: check the key here, and hand it over.
    key = os.environ.get("TOGETHER_API_KEY")
    if not key:
        msg = (
            f"Model {name!r} runs on Together: set TOGETHER_API_KEY, name models of another provider as "
            "'provider:model', or use the line-up 'local', which needs no key."
        )
        raise ValueError(msg)
    # Imported here because it loads the OpenAI SDK, which takes seconds on a cold start.
    from langchain_together import ChatTogether

    model: BaseChatModel = ChatTogether(model=name, api_key=key, **_openai_sdk(), **options)
    return model


def _chat_openai(name: str, **options: Any) -> BaseChatModel:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=name, **_openai_sdk(), **options)


def _openai_sdk() -> dict[str, Any]:
    """Return what all models that use the OpenAI SDK are built with."""
    from langchain_moa._models.transport import http_clients

    return {"max_retries": _MAX_RETRIES, "stream_usage": True, **http_clients()}


def _chat_local(name: str, **options: Any) -> BaseChatModel:
    from langchain_moa.local import ChatLocal

    path = name if name.endswith(".gguf") else None
    model: BaseChatModel = ChatLocal(path=path, **options) if path else ChatLocal(model=name, **options)
    return model


def _chat_of_provider(spec: str, **options: Any) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        msg = f"Model {spec!r} is built by init_chat_model: pip install langchain"
        raise ImportError(msg) from None
    model: BaseChatModel = init_chat_model(spec, **options)
    return model
