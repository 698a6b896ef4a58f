"""Chat models of langchain-openai that cost less CPU, with the same requests, answers and errors.

Most of what a call costs is spent below us: each streamed token becomes a pydantic object that is dumped into a dict at
once, each message of a request is held against each type that it may have, each whole answer on the async path takes a
thread. Here the OpenAI SDK still does the requests, with its retries, errors, authentication and server-sent events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache
from inspect import signature
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai.chat_models.base import BaseChatOpenAI
from openai.resources.chat.completions import AsyncCompletions, Completions
from openai.types.chat import ChatCompletion
from pydantic import ValidationError

from langchain_moa._models.lean_chunks import AsyncChunks, Chunks
from langchain_moa._models.unobserved import Unobserved, is_own

_Model = TypeVar("_Model", bound=type[BaseChatOpenAI])
if TYPE_CHECKING:
    _Base = BaseChatOpenAI
else:
    _Base = object


@cache
def lean(model: _Model) -> _Model:
    """Return a subclass of a chat model's class that differs in nothing but its CPU and the borders of its chunks.

    Text that arrived in one network read is one chunk. The subclass has the name and the module of the original.

    Args:
        model: A class that speaks chat completions through the OpenAI SDK.
    """
    names = {name: getattr(model, name) for name in ("__module__", "__qualname__", "__doc__")}
    derive: Any = type(model)
    derived: _Model = derive(model.__name__, (Unobserved, _LeanCompletions, model), names)
    return derived


class _LeanCompletions(_Base):
    """What `lean` puts before a class."""

    never_blocks = True
    """Its async methods leave the event loop to others, so that sync callers need no thread for it: see `call`."""

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        model = self
        if self._is_usual(kwargs):
            model = self.model_copy(update={"client": _Completions(self.root_client)})
        return super(_LeanCompletions, model)._stream(messages, stop, run_manager, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        model = self
        if self._is_usual(kwargs):
            model = self.model_copy(update={"client": _Completions(self.root_client)})
        return super(_LeanCompletions, model)._generate(messages, stop, run_manager, **kwargs)

    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        model = self
        if self._is_usual(kwargs):
            client = _AsyncCompletions(
                self.root_async_client, seconds=self.stream_chunk_timeout, model_name=self.model_name
            )
            # The timeout is that of `AsyncChunks`: langchain-openai has a task for every chunk (before Python 3.12).
            model = self.model_copy(update={"async_client": client, "stream_chunk_timeout": None})
        return super(_LeanCompletions, model)._astream(messages, stop, run_manager, **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if not self._is_usual(kwargs):
            return await super()._agenerate(messages, stop, run_manager, **kwargs)
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        try:
            answer: Any = await _AsyncCompletions(self.root_async_client).with_raw_response.create(**payload)
        except Exception as error:
            answer = error

        def create(**_: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        # The sync method makes a result or an error of the answer without a thread; it needs no messages for that.
        client = SimpleNamespace(with_raw_response=SimpleNamespace(create=create))
        return super(_LeanCompletions, self.model_copy(update={"client": client}))._generate([], stop, None, **kwargs)

    def _is_usual(self, kwargs: dict[str, Any]) -> bool:
        """Return whether a call is an ordinary chat completion, which nobody else has a hand in."""
        given = {**kwargs, **self.model_kwargs}
        is_unusual = (
            "response_format" in given
            or self.include_response_headers
            # Both private in langchain-openai 1.7, which tells in no other way what it will ask.
            or getattr(self, "_uses_gateway", False)
            or self._use_responses_api(given)
        )
        clients = (self.client, self.async_client)
        return not is_unusual and all(is_own(getattr(client, "create", None), "openai") for client in clients)


class _Completions:
    """Stands for an OpenAI client's `chat.completions`, and for the client where the SDK's own is asked to help."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @property
    def with_raw_response(self) -> Any:
        """Have a `create` that returns the response, to be parsed."""
        return SimpleNamespace(create=self._create_raw)

    def _create_raw(self, **payload: Any) -> Any:
        # As the SDK's own `with_raw_response`, which makes some sixty objects for it.
        headers = {**(payload.get("extra_headers") or {}), "X-Stainless-Raw-Response": "true"}
        return self.create(**{**payload, "extra_headers": headers})

    def create(self, **payload: Any) -> Any:
        """Ask for a chat completion."""
        request = _request(payload)
        return self.post(**request) if request else Completions(self).create(**payload)  # type: ignore[arg-type]

    def post(self, path: str, *, stream_cls: Any, **request: Any) -> Any:
        """Send a request."""
        return _lean_answer(self._client.post(path, stream_cls=Chunks, **request))


class _AsyncCompletions(_Completions):
    """The same for an `AsyncOpenAI`."""

    def __init__(self, client: Any, **stream_options: Any) -> None:
        super().__init__(client)
        self._stream_options = stream_options

    async def create(self, **payload: Any) -> Any:
        """Ask for a chat completion."""
        request = _request(payload)
        return await (self.post(**request) if request else AsyncCompletions(self).create(**payload))  # type: ignore[arg-type]

    async def post(self, path: str, *, stream_cls: Any, **request: Any) -> Any:
        """Send a request."""
        answer = await self._client.post(path, stream_cls=AsyncChunks, **request)
        if isinstance(answer, AsyncChunks):
            answer.limit_silence(**self._stream_options)
        return _lean_answer(answer)


def _lean_answer(answer: Any) -> Any:
    return _RawAnswer(answer) if hasattr(answer, "http_response") else answer


class _RawAnswer:
    """A response to be parsed. The SDK walks through an answer field by field; pydantic is faster where all is well."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def parse(self) -> Any:
        """Return the completion as the SDK does."""
        try:
            return ChatCompletion.model_validate(self._response.parse(to=object), strict=True)
        except ValidationError:
            return self._response.parse()


def _request(payload: dict[str, Any]) -> dict[str, Any] | None:
    """Return the request that the SDK would make, or `None` where it has more to do than to put it in order.

    The SDK holds each value against each type that it may have, in order to convert what is not JSON.
    """
    names, request = _form()
    body = {name: payload[name] for name in names if name in payload}
    others = payload.keys() - body.keys() - {"extra_headers"}
    if others or not {"model", "messages"} <= body.keys() or not _is_plain(body):
        return None
    options = dict(request["options"])
    if headers := payload.get("extra_headers"):
        options["headers"] = headers
    return {**request, "body": body, "options": options, "stream": bool(body.get("stream"))}


@cache
def _form() -> tuple[list[str], dict[str, Any]]:
    """Return the order in which this version of the SDK sends a body's parameters, and all else that it asks with."""
    form: dict[str, Any] = {}

    class Recorder:
        def __getattr__(self, _: str) -> None:
            """Have all that a client has."""

        def post(self, path: str, **request: Any) -> None:
            form.update(path=path, **request)

    parameters = signature(Completions.create).parameters.keys() - {"self", "timeout"}
    Completions(Recorder()).create(  # type: ignore[call-overload, arg-type]
        **{name: {} for name in parameters if not name.startswith("extra_")}
    )
    return list(form.pop("body")), form


def _is_plain(value: Any) -> bool:
    """Return whether the SDK would send some data as it is."""
    if type(value) is dict:
        return all(map(_is_plain, value.values()))
    if type(value) is list:
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, int, float, bool)
