"""The embedded model as a chat model."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import model_validator

from langchain_moa.local.llama_server import TOKENS_PER_SLOT, client_of
from langchain_moa.local.structured import in_schema, parsed
from langchain_moa.local.weights import DEFAULT_FILE, find_weights

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI


class ChatLocal(BaseChatModel):
    """A small chat model that runs in this process and needs no API key.

    All instances with the same weights file share one llama.cpp server, started at the first call and stopped at exit.
    It listens on 127.0.0.1 only and requires a key that only this process has. The model does not support tool calls.

    Raises:
        ImportError: At construction, when the extra `local` is not installed.
        LocalModelError: At construction, when there are no weights; at the first call, when they can't be loaded.
    """

    model: str = "smollm2-135m-instruct"
    """Model name in `response_metadata`. Default: for other than the default weights, the name of the file."""

    path: str | None = None
    """Path of a GGUF file. Default: the file found by `find_weights`."""

    temperature: float | None = None
    """Sampling temperature. Default: llama.cpp's 0.8. Above 1 the default model becomes incoherent."""

    max_tokens: int | None = None
    """Maximum tokens per answer. Default: limited only by the context of 4096 tokens."""

    timeout: float | None = None
    """Seconds to wait for data from the server. Default: 600."""

    seed: int | None = None
    """Random seed. The same request gives the same answer, as long as no other request runs at the same time."""

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if importlib.util.find_spec("xllamacpp") is None:
            raise ImportError('The local model needs xllamacpp: pip install "langchain-moa[local]"')
        weights = find_weights(self.path)
        if "model" not in self.model_fields_set and weights.name != DEFAULT_FILE:
            self.model = weights.stem
        return self

    @property
    def _llm_type(self) -> str:
        return "moa-local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "path": self.path, **self._options({})}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(**{**super()._get_ls_params(stop, **kwargs), "ls_provider": "local"})

    def _resolve_model_profile(self) -> ModelProfile:
        return ModelProfile(max_input_tokens=TOKENS_PER_SLOT, image_inputs=False, tool_calling=False)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return structured output, enforced by a grammar. See `BaseChatModel.with_structured_output`.

        Args:
            schema: A Pydantic class, a `TypedDict` or a JSON schema.
            include_raw: Whether to return the message too.
            **kwargs: `method`, which must be `"json_schema"`, and `strict`, which is always on.

        Raises:
            ValueError: `method` is another one.
        """
        if (method := kwargs.get("method", "json_schema")) != "json_schema":
            msg = f"method {method!r} needs tool calls, which this model does not support: use 'json_schema'."
            raise ValueError(msg)
        return parsed(self.bind(extra_body=in_schema(schema)), schema, include_raw=include_raw)

    def _client(self) -> ChatOpenAI:
        return client_of(find_weights(self.path))

    def _options(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in ("temperature", "max_tokens", "timeout", "seed")}
        return {name: value for name, value in fields.items() if value is not None} | kwargs

    def _labeled(self, generation: ChatGenerationChunk) -> ChatGenerationChunk:
        # The server is shared between instances, so it does not know this instance's model name.
        for metadata in (generation.message.response_metadata, generation.generation_info or {}):
            if "model_name" in metadata:
                metadata["model_name"] = self.model
        return generation

    # Always streams, because llama.cpp stops generating for a disconnected client only when it streams.
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        yield from map(self._labeled, self._client()._stream(messages, stop, run_manager, **self._options(kwargs)))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        client = await asyncio.to_thread(self._client)
        async for chunk in client._astream(messages, stop, run_manager, **self._options(kwargs)):
            yield self._labeled(chunk)
