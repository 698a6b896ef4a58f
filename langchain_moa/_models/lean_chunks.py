"""Streamed chat completions as plain dicts, with text that arrived in one network read joined into one chunk."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
from langchain_openai import StreamChunkTimeoutError
from openai.types.chat import ChatCompletionChunk

# The logger that langchain-openai tells of the timeouts that `AsyncChunks` takes over from it.
_logger = logging.getLogger("langchain_openai.chat_models._client_utils")


class Chunks(openai.Stream[object]):
    """A stream of dicts, in which text that arrived in one network read is one chunk.

    Events that are a line of JSON are read here, up to the first that is something else: the SDK reads from there on.
    """

    def __init__(self, *, response: Any, **options: Any) -> None:
        self._reads = _Reads(response)
        super().__init__(response=self._reads, **options)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        while self._reads.is_plain:
            yield from _joined(self._reads.read_plain())
        yield from map(_as_sdk, super().__iter__())


class AsyncChunks(openai.AsyncStream[object]):
    """The same, with a limit on the time from chunk to chunk."""

    _seconds: float | None = None
    _model_name = ""

    def __init__(self, *, response: Any, **options: Any) -> None:
        self._reads = _Reads(response)
        super().__init__(response=self._reads, **options)  # type: ignore[arg-type]

    def limit_silence(self, *, seconds: float | None, model_name: str) -> None:
        """Raise a `StreamChunkTimeoutError`, as langchain-openai does, if no chunk comes for so many seconds."""
        self._seconds, self._model_name = seconds, model_name

    async def __aiter__(self) -> AsyncIterator[Any]:
        received = 0
        self._reads.wait_for(self._seconds)
        try:
            while self._reads.is_plain:
                if chunks := await self._reads.aread_plain():
                    received += len(chunks)
                    for chunk in _joined(chunks):
                        yield chunk
                    self._reads.wait_for(self._seconds)
            async for chunk in super().__aiter__():
                received += 1
                yield _as_sdk(chunk)
                self._reads.wait_for(self._seconds)
        except _SilenceError as error:
            seconds, name = error.seconds, self._model_name
            counts = {"timeout_s": seconds, "model_name": name, "chunks_received": received}
            _logger.warning(
                "langchain_openai.stream_chunk_timeout fired", extra={"source": "stream_chunk_timeout", **counts}
            )
            raise StreamChunkTimeoutError(seconds, model_name=name, chunks_received=received) from error


class _SilenceError(Exception):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class _Reads:
    """A response whose body is read as chunks as far as it is plain; what is left are its bytes."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._seconds = 0.0
        self._deadline: float | None = None
        self._rest = b""
        self._error: Exception | None = None
        self._bytes: Any = None
        self.is_plain = True
        """Whether all that has been read was plain, and the body has not ended."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def read_plain(self) -> list[dict[str, Any]]:
        """Return the chunks that are complete with the next network read."""
        try:
            self._bytes = self._bytes or self._response.iter_bytes()
            return self._chunks(next(self._bytes, None))
        except Exception as error:  # of which the SDK makes its own
            self.is_plain, self._error = False, error
            return []

    async def aread_plain(self) -> list[dict[str, Any]]:
        """Return the chunks that are complete with the next network read."""
        try:
            return self._chunks(await self._next())
        except Exception as error:
            self.is_plain, self._error = False, error
            return []

    def iter_bytes(self) -> Iterator[bytes]:
        """Return the bytes that are left."""
        yield from self._left()
        yield from self._bytes or self._response.iter_bytes()

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Return the bytes that are left."""
        for read in self._left():
            yield read
        while (more := await self._next()) is not None:
            yield more

    def wait_for(self, seconds: float | None) -> None:
        """Limit the time from now to the next chunk."""
        if seconds:
            self._seconds, self._deadline = seconds, asyncio.get_running_loop().time() + seconds

    async def _next(self) -> bytes | None:
        """Return the next network read; `None` at the end."""
        self._bytes = self._bytes or self._response.aiter_bytes()
        if self._deadline is None:
            return await anext(self._bytes, None)
        try:
            async with asyncio.timeout_at(self._deadline) as timer:
                return await anext(self._bytes, None)
        except TimeoutError as error:
            if timer.expired():
                raise _SilenceError(self._seconds) from error
            raise

    def _left(self) -> Iterator[bytes]:
        if self._rest:
            yield self._rest
        if self._error:
            raise self._error

    def _chunks(self, read: bytes | None) -> list[dict[str, Any]]:
        """Return the chunks that are complete with a network read; what is not plain, and all after it, is left."""
        if read is None:
            self.is_plain = False
            return []
        data = self._rest + read
        end = b"\r\n\r\n" if b"\r" in data else b"\n\n"
        *events, self._rest = data.split(end)
        chunks: list[dict[str, Any]] = []
        for number, event in enumerate(events):
            if event.startswith(b":") and len(event.splitlines()) == 1:  # a comment, which keeps the connection alive
                continue
            if (chunk := _plain_chunk(event)) is None:
                self.is_plain = False
                self._rest = end.join([*events[number:], self._rest])
                break
            chunks.append(chunk)
        return chunks


def _plain_chunk(event: bytes) -> dict[str, Any] | None:
    """Return the chunk that an event is, if it is one line of JSON without an error in it."""
    if not event.startswith(b"data: {") or b"\n" in event or b"\r" in event:
        return None
    try:
        chunk: dict[str, Any] = json.loads(event[6:].decode())
    except ValueError:
        return None
    return None if chunk.get("error") else chunk


def _joined(chunks: list[dict[str, Any]]) -> Iterator[Any]:
    """Join neighboring chunks of text, and leave all others by themselves."""
    texts: list[dict[str, Any]] = []
    for chunk in chunks:
        if _is_text(chunk):
            texts.append(chunk)
            continue
        if texts:
            yield _join(texts)
            texts = []
        yield _as_sdk(chunk)
    if texts:
        yield _join(texts)


def _join(texts: list[dict[str, Any]]) -> dict[str, Any]:
    first, *others = texts
    delta = first["choices"][0]["delta"]
    delta["content"] = delta.get("content") or ""
    if others:
        delta["content"] += "".join(text["choices"][0]["delta"].get("content") or "" for text in others)
    return first


def _as_sdk(chunk: Any) -> Any:
    """Return a chunk as the SDK would have it; what it fills in, and makes of wrong types, is told in the metadata."""
    return chunk if type(chunk) is not dict or _is_delta(chunk) else ChatCompletionChunk.construct(**chunk)


# What langchain-openai does not read in a chunk of text, and what is the same in all of them. `token_id` is Together's.
_SAME = {"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier", "obfuscation"}
_SAME_IN_DELTA = {"role", "content", "token_id"}


def _is_text(chunk: dict[str, Any]) -> bool:
    """Return whether a chunk has some text and nothing else that anybody would miss."""
    if not _is_delta(chunk) or not _has_only(_SAME, chunk):
        return False
    choice = chunk["choices"][0]
    delta = choice["delta"]
    return (
        not choice.get("finish_reason")
        and isinstance(delta.get("content") or "", str)
        and delta.get("role") in (None, "assistant")
        and _has_only(_SAME_IN_DELTA, delta)
    )


def _has_only(names: set[str], data: dict[str, Any]) -> bool:
    """Return whether nothing goes by any other name."""
    return data.keys() <= names or all(data[name] is None for name in data.keys() - names)


def _is_delta(chunk: Any) -> bool:
    """Return whether a chunk is as its type says, without what the SDK would fill in."""
    if type(chunk) is not dict or chunk.get("usage") or chunk.get("type") or not isinstance(chunk.get("choices"), list):
        return False
    choices = chunk["choices"]
    if not choices or type(choices[0]) is not dict or type(delta := choices[0].get("delta")) is not dict:
        return False
    return not choices[0].get("logprobs") and not delta.get("function_call") and _are_calls(delta.get("tool_calls"))


def _are_calls(calls: Any) -> bool:
    return not calls or (
        isinstance(calls, list)
        and all(type(call) is dict and "index" in call and type(call.get("function")) is dict for call in calls)
    )
