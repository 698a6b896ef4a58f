"""Convert an answer to a response, or its chunks to the events of one.

Source: https://platform.openai.com/docs/api-reference/responses-streaming, and `openai.types.responses`.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_moa.server.api_errors import ApiError
from langchain_moa.server.completion_objects import finish_reason, to_account, to_delta, tool_calls
from langchain_moa.server.responses_api.output_items import OutputCall, OutputMessage, Part
from langchain_moa.server.responses_api.response_object import ResponseObject, to_usage
from langchain_moa.server.streaming import KEEP_ALIVE, to_event

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseEvents:
    """Converts one answer to a response, or its chunks to server-sent events."""

    def __init__(self, response: ResponseObject) -> None:
        """Start a response.

        Args:
            response: Renders its JSON.
        """
        self._response = response
        self._items: list[OutputMessage | OutputCall] = []
        self._message: OutputMessage | None = None
        """The message that is being written."""
        self._calls: dict[int, OutputCall] = {}
        """By the index that the model gave them."""
        self._finish_reason: str | None = None
        self._last = AIMessageChunk(content="")
        self._count = 0
        self._unsent = b""

    @property
    def account(self) -> dict[str, Any]:
        """The `response_metadata["moa"]` of the answer, available after the last chunk."""
        account: dict[str, Any] = self._last.response_metadata["moa"]
        return account

    def whole(self, answer: AIMessage) -> dict[str, Any]:
        """Return the response."""
        calls = [{"index": index, **call} for index, call in enumerate(tool_calls(answer))]
        delta = {"content": answer.text, "refusal": answer.additional_kwargs.get("refusal"), "tool_calls": calls}
        self._add(delta, answer.response_metadata)
        return self._end(answer)

    def idle(self) -> bytes:
        """Return what is sent when there was no chunk for a while."""
        self._open()
        return self._flush() or KEEP_ALIVE

    def delta(self, chunk: AIMessageChunk) -> bytes:
        """Return the events for a chunk; empty if it has only metadata."""
        self._last = chunk
        self._finish_reason = finish_reason(chunk.response_metadata) or self._finish_reason
        if delta := to_delta(chunk, calls_begun=len(self._calls)):
            self._open()
            self._add(delta, chunk.response_metadata)
        return self._flush()

    def end(self) -> bytes:
        """Return the last events."""
        self._open()
        response = self._end(self._last)
        self._emit(f"response.{response['status']}", response=response)
        return self._flush()

    def failed(self, error: ApiError) -> bytes:
        """Return the last events of a stream that ends with an error."""
        self._open()
        for item in self._items:
            item.status = "completed" if item.status == "completed" else "incomplete"
        told = error.body()["error"]
        # The SDKs raise their `APIError` because of the field `error`, which OpenAI's type of this event lacks.
        fields = {name: told[name] for name in ("code", "message", "param")}
        self._emit("error", **fields, error=told)
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        shown = {"code": code, "message": told["message"]}
        self._emit("response.failed", response=self._response.render("failed", self._output(), error=shown))
        return self._flush()

    def _open(self) -> None:
        if not self._count:
            response = self._response.render("in_progress", [])
            self._emit("response.created", response=response)
            self._emit("response.in_progress", response=response)

    def _add(self, delta: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Add the delta of a chat completion to the output."""
        if text := delta.get("content"):
            self._write("output_text", text, _to_logprobs(metadata.get("logprobs")))
        if refusal := delta.get("refusal"):
            self._write("refusal", refusal, [])
        for call in delta.get("tool_calls", ()):
            self._call(call)

    def _write(self, kind: str, text: str, logprobs: list[dict[str, Any]]) -> None:
        message = self._message or self._begin_message()
        if not message.parts or message.parts[-1].type != kind:
            self._end_part(message)
            message.parts.append(Part(type=kind))
            self._emit("response.content_part.added", **_place(message), part=message.parts[-1].render())
        part = message.parts[-1]
        part.pieces.append(text)
        part.logprobs += logprobs
        more = {"logprobs": logprobs} if kind == "output_text" else {}
        self._emit(f"response.{kind}.delta", **_place(message), delta=text, **more)

    def _call(self, delta: dict[str, Any]) -> None:
        index, function = delta["index"], delta["function"]
        if index not in self._calls:
            self._end_message("completed")
            call_id = delta.get("id") or f"call_{uuid4().hex}"
            self._calls[index] = OutputCall(place=len(self._items), call_id=call_id, name=function.get("name", ""))
            self._begin_item(self._calls[index])
        call = self._calls[index]
        if arguments := function["arguments"]:
            call.pieces.append(arguments)
            place = {"item_id": call.id, "output_index": call.place}
            self._emit("response.function_call_arguments.delta", **place, delta=arguments)

    def _begin_message(self) -> OutputMessage:
        self._message = OutputMessage(place=len(self._items))
        self._begin_item(self._message)
        return self._message

    def _begin_item(self, item: OutputMessage | OutputCall) -> None:
        self._items.append(item)
        self._emit("response.output_item.added", output_index=item.place, item=item.render())

    def _end(self, answer: AIMessage) -> dict[str, Any]:
        """End all items, and return the response."""
        reason = finish_reason(answer.response_metadata) or self._finish_reason
        why = _INCOMPLETE.get(reason or "")
        status = "incomplete" if why else "completed"
        self._end_message(status)
        for call in self._calls.values():
            place = {"item_id": call.id, "output_index": call.place}
            self._emit("response.function_call_arguments.done", **place, name=call.name, arguments=call.arguments)
            # Only the last one can have been cut off.
            self._end_item(call, status if call is self._items[-1] else "completed")
        return self._response.render(
            status,
            self._output(),
            incomplete_details={"reason": why} if why else None,
            usage=to_usage(answer.usage_metadata),
            moa=to_account(answer.response_metadata["moa"]),
        )

    def _end_message(self, status: str) -> None:
        if self._message:
            self._end_part(self._message)
            self._end_item(self._message, status)
            self._message = None

    def _end_part(self, message: OutputMessage) -> None:
        if message.parts:
            part = message.parts[-1].render()
            texts = {name: value for name, value in part.items() if name in ("text", "refusal", "logprobs")}
            self._emit(f"response.{part['type']}.done", **_place(message), **texts)
            self._emit("response.content_part.done", **_place(message), part=part)

    def _end_item(self, item: OutputMessage | OutputCall, status: str) -> None:
        item.status = status
        self._emit("response.output_item.done", output_index=item.place, item=item.render())

    def _output(self) -> list[dict[str, Any]]:
        return [item.render() for item in self._items]

    def _emit(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "sequence_number": self._count, **fields}
        self._unsent += to_event(event, name=kind)
        self._count += 1

    def _flush(self) -> bytes:
        events, self._unsent = self._unsent, b""
        return events


def _place(message: OutputMessage) -> dict[str, Any]:
    """Return where the last part of a message is."""
    return {"item_id": message.id, "output_index": message.place, "content_index": len(message.parts) - 1}


def _to_logprobs(logprobs: Any) -> list[dict[str, Any]]:
    """Convert the log probabilities of a chat completion, if they have OpenAI's form."""
    tokens = (logprobs.get("content") if isinstance(logprobs, dict) else None) or []
    return [
        {**_to_logprob(token), "top_logprobs": [_to_logprob(other) for other in token.get("top_logprobs") or []]}
        for token in tokens
    ]


def _to_logprob(token: dict[str, Any]) -> dict[str, Any]:
    text = token["token"]
    return {
        "token": text,
        "bytes": token.get("bytes") or list(text.encode(errors="replace")),
        "logprob": token["logprob"],
    }
