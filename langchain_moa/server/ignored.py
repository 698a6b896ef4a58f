"""Request fields that can't change the answer: they are taken, and named in a response header."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

IGNORED_HEADER = "x-moa-ignored"
"""Lists, separated by commas, the fields of the request that had no effect."""


def _ignored(why: str) -> Any:
    return Field(default=None, description=f"Taken without effect: {why}.")


class Ignored(BaseModel):
    """Request fields without effect, of any value. OpenAI's first, then those of other servers and gateways."""

    store: Any = _ignored("nothing is stored here")
    prompt_cache_retention: Any = _ignored("providers keep their caches as they do by default")
    prompt_cache_options: Any = _ignored("providers keep their caches as they do by default")
    prediction: Any = _ignored("it only makes an answer faster")

    # OpenRouter
    provider: Any = _ignored("the mixture says which providers are asked")
    usage: Any = _ignored("usage is always reported")
    session_id: Any = _ignored("requests are not grouped")
    trace: Any = _ignored("use metadata for traces")

    # vLLM, SGLang and Together
    chat_template_kwargs: Any = _ignored("the providers of the mixture's models apply their own chat templates")
    cache_salt: Any = _ignored("providers keep their caches as they do by default")
    priority: Any = _ignored("requests are answered in the order in which they come")
    request_id: Any = _ignored("the server's own is in x-request-id")

    # llama.cpp and Ollama
    cache_prompt: Any = _ignored("providers keep their caches as they do by default")
    id_slot: Any = _ignored("the local model has one slot")
    timings_per_token: Any = _ignored("seconds are in the field moa")
    keep_alive: Any = _ignored("models stay loaded")


def ignored_fields(request: Ignored) -> list[str]:
    """Return the names of the fields that a request asks for without effect; `false` asks for nothing."""
    return sorted(
        name for name in request.model_fields_set & Ignored.model_fields.keys() if getattr(request, name) is not False
    )
