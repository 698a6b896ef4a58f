"""What all chat models have in common that ask through the OpenAI SDK, of whatever provider."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from functools import cache
from json import JSONDecodeError
from types import new_class
from typing import Any

import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from langchain_moa._models.transport import http_clients


def sdk_options(cls: type[BaseChatModel], *, is_openai: bool) -> dict[str, Any]:
    """Return what every model of a class of langchain-openai's family is built with.

    Args:
        cls: The class.
        is_openai: Whether it asks OpenAI, for whom OPENAI_PROXY is meant.
    """
    proxy = os.environ.get("OPENAI_PROXY") if is_openai else None
    # The class takes either HTTP clients, or a proxy.
    options: dict[str, Any] = {"openai_proxy": None, **(http_clients(proxy) if proxy else http_clients())}
    if "stream_chunk_timeout" in cls.model_fields:
        # It waits for each chunk with `asyncio.wait_for`, which swallows a cancellation in Python 3.11.
        options["stream_chunk_timeout"] = None
    return options


def without_openai_account(model: Any) -> None:
    """Have a model of another provider send nothing that the environment says about an account at OpenAI.

    The SDK's clients read OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_ADMIN_KEY and OPENAI_CUSTOM_HEADERS by themselves,
    and take no `None` for an answer (openai 3.57).
    """
    resources = (model.client, model.async_client)
    for client in (model.root_client, model.root_async_client, *(getattr(r, "_client", None) for r in resources)):
        if client is not None:
            client.organization = client.project = client.admin_api_key = None
            client._custom_headers = dict(model.default_headers or {})
            client._ambient_authorizations = frozenset()


@cache
def sdk_class(cls: type[BaseChatModel]) -> type[Any]:
    """Return a class whose answers that can't be decoded are an `openai.APIError`, as its other failures are."""
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return new_class(cls.__name__, (_DecodingErrors, cls), exec_body=lambda body: body.update(names))


class _DecodingErrors:
    """The hooks of a chat model, with errors of decoding turned into the SDK's."""

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        with _as_api_error(self):
            return super()._generate(*args, **kwargs)  # type: ignore[misc,no-any-return]

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        with _as_api_error(self):
            return await super()._agenerate(*args, **kwargs)  # type: ignore[misc,no-any-return]

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        with _as_api_error(self):
            yield from super()._stream(*args, **kwargs)  # type: ignore[misc]

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        with _as_api_error(self):
            async with aclosing(super()._astream(*args, **kwargs)) as chunks:  # type: ignore[misc]
                async for chunk in chunks:
                    yield chunk


@contextmanager
def _as_api_error(model: Any) -> Iterator[None]:
    try:
        yield
    except (JSONDecodeError, UnicodeDecodeError) as error:
        # The SDK lets them through (openai 3.57).
        request = http_clients()["http_client"].build_request("POST", str(model.root_client.base_url))
        message = f"The provider's answer can't be decoded: {type(error).__name__}: {error}"
        raise openai.APIError(message, request, body=None) from error
