"""The lean models against the same models as they are: equal but for the borders of the chunks."""

import asyncio
import gzip
import json
import random
import re
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, Self

import openai
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import LLMResult
from langchain_core.tools import tool
from langchain_deepseek import ChatDeepSeek
from langchain_openai import ChatOpenAI, StreamChunkTimeoutError
from langchain_together import ChatTogether
from langchain_xai import ChatXAI
from openai.resources.chat.completions import AsyncCompletions, Completions
from pydantic import BaseModel

from langchain_moa._models.factory import build_model
from langchain_moa._models.lean_completions import lean
from langchain_moa._models.openai_sdk import sdk_class
from langchain_moa._models.transport import http_clients

CLASSES = [ChatTogether, ChatOpenAI, ChatDeepSeek, ChatXAI]
WAYS = ["invoke", "ainvoke", "stream", "astream"]
_RESET = object()
"""In a scripted response: the connection is reset."""
_PAUSE = object()
"""In a scripted response: what follows waits until the test lets it go on."""


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


# -- A server that sends exactly the bytes that it is told to -------------------------------------------------------


class ByteServer:
    """Answer each request with scripted bytes, each piece in a send of its own, by its retry count."""

    def __init__(self, *responses: Sequence[Any]) -> None:
        self.responses = responses
        self.requests: list[tuple[list[str], bytes]] = []
        self.go_on, self.hung_up = threading.Event(), threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    self._answer(connection)
                except OSError:
                    self.hung_up.set()

    def _answer(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as sent:
            head = []
            while line := sent.readline().strip():
                head.append(line.decode())
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
            body = sent.read(int(headers.get("content-length", 0)))
        self.requests.append((head, body))
        retry = int(headers.get("x-stainless-retry-count", 0))
        for piece in self.responses[min(retry, len(self.responses) - 1)]:
            if piece is _RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if piece is _PAUSE:
                connection.settimeout(0.01)
                while not self.go_on.is_set():
                    try:
                        if not connection.recv(1):
                            self.hung_up.set()
                            return
                    except TimeoutError:
                        continue
                connection.settimeout(None)
                self.go_on.clear()
                continue
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)


def head(status: int = 200, content_type: str = "application/json", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", "Connection: close", "x-request-id: r1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(message: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi", **(message or {})}, "finish_reason": "stop"}
    top = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m"}
    return {**top, "choices": [choice], "usage": USAGE, **fields}


def json_response(body: Any, status: int = 200, **headers: str) -> list[bytes]:
    text = json.dumps(body) if not isinstance(body, str) else body
    return [head(status, **headers), text.encode()]


def delta(
    delta: Any = None, finish: str | None = None, /, index: int = 0, choice: Any = None, **fields: Any
) -> dict[str, Any]:
    one = {"index": index, "delta": delta or {}, "finish_reason": finish, **(choice or {})}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [one], **fields}


def text(content: str | None, **fields: Any) -> dict[str, Any]:
    return delta({"content": content}, **fields)


DETAILED = USAGE | {"prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 1}}
END = [delta({}, "stop"), {**delta(), "choices": [], "usage": USAGE}, "[DONE]"]


def events(*chunks: Any, line: str = "\n", ensure_ascii: bool = False) -> bytes:
    datas = [c if isinstance(c, str) else json.dumps(c, ensure_ascii=ensure_ascii) for c in chunks]
    return "".join(f"data: {data}{line}{line}" for data in datas).encode()


def streamed(*pieces: bytes, **headers: str) -> list[bytes]:
    return [head(content_type="text/event-stream", **headers), *pieces]


def call(index: int, name: str | None, arguments: str, **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"index": index, "function": function, **({"id": f"t{index}", "type": "function"} if name else {}), **fields}


def together(token: str, number: int) -> dict[str, Any]:
    choice = {"text": token, "logprobs": None, "seed": None}
    return delta(
        {"token_id": number, "role": "assistant", "content": token, "tool_calls": None}, choice=choice, usage=None
    )


WORDS = [text(word) for word in ("The", " quick", "", " brown", None, " fox", " Grüße 🎉", "\n")]
ERROR = {"error": {"message": "overloaded", "type": "server_error", "code": "x"}}
_bytes = events(*WORDS, *END)
_utf8 = events(text("Grüße 🎉 日本語"), *END)

STREAMS: dict[str, list[Any]] = {
    "in one read": streamed(_bytes),
    "a read per event": streamed(*(events(c) for c in (*WORDS, *END))),
    "with its head": [head(content_type="text/event-stream") + _bytes],
    "split anywhere": streamed(*(_bytes[i : i + 7] for i in range(0, len(_bytes), 7))),
    "byte by byte through UTF-8": streamed(*(_utf8[i : i + 1] for i in range(len(_utf8)))),
    "CRLF": streamed(events(*WORDS, *END, line="\r\n")),
    "CRLF split": streamed(*re.findall(b"(?s).{1,5}", events(*WORDS[:3], *END, line="\r\n"))),
    "CR": streamed(events(*WORDS, *END, line="\r")),
    "mixed line ends": streamed(events(*WORDS, line="\r\n") + events(*WORDS) + events(*END, line="\r")),
    "comments and keep-alives": streamed(
        b": OPENROUTER PROCESSING\n\n", b"\n\n", events(*WORDS[:2]), b": {}\n\n" + events(WORDS[2]) + b":\n\n",
        events(*END),
    ),
    "event, id and retry fields": streamed(b"event: x\nid: 1\nretry: 5\n" + events(*WORDS, *END), b"id: 2\n\n"),
    "no space after the colon": streamed(events(*WORDS, *END).replace(b"data: ", b"data:")),
    "multi-line data": streamed(
        b'data: {"choices": [{"index": 0,\ndata: "delta": {"content": "a"}}]}\n\n' + events(*WORDS, *END)
    ),
    "without [DONE]": streamed(events(*WORDS, *END[:-1])),
    "without a blank line at the end": streamed(events(*WORDS, *END[:-1])[:-2]),
    "after [DONE]": streamed(events(*WORDS, *END), events(*WORDS)),
    "nothing": streamed(events("[DONE]")),
    "no event": streamed(b""),
    "gzip": streamed(gzip.compress(events(*WORDS, *END)), Content_Encoding="gzip"),
    "Together": streamed(events(*(together(w, n) for n, w in enumerate(["A", " b", " c"])), *END)),
    "OpenAI": streamed(
        events(
            delta({"role": "assistant", "content": "", "refusal": None}, service_tier="default", obfuscation="ab"),
            *(
                text(w, service_tier="default", system_fingerprint="fp", obfuscation="x" * n, usage=None)
                for n, w in enumerate("abc")
            ),
            delta({}, "stop", service_tier="default", system_fingerprint="fp"),
            {**delta(), "choices": [], "usage": DETAILED, "service_tier": "default"},
            "[DONE]",
        )
    ),
    "a tool call": streamed(
        events(
            text("Let me"), text(" see."), delta({"tool_calls": [call(0, "add", "")]}),
            *(delta({"tool_calls": [call(0, None, part)]}) for part in ('{"a"', ": 1, ", '"b": 2}')),
            delta({}, "tool_calls"), "[DONE]",
        )
    ),
    "parallel tool calls": streamed(
        events(
            delta({"content": None, "tool_calls": [call(0, "add", '{"a":'), call(1, "add", '{"a"')]}),
            delta({"tool_calls": [call(1, None, ': 3, "b": 4}')]}),
            delta({"tool_calls": [call(0, None, '1, "b": 2}')]}),
            delta({}, "tool_calls"), "[DONE]",
        )
    ),
    "broken tool calls": streamed(
        events(delta({"tool_calls": [{"function": {"name": "x"}}]}), delta({"tool_calls": [{"index": 0}]}), *END)
    ),
    "a tool call's wrong types": streamed(
        events(delta({"tool_calls": [{"index": "0", "id": 5, "function": {"name": "x", "arguments": {"a": 1}}}]}), *END)
    ),
    "function_call": streamed(
        events(
            delta({"function_call": {"name": "f", "arguments": ""}}),
            delta({"function_call": {"arguments": "{}"}}), *END,
        )
    ),
    "reasoning_content": streamed(
        events(
            *(delta({"reasoning_content": w}) for w in "abc"), text("x"),
            delta({"content": "y", "reasoning": "z"}), *END,
        )
    ),
    "logprobs": streamed(
        events(
            *(text(w, choice={"logprobs": {"content": [{"token": w, "logprob": -1, "bytes": [1]}]}}) for w in "ab"),
            text("c", choice={"logprobs": -0.5}),
            text("d", choice={"logprobs": {"tokens": ["d"], "token_logprobs": [-1]}}), *END,
        )
    ),
    "a refusal": streamed(events(delta({"refusal": "No"}), delta({"refusal": " way."}), *END)),
    "usage in every chunk": streamed(events(*(text(w, usage=USAGE) for w in "abc"), *END)),
    "usage with the finish": streamed(events(text("a"), delta({}, "stop", usage=DETAILED), "[DONE]")),
    "usage first, and incomplete": streamed(events(text("a", usage={"prompt_tokens": 1}), text("b"), *END)),
    "no usage": streamed(events(text("a"), text("b"), delta({}, "stop"), "[DONE]")),
    "usage of wrong types": streamed(events(text("a", usage={"prompt_tokens": "3", "completion_tokens": 2.0}), *END)),
    "several choices": streamed(events(text("a"), text("b", index=1), text("c"), delta({}, "stop", index=1), *END)),
    "two choices in a chunk": streamed(
        events({**text("a"), "choices": text("a")["choices"] + text("b", index=1)["choices"]}, text("c"), *END)
    ),
    "empty choices": streamed(events({**delta(), "choices": []}, text("a"), {**delta(), "choices": []}, *END)),
    "null choices": streamed(events(text("a"), {"id": "c", "choices": None}, *END)),
    "no choices": streamed(events(text("a"), {"id": "c"}, *END)),
    "a choice that is null": streamed(events(text("a"), {**delta(), "choices": [None]}, *END)),
    "null delta": streamed(events(text("a"), {**delta(), "choices": [{"index": 0, "delta": None}]}, text("b"), *END)),
    "no delta": streamed(events(text("a"), {**delta(), "choices": [{"index": 0}]}, text("b"), *END)),
    "content of wrong types": streamed(events(text("a"), text(["x"]), text(5), text("b"), *END)),  # type: ignore[arg-type]
    "other roles": streamed(
        events(delta({"role": "user", "content": "a"}), delta({"role": "assistant", "content": "b"}), *END)
    ),
    "a developer": streamed(events(delta({"role": "developer", "content": "a"}), text("b"), *END)),
    "a custom role": streamed(events(delta({"role": "bot", "content": "a"}), text("b"), *END)),
    "finish with text": streamed(events(text("a"), delta({"content": "b"}, "length"), "[DONE]")),
    "extra fields": streamed(
        events(text("z"), text("a", citations=["u"]), text("b", x_groq={"id": 1}), text("c", warning="w"), *END)
    ),
    "content.delta type": streamed(events(text("a"), {"type": "content.delta"}, text("b"), *END)),
    "an error event": streamed(events(*WORDS, ERROR, *END)),
    "an error event first": streamed(events(ERROR)),
    "an error as a string": streamed(events(text("a"), {"error": "no"}, *END)),
    "an error event by name": streamed(events(text("a")) + b"event: error\n" + events(ERROR)),
    "a thread event": streamed(events(text("a")) + b"event: thread.x\n" + events(text("b")) + events(*END)),
    "broken JSON": streamed(events(text("a"), text("b")) + b'data: {"choices": [\n\n' + events(*END)),
    "not JSON": streamed(events(text("a"), "hello", *END)),
    "null": streamed(events(text("a"), "null", *END)),
    "a list": streamed(events(text("a"), "[1]", *END)),
    "broken UTF-8": streamed(events(text("a")) + b'data: {"x": "\xff"}\n\n'),
    "reset": streamed(events(*WORDS), _RESET),
    "shorter than it said": streamed(events(*WORDS), Content_Length="99999"),
    "HTML": [head(content_type="text/html"), b"<html><body>Moved\n\n</body></html>"],
    "long": streamed(*[events(*(text(f"w{n} ") for n in range(200)))] * 20, events(*END)),
    "a delta of 2 MB": streamed(events(text("a"), text("x" * 2_000_000), text("b"), *END)),
}  # fmt: skip

WHOLES: dict[str, list[Any]] = {
    "text": json_response(whole()),
    "tool calls": json_response(
        whole({"content": None, "tool_calls": [{**call(n, "add", '{"a": 1, "b": 2}')} for n in (0, 1)]})
    ),
    "broken tool calls": json_response(whole({"tool_calls": [call(0, "add", "{")]})),
    "function_call": json_response(whole({"function_call": {"name": "f", "arguments": "{}"}})),
    "reasoning": json_response(whole({"reasoning_content": "r", "reasoning": "s"})),
    "a refusal": json_response(whole({"content": None, "refusal": "No."})),
    "logprobs": json_response(whole(choices=[{**whole()["choices"][0], "logprobs": {"content": [], "tokens": ["a"]}}])),
    "detailed usage": json_response(whole(usage=DETAILED, service_tier="priority", system_fingerprint="fp")),
    "no usage": json_response(whole(usage=None)),
    "incomplete usage": json_response(whole(usage={"prompt_tokens": 1})),
    "several choices": json_response(whole(choices=[*whole()["choices"], *whole({"content": "b"})["choices"]])),
    "no choices": json_response(whole(choices=[])),
    "null choices": json_response(whole(choices=None)),
    "choices missing": json_response({"id": "c"}),
    "null content": json_response(whole({"content": None})),
    "an error with 200": json_response({"error": {"message": "no"}}),
    "a list": json_response([1]),
    "null": json_response("null"),
    "broken JSON": json_response('{"choices": ['),
    "JSON by another name": [head(content_type="text/plain"), json.dumps(whole()).encode()],
    "HTML": [head(content_type="text/html"), b"<html>Moved</html>"],
    "gzip": [head(Content_Encoding="gzip"), gzip.compress(json.dumps(whole()).encode())],
    "10 MB": json_response(whole({"content": "Grüße " * 1_500_000})),
    "empty": [head(), b""],
    "cut off": [head(Content_Length="999"), b'{"choices": ['],
}

_FAST = {"retry_after_ms": "1"}
FAULTS: dict[str, list[list[Any]]] = {
    **{
        str(status): [json_response(ERROR, status, **_FAST)]
        for status in (400, 401, 403, 404, 408, 409, 422, 500, 502, 503, 529)
    },
    "429, then well": [json_response(ERROR, 429, retry_after="0.01"), []],
    "429, Retry-After 0": [json_response(ERROR, 429, retry_after="0"), []],
    "503, then well": [json_response(ERROR, 503, **_FAST), []],
    "429 for good": [json_response(ERROR, 429, **_FAST)],
    "too long": [json_response({"error": {"message": "too long", "code": "context_length_exceeded"}}, 400)],
    "window": [json_response({"error": {"message": "it exceeds the context window"}}, 500, x_should_retry="false")],
    "an error in HTML": [[head(502, "text/html", **_FAST), b"<html>Bad gateway</html>"]],
    "a broken error": [json_response('{"error": ', 500, **_FAST)],
}  # fmt: skip


# -- How a call is compared -----------------------------------------------------------------------------------------


class Heard(BaseCallbackHandler):
    """What a callback handler is told, without ids and times."""

    def __init__(self) -> None:
        self.tokens = ""
        self.ends: list[Any] = []

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens += token

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        self.ends.append(without_ids(response.model_dump()))

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        self.ends.append(repr(error))


def without_ids(value: Any) -> Any:
    """Return data without the ids that a run makes up."""
    if isinstance(value, dict):
        return {
            name: without_ids(one)
            for name, one in value.items()
            if not (name == "id" and str(one).startswith(("lc_", "run-")))
        }
    return [without_ids(one) for one in value] if isinstance(value, list) else value


async def ask(way: str, model: Any, question: Any, *, is_heard: bool = True, **kwargs: Any) -> dict[str, Any]:
    """Ask a model one way; return all that came of it."""
    heard, answer, failure = Heard(), None, None
    config = {"callbacks": [heard] if is_heard else []}
    try:
        if way == "invoke":
            answer = await asyncio.to_thread(model.invoke, question, config, **kwargs)
        elif way == "ainvoke":
            answer = await model.ainvoke(question, config, **kwargs)
        elif way == "stream":
            chunks: list[Any] = []
            try:
                await asyncio.to_thread(collect, model.stream(question, config, **kwargs), chunks)
            finally:
                answer = total(chunks)
        else:
            chunks = []
            try:
                async for chunk in model.astream(question, config, **kwargs):
                    chunks.append(chunk)
            finally:
                answer = total(chunks)
    except Exception as error:
        failure = [
            type(error),
            re.sub(r"0x\w+|:\d{4,5}\b", "", str(error)),
            getattr(error, "status_code", None),
            getattr(error, "body", None),
            type(error.__cause__),
        ]
    data = without_ids(answer.model_dump()) if isinstance(answer, BaseModel) else answer
    told = {"tokens": heard.tokens, "ends": heard.ends} if is_heard else {}
    return {"answer": data, "type": type(answer), "failure": failure, **told}


def collect(stream: Iterator[Any], chunks: list[Any]) -> None:
    for chunk in stream:
        chunks.append(chunk)


def total(chunks: list[Any]) -> Any:
    merged = None
    for chunk in chunks:
        try:
            merged = chunk if merged is None else merged + chunk
        except (TypeError, ValueError) as error:  # chunks that cannot be added, the same ones on both sides
            return repr(error)
    return merged


def request_of(server: ByteServer) -> list[Any]:
    return [([line for line in lines if not line.lower().startswith("host:")], body) for lines, body in server.requests]


async def both(
    cls: Any, way: str, *responses: Sequence[Any], question: Any = "Hi", make: Any = None, **options: Any
) -> Any:
    """Ask the model as it is and the lean one; return what came of each, requests included.

    The lean one is also asked so that nobody hears of it, and must answer the same.
    """
    question = [HumanMessage(question)] if isinstance(question, str) else question
    outcomes = []
    for one, is_heard in ((cls, True), (lean(cls), True), (lean(cls), False)):
        with ByteServer(*responses) as server:
            settings = {"model": "m", "api_key": "k", "base_url": server.url, "max_retries": 1, "stream_usage": True}
            model = one(**settings | http_clients() | options)
            asked = await ask(way, make(model) if make else model, question, is_heard=is_heard)
            outcomes.append(asked | {"requests": request_of(server)})
    plain, ours, unheard = outcomes
    if isinstance(ours["answer"], str) and way == "astream":
        # Chunks that can't be added: core adds them up for handlers, and without any nobody does.
        assert unheard.pop("failure") is None
    assert unheard == {name: ours[name] for name in unheard}
    return [plain, ours]


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> Any:
    return request.param


# -- The same answers -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydantic's, about what servers send
@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_says_the_same(cls: Any, way: str, name: str) -> None:
    plain, ours = await both(cls, way, STREAMS[name])

    assert ours == plain


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("name", WHOLES)
async def test_a_whole_answer_says_the_same(cls: Any, way: str, name: str) -> None:
    plain, ours = await both(cls, way, WHOLES[name])

    if cls is ChatDeepSeek and ours["failure"] and ours["failure"][0] is json.JSONDecodeError:
        # langchain-deepseek 1.1 explains it to sync callers only, and the lean model to all.
        plain = (await both(cls, "invoke", WHOLES[name]))[0] | {"requests": plain["requests"]}
    assert ours == plain


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_told_the_same(monkeypatch: pytest.MonkeyPatch, cls: Any, way: str, name: str) -> None:
    # The SDK waits 0.5 s where it is told nothing, or 0.
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    well = STREAMS["in one read"] if "stream" in way else WHOLES["text"]

    plain, ours = await both(cls, way, *(response or well for response in FAULTS[name]))

    assert ours == plain
    assert (ours["failure"] is None) == ("then well" in name or "Retry-After 0" in name)


class Reading(ChatTogether):
    """A subclass that reads more of a chunk than langchain-openai does, as those of other providers do."""

    def _convert_chunk_to_generation_chunk(self, chunk: dict[str, Any], *args: Any) -> Any:
        generation = super()._convert_chunk_to_generation_chunk(chunk, *args)
        for choice in (chunk.get("choices") or [])[:1]:
            if reasoning := choice["delta"].get("reasoning_content") or choice["delta"].get("reasoning"):
                generation.message.additional_kwargs["reasoning_content"] = reasoning  # type: ignore[union-attr]
        if citations := chunk.get("citations"):
            generation.message.additional_kwargs["citations"] = citations  # type: ignore[union-attr]
        return generation


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("name", ["extra fields", "reasoning_content"])
async def test_a_subclass_reads_the_same(way: str, name: str) -> None:
    plain, ours = await both(Reading, way, STREAMS[name])

    assert ours == plain
    assert ours["answer"]["additional_kwargs"]


def _generated(seed: int) -> list[Any]:
    """Return a stream of random chunks, line ends, comments and reads."""
    choose = random.Random(seed)
    pool = [
        *WORDS, *WORDS, *(together(w, 1) for w in ("x", " é")), delta({"role": "assistant", "content": ""}),
        delta({"tool_calls": [call(0, None, "1")]}), delta({"reasoning_content": "r"}), text("u", usage=USAGE),
        text("l", choice={"logprobs": {"content": []}}), {**delta(), "choices": []}, text("c", citations=["u"]),
    ]  # fmt: skip
    line = choose.choice(["\n", "\n", "\r\n", "\r"])
    parts = []
    for chunk in choose.choices(pool, k=30):
        if choose.random() < 0.2:
            parts.append(f": {choose.choice(['ping', '{}', 'data: {}'])}{line}{line * choose.randint(0, 2)}".encode())
        parts.append(events(chunk, line=line, ensure_ascii=choose.random() < 0.3))
    sent = b"".join([*parts, events(*END[: choose.randint(0, 3)], line=line)])
    pieces = []
    while sent:
        size = choose.choice([1, 3, 50, 400, 4000])
        pieces.append(sent[:size])
        sent = sent[size:]
    return streamed(*pieces)


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("seed", range(25))
async def test_a_random_stream_says_the_same(way: str, seed: int) -> None:
    plain, ours = await both(ChatTogether, way, _generated(seed))

    assert ours == plain
    assert not ours["failure"]


# -- The same requests, and the unusual ones ------------------------------------------------------------------------


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CONVERSATION = [
    SystemMessage("Be brief: „Grüße“."),
    HumanMessage([{"type": "text", "text": "What is it?"}, IMAGE]),
    AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "t1"}]),
    ToolMessage("3", tool_call_id="t1"),
    HumanMessage("And now?"),
]
JOKE = '{"setup": "a", "punchline": "b"}'
OPTIONS: dict[str, dict[str, Any]] = {
    "a conversation": {"question": CONVERSATION},
    "stop": {"make": lambda model: model.bind(stop=["x", "y"])},
    "a stop of its own": {"stop": ["x"]},
    "sampling": {"temperature": 0.2, "top_p": 0.5, "seed": 3, "max_tokens": 7, "logprobs": True, "top_logprobs": 2},
    "n": {"n": 2},
    "no stream_usage": {"stream_usage": False},
    "stream_usage of a call": {"make": lambda model: model.bind(stream_usage=False)},
    "stream_options": {"model_kwargs": {"stream_options": {"include_usage": False}}},
    "extra fields": {
        "extra_body": {"repetition_penalty": 1.1}, "default_headers": {"X-A": "1"}, "default_query": {"q": "1"}
    },
    "options of a request": {
        "make": lambda model: model.bind(extra_headers={"X-B": "2"}, extra_query={"z": "1"}, timeout=9)
    },
    "a model of the o series": {"model": "o3", "question": CONVERSATION, "reasoning_effort": "low"},
    "tools": {"make": lambda model: model.bind_tools([add, Joke], tool_choice="add")},
    "strict tools": {"make": lambda model: model.bind_tools([add], strict=True, parallel_tool_calls=False)},
    "an unknown argument": {"make": lambda model: model.bind(nonsense=1)},
    "an invalid argument": {"make": lambda model: model.bind(tools=5)},
    "no data": {"make": lambda model: model.bind(user=object())},
    "a model in a tool": {
        "make": lambda model: model.bind(tools=[{"type": "function", "function": Joke(setup="a", punchline="b")}])
    },
    "response headers": {"include_response_headers": True},
    "output version": {"output_version": "v1"},
    "JSON": {"make": lambda model: model.bind(response_format={"type": "json_object"})},
    "JSON by default": {"model_kwargs": {"response_format": {"type": "json_object"}}},
    "Responses API": {"use_responses_api": True},
    "a tool of the Responses API": {"make": lambda model: model.bind_tools([{"type": "web_search_preview"}])},
    **{
        f"structured output, {method}": {
            "make": lambda model, method=method: model.with_structured_output(Joke, method=method)
        }
        for method in ("function_calling", "json_mode", "json_schema")
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", OPTIONS)
async def test_an_option_does_the_same(cls: Any, way: str, name: str) -> None:
    calls = [{"id": "t0", "type": "function", "function": {"name": "Joke", "arguments": JOKE}}]
    is_called = "function_calling" in name or "tools" in name
    if "stream" in way:
        said = {"tool_calls": [{"index": 0, **calls[0]}]} if is_called else {"content": JOKE}
        response = streamed(events(delta(said), text(""), *END), x_ratelimit="5")
    else:
        response = json_response(whole({"tool_calls": calls} if is_called else {"content": JOKE}), x_ratelimit="5")

    plain, ours = await both(cls, way, response, **OPTIONS[name])

    assert ours == plain
    assert ours["requests"] or ours["failure"]


# -- The borders of the chunks --------------------------------------------------------------------------------------


def lean_model(server: ByteServer, cls: Any = ChatTogether, **options: Any) -> Any:
    return lean(cls)(model="m", api_key="k", base_url=server.url, **http_clients(), **options)


async def chunks_of(way: str, model: Any) -> list[str]:
    if way == "stream":
        return await asyncio.to_thread(lambda: [chunk.text for chunk in model.stream("Hi")])
    return [chunk.text async for chunk in model.astream("Hi")]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_text_of_one_network_read_is_one_chunk(way: str) -> None:
    called = delta({"tool_calls": [call(0, "add", "{}")]})
    with ByteServer(streamed(events(*map(text, "abc"), called, called, *map(text, "de"), *END))) as server:
        got = await chunks_of(way, lean_model(server))

    assert [one for one in got if one] == ["abc", "de"]
    assert len(got) == len(["abc", "call", "call", "de", "stop", "usage", "core's own last one"])


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_a_token_never_waits_for_the_next_read(way: str, end: str) -> None:
    started = events(text("b"), line=end)
    keep_alive = f": ping{end}{end}".encode()
    pieces = [events(text("a"), line=end) + keep_alive, _PAUSE, started + started[:9], _PAUSE, started[9:]]
    with ByteServer(streamed(*pieces, _PAUSE, events(*END, line=end))) as server:
        model = lean_model(server)
        got = []

        def hear(chunk: Any) -> None:
            if chunk.text:
                got.append(chunk.text)
                server.go_on.set()  # the server goes on only when the token is here

        if way == "stream":
            await asyncio.to_thread(lambda: [hear(chunk) for chunk in model.stream("Hi")])
        else:
            async for chunk in model.astream("Hi"):
                hear(chunk)

    assert got == ["a", "b", "b"]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_text_before_an_error_is_heard_before_it(way: str) -> None:
    with ByteServer(streamed(events(text("a"), text("b"), ERROR))) as server:
        got = await ask(way, lean_model(server), "Hi")

    assert (got["answer"]["content"], got["failure"][0]) == ("ab", openai.APIError)


# -- Ends before the end --------------------------------------------------------------------------------------------


async def test_a_canceled_stream_closes_its_connection_at_once() -> None:
    with ByteServer(streamed(events(text("a")), _PAUSE)) as server:
        heard = asyncio.Event()

        async def listen() -> None:
            async for _ in lean_model(server).astream("Hi"):
                heard.set()

        listening = asyncio.create_task(listen())
        await heard.wait()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening

        assert await asyncio.to_thread(server.hung_up.wait, 5)


async def test_a_canceled_whole_answer_closes_its_connection_at_once() -> None:
    with ByteServer([head()[:20], _PAUSE]) as server:
        asking = asyncio.create_task(lean_model(server).ainvoke("Hi"))
        while not server.requests:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        assert await asyncio.to_thread(server.hung_up.wait, 5)


@pytest.mark.parametrize("cls", CLASSES)
async def test_an_async_stream_that_is_closed_early_closes_its_connection(cls: Any) -> None:
    with ByteServer(streamed(events(text("a")), _PAUSE)) as server:
        stream = lean_model(server, cls).astream("Hi")
        await anext(stream)
        await stream.aclose()

        assert await asyncio.to_thread(server.hung_up.wait, 5)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_stream_that_is_closed_early_closes_its_connection(cls: Any) -> None:
    with ByteServer(streamed(events(text("a")), _PAUSE)) as server:
        stream = lean_model(server, cls).stream("Hi")
        next(stream)
        stream.close()

        assert server.hung_up.wait(5)


async def test_silence_ends_a_stream_as_it_does_in_langchain_openai(caplog: pytest.LogCaptureFixture) -> None:
    keep_alives = [_PAUSE, b": ping\n\n"] * 200
    told = []
    for one in (ChatOpenAI, lean(ChatOpenAI)):
        with ByteServer(streamed(events(text("a")), *keep_alives)) as server:
            stop = threading.Event()

            def keep_alive(server: ByteServer = server, stop: threading.Event = stop) -> None:
                while not stop.wait(0.02):
                    server.go_on.set()

            alive = threading.Thread(target=keep_alive)
            alive.start()
            options = {"base_url": server.url, "stream_chunk_timeout": 0.2, **http_clients()}
            with pytest.raises(StreamChunkTimeoutError) as caught:
                async for _ in one(model="m", api_key="k", **options).astream("Hi"):
                    pass
            assert await asyncio.to_thread(server.hung_up.wait, 5)
            stop.set()
            alive.join()
        record = caplog.records[-1]
        details = {name: vars(record)[name] for name in ("source", "timeout_s", "model_name", "chunks_received")}
        told.append([str(caught.value), vars(caught.value), record.name, record.levelname, record.msg, details])

    assert told[0] == told[1]


# -- What stays as it was -------------------------------------------------------------------------------------------


def without_addresses(text: str) -> str:
    return re.sub("0x[0-9a-f]+", "0x", text)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_lean_model_is_known_as_the_original(cls: Any) -> None:
    options = {"model": "m", "api_key": "k", "temperature": 0.5, **http_clients()}
    plain, ours = cls(**options), lean(cls)(**options)

    assert isinstance(ours, cls)
    for copy in (ours, ours.model_copy(), ours.model_copy(update={"temperature": 0.5})):
        assert copy.get_name() == plain.get_name()
        assert copy._llm_type == plain._llm_type
        assert copy.lc_id() == plain.lc_id()
        assert copy._get_ls_params() == plain._get_ls_params()
        assert copy._get_llm_string() == plain._get_llm_string()
        assert copy.asdict() == plain.asdict()
        assert copy.profile == plain.profile
        assert without_addresses(repr(copy)) == without_addresses(repr(plain))
        assert without_addresses(dumps(copy)) == without_addresses(dumps(plain))
        assert copy.model_dump() == plain.model_dump()
    assert (type(ours).__module__, type(ours).__qualname__) == (cls.__module__, cls.__qualname__)


def test_models_from_strings_are_lean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    for provider in ("OPENAI", "DEEPSEEK", "XAI"):
        monkeypatch.setenv(f"{provider}_API_KEY", "k")
    options: dict[str, Any] = {"temperature": None, "max_tokens": None, "timeout": 9}

    assert type(build_model("a/b", **options)) is lean(sdk_class(ChatTogether))
    assert type(build_model("openai:gpt-4o", **options)) is lean(sdk_class(ChatOpenAI))
    assert type(build_model("deepseek:deepseek-chat", **options)) is lean(sdk_class(ChatDeepSeek))
    assert type(build_model("xai:grok-4", **options)) is lean(sdk_class(ChatXAI))


async def test_a_whole_answer_takes_no_thread() -> None:
    class Counting(ThreadPoolExecutor):
        calls = 0

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return super().submit(*args, **kwargs)

    with Counting() as executor, ByteServer(WHOLES["text"]) as server:
        asyncio.get_running_loop().set_default_executor(executor)
        model = lean_model(server)
        await model.ainvoke("Hi")
        at_first = executor.calls  # the SDK asks for the platform once
        await model.ainvoke("Hi")

        assert executor.calls == at_first


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["class", "instance"])
async def test_whoever_observes_the_sdk_sees_its_own_types(
    way: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    with ByteServer(STREAMS["in one read"] if "stream" in way else WHOLES["text"]) as server:
        model = lean_model(server)
        client = model.async_client if way.startswith("a") else model.client
        assert type(client) in (AsyncCompletions, Completions)
        owner = type(client) if place == "class" else client
        create = owner.create

        @wraps(create)
        def observed(*args: Any, **kwargs: Any) -> Any:
            seen.append(kwargs["messages"])
            return create(*args, **kwargs)

        monkeypatch.setattr(owner, "create", observed)
        await ask(way, model, "Hi")

    assert seen == [[{"role": "user", "content": "Hi"}]]
