"""Streamed chat completions as plain dicts, with text that arrived in one network read joined into one chunk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
from langchain_openai import StreamChunkTimeoutError
from openai.types.chat import ChatCompletionChunk

# The logger that langchain-openai tells of the timeouts that `AsyncChunks` takes over from it.
_logger = logging.getLogger("langchain_openai.chat_models._client_utils")


class Chunks(openai.Stream[object]):
    """A stream of dicts, in which text that arrived in one network read is one chunk."""

    def __init__(self, *, response: Any, **options: Any) -> None:
        self._reads = _Reads(response)
        super().__init__(response=self._reads, **options)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        joined = _Joined()
        try:
            for chunk in super().__iter__():
                yield from joined.add(chunk, more=self._reads.more > 0)
        except Exception:
            yield from joined.rest()
            raise
        yield from joined.rest()


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
        joined = _Joined()
        received = 0
        self._reads.wait_for(self._seconds)
        try:
            async for chunk in super().__aiter__():
                for ready in joined.add(chunk, more=self._reads.more > 0):
                    yield ready
                received += 1
                self._reads.wait_for(self._seconds)
        except _SilenceError as error:
            seconds, name = error.seconds, self._model_name
            counts = {"timeout_s": seconds, "model_name": name, "chunks_received": received}
            _logger.warning(
                "langchain_openai.stream_chunk_timeout fired", extra={"source": "stream_chunk_timeout", **counts}
            )
            raise StreamChunkTimeoutError(seconds, model_name=name, chunks_received=received) from error
        except Exception:
            for ready in joined.rest():
                yield ready
            raise
        for ready in joined.rest():
            yield ready


class _SilenceError(Exception):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class _Reads:
    """A response that tells how much of the last network read is still to come."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._seconds = 0.0
        self._deadline: float | None = None
        self.more = 0
        """Events that the SDK's decoder will find without another network read; there may be others."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def wait_for(self, seconds: float | None) -> None:
        """Limit the time from now to the next event."""
        if seconds:
            self._seconds, self._deadline = seconds, asyncio.get_running_loop().time() + seconds

    def iter_bytes(self) -> Iterator[bytes]:
        """Return the bytes, event by event."""
        for read in self._response.iter_bytes():
            yield from self._events(read)

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Return the bytes, event by event."""
        reads = self._response.aiter_bytes()
        while True:
            try:
                async with asyncio.timeout_at(self._deadline) as timer:
                    read = await anext(reads)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                if timer.expired():
                    raise _SilenceError(self._seconds) from error
                raise
            for event in self._events(read):
                yield event

    def _events(self, read: bytes) -> Iterator[bytes]:
        end = b"\r\n\r\n" if b"\r" in read else b"\n\n"
        *events, tail = read.split(end)
        # Others may be comments, or the end of the stream.
        sure = [event.startswith((b"data: {", b"data:{")) for event in events]
        self.more = sum(sure)
        for event, is_sure in zip(events, sure, strict=True):
            self.more -= is_sure
            yield event + end
        if tail:
            yield tail


class _Joined:
    """Joins neighbouring chunks of text, and leaves all others as they are."""

    def __init__(self) -> None:
        self._first: Any = None
        self._texts: list[str] = []

    def add(self, chunk: Any, *, more: bool) -> Iterator[Any]:
        """Return what is ready, now that `chunk` has come and `more` are about to come."""
        if _is_text(chunk):
            self._first = self._first or chunk
            self._texts.append(chunk["choices"][0]["delta"].get("content") or "")
            if not more:
                yield from self.rest()
        else:
            yield from self.rest()
            # As the SDK would have it; what it fills in, and what it makes of wrong types, is told in the metadata.
            yield chunk if type(chunk) is not dict or _is_delta(chunk) else ChatCompletionChunk.construct(**chunk)

    def rest(self) -> Iterator[Any]:
        """Return the text that is joined."""
        if (chunk := self._first) is not None:
            chunk["choices"][0]["delta"]["content"] = "".join(self._texts)
            self._first, self._texts = None, []
            yield chunk


# What langchain-openai does not read in a chunk of text, and what is the same in all of them. `token_id` is Together's.
_SAME = {"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier", "obfuscation"}
_SAME_IN_DELTA = {"role", "content", "token_id"}


def _is_text(chunk: Any) -> bool:
    """Return whether a chunk has some text and nothing else that anybody would miss."""
    if not _is_delta(chunk) or any(value for name, value in chunk.items() if name not in _SAME):
        return False
    choice = chunk["choices"][0]
    delta = choice["delta"]
    return (
        not choice.get("finish_reason")
        and isinstance(delta.get("content") or "", str)
        and delta.get("role") in (None, "assistant")
        and not any(value for name, value in delta.items() if name not in _SAME_IN_DELTA)
    )


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
