"""A scripted OpenAI-compatible server on loopback, for tests.

Example:
    with OpenAIServer({"a": "Hello.", "b": Reply(status=429)}) as server:
        ChatTogether(model="a", base_url=server.url, api_key="k").invoke("Hi")
        assert server.requests[0]["model"] == "a"
"""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import responses
from typing import Any, Literal, NamedTuple, Self

Fault = Literal["hang", "headers_only", "drop", "disconnect", "stall", "bad_json", "error_event", "empty_choices"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server answers to one chat completion, and how. Times are seconds."""

    text: str | None = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """As in OpenAI's response: `{"id", "type": "function", "function": {"name", "arguments"}}`."""
    finish_reason: str | None = None
    """Default: `tool_calls` if there are any, else `stop`."""
    usage: dict[str, Any] | None = field(
        default_factory=lambda: {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    )
    """Streamed only if the request asks for it: in an extra last chunk without choices."""
    reasoning: str | None = None
    """Sent as `reasoning_content`, before the text."""
    logprobs: dict[str, Any] | None = None
    """Streamed with the finish reason."""
    model: str | None = None
    """The model named in the response. Default: the request's."""
    status: int = 200
    """Any other sends `error` in OpenAI's error shape."""
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = "scripted failure"
    delay: float = 0.0
    token_delay: float = 0.0
    fault: Fault | None = None
    """Nothing is sent (`hang`: left open, `drop`: closed), silence (`headers_only`, `stall`) or the end (`disconnect`)
    follows a part of the answer, its JSON is broken, it is an error with status 200, or it has no choices."""
    fault_after: int = 2
    """Tokens streamed before `disconnect`, `stall`, `bad_json` or `error_event`; unstreamed, half the body is sent."""
    gate: threading.Event | None = None
    """The answer, or what follows the first token of a stream, waits until this is set."""


class _Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class OpenAIServer:
    """Serve `.../chat/completions` and `.../models` from a thread of its own, and record what was asked."""

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Reply | str] | Mapping[str, Reply | str] | None = None,
        *,
        api_key: str | None = None,
        models: Sequence[str] | None = None,
        bare_models: bool = True,
    ) -> None:
        """Script the server.

        Args:
            answer: The reply by model name, or a function of the request's JSON body that does not block.
                Default: `reply of <model>`. What it raises is kept in `errors` and answered with status 500.
            api_key: The only key accepted; a request with another gets status 401. Default: any key will do.
            models: The ids to list. Default: the names in `answer`; status 404 if it names none.
            bare_models: List models as Together does, a bare JSON list, rather than as OpenAI does.
        """
        if isinstance(answer, Mapping):
            models = list(answer) if models is None else models
            self._answer = lambda body: answer[body["model"]]
        else:
            self._answer = answer or (lambda body: f"reply of {body['model']}")
        self._api_key = api_key
        self.models = models
        self.bare_models = bare_models
        self.in_flight = 0
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._changed = threading.Condition()
        self.reset()

    def reset(self) -> None:
        """Forget what was recorded."""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.raw: list[bytes] = []
        self.closed_by_client: list[str] = []
        self.errors: list[Exception] = []
        self.peak = self.in_flight

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._open)

    def wait_for(self, predicate: Callable[[], Any], timeout: float = 60.0) -> None:
        """Wait until `predicate`, about what the server records, is true, or raise `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(predicate, timeout):
                raise TimeoutError(f"Not within {timeout} s.")

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai-server", daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *exc_info: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        # First accept no more and let what was accepted reach `_serve`, four turns of the loop away: asyncio
        # (3.11 to 3.13) leaks a connection whose server is closed in between.
        self._loop.remove_reader(self._server.sockets[0].fileno())
        for _ in range(4):
            await asyncio.sleep(0)
        self._server.close()
        connections = dict(self._open)
        for task in connections.values():
            task.cancel()
        await asyncio.gather(*connections.values(), return_exceptions=True)
        for writer in connections:
            writer.transport.abort()
        await asyncio.sleep(0)  # a transport closes its socket in the next turn

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = self._loop.create_task(self._serve(reader, writer))
        self._notify()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                ahead = tasks.create_task(_read_request(reader))
                while request := await ahead:
                    # Reading ahead is how a client that leaves is noticed while nothing is being sent.
                    ahead = tasks.create_task(_read_request(reader))
                    response = tasks.create_task(self._respond(request, writer))
                    await asyncio.wait({ahead, response}, return_when=asyncio.FIRST_COMPLETED)
                    if not response.done() and ahead.result() is None:
                        response.cancel()
                        await asyncio.wait({response})
                        if request.body:
                            self.closed_by_client.append(json.loads(request.body)["model"])
                    elif not await response or request.headers.get("connection", "").lower() == "close":
                        break
                ahead.cancel()
        finally:
            writer.close()
            del self._open[writer]
            self._notify()

    async def _respond(self, request: _Request, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection may serve another."""
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            reply, now, after_gate = self._script(request)
            self._notify()
            await asyncio.sleep(reply.delay)
            writer.write(now)
            while reply.gate and not reply.gate.is_set():
                await asyncio.sleep(0.001)  # polled: a thread that waits for the gate could not be canceled
            for piece in after_gate:
                await asyncio.sleep(reply.token_delay if now else 0)
                writer.write(piece)
            if reply.fault in ("hang", "headers_only", "stall"):
                await asyncio.Event().wait()
            return reply.fault not in ("drop", "disconnect")
        finally:
            self.in_flight -= 1
            self._notify()

    def _script(self, request: _Request) -> tuple[Reply, bytes, list[bytes]]:
        """Record a chat completion; return the reply, what is sent of it at once, and what follows the gate."""
        body: dict[str, Any] = {}
        try:
            if request.path.endswith("/chat/completions"):
                body = json.loads(request.body)
                self.requests.append(body)
                self.headers.append(request.headers)
                self.raw.append(request.body)
            if self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
                reply = Reply(status=401, error="Incorrect API key provided.")
            elif request.path.endswith("/models") and self.models is not None:
                listed = [{"id": model, "object": "model"} for model in self.models]
                content = listed if self.bare_models else {"object": "list", "data": listed}
                return Reply(), b"", [_unstreamed(Reply(), content)]
            elif not body:
                reply = Reply(status=404, error=f"No {request.path} here.")
            else:
                answer = self._answer(body)
                reply = Reply(text=answer) if isinstance(answer, str) else answer
            return reply, *_pieces(reply, body)
        except Exception as error:
            self.errors.append(error)
            reply = Reply(status=500, error=repr(error))
            return reply, *_pieces(reply, {})


async def _read_request(reader: asyncio.StreamReader) -> _Request | None:
    """Return the next request, or `None` once the client has gone."""
    try:
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return _Request(start.split()[1].partition("?")[0], headers, body)


def _pieces(reply: Reply, body: dict[str, Any]) -> tuple[bytes, list[bytes]]:
    """Return what is sent at once, and the pieces that follow the gate."""
    if reply.fault in ("hang", "drop"):
        return b"", []
    chunk = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": reply.model or body.get("model")}
    finish_reason = reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")
    choice = {"index": 0, "finish_reason": finish_reason, "logprobs": reply.logprobs}
    if reply.status == 200 and body.get("stream"):
        chunk["object"] = "chat.completion.chunk"
        end = _event(chunk | {"choices": [choice | {"delta": {}}]})
        if reply.usage and (body.get("stream_options") or {}).get("include_usage"):
            end += _event(chunk | {"choices": [], "usage": reply.usage})
        return _streamed(reply, chunk, end)
    if reply.status != 200 or reply.fault == "error_event":
        return b"", [_unstreamed(reply, _error(reply))]
    message = {"role": "assistant", "content": reply.text, "tool_calls": reply.tool_calls}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    choices = [] if reply.fault == "empty_choices" else [choice | {"message": message}]
    completion = chunk | {"object": "chat.completion", "choices": choices, "usage": reply.usage}
    return b"", [_unstreamed(reply, completion)]


def _unstreamed(reply: Reply, content: Any) -> bytes:
    data = json.dumps(content).encode()
    half = len(data) // 2
    data = data[:half] if reply.fault == "bad_json" else data
    sent = {"headers_only": 0, "disconnect": half, "stall": half}.get(reply.fault or "", len(data))
    return _head(reply, {"Content-Type": "application/json", "Content-Length": str(len(data))}) + data[:sent]


def _streamed(reply: Reply, chunk: dict[str, Any], end: bytes) -> tuple[bytes, list[bytes]]:
    tokens = [_event(chunk | {"choices": [{"index": 0, "delta": d, "finish_reason": None}]}) for d in _deltas(reply)]
    if reply.fault:
        tokens = tokens[: 0 if reply.fault in ("headers_only", "empty_choices") else reply.fault_after]
        broken = '{"id": "chatcmpl-1", "choi'
        ends = {"bad_json": broken, "error_event": _error(reply), "empty_choices": chunk | {"choices": []}}
        end = _event(ends[reply.fault]) if reply.fault in ends else b""
    if end:
        end += _event("[DONE]") + b"0\r\n\r\n"
    first, *rest = [*tokens, end]
    return _head(reply, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}) + first, rest


def _deltas(reply: Reply) -> list[dict[str, Any]]:
    """Return what each chunk adds: a word of the reasoning, of the text, or of a tool call's arguments."""
    deltas: list[dict[str, Any]] = [{"reasoning_content": token} for token in _tokens(reply.reasoning)]
    deltas += [{"content": token} for token in _tokens(reply.text)]
    for index, call in enumerate(reply.tool_calls):
        deltas.append({"tool_calls": [call | {"index": index, "function": call["function"] | {"arguments": ""}}]})
        for token in _tokens(call["function"]["arguments"]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": token}}]})
    return [{"role": "assistant"} | delta for delta in deltas]


def _tokens(text: str | None) -> list[str]:
    return re.findall(r"\s*\S+|\s+", text or "")


def _error(reply: Reply) -> dict[str, Any]:
    kind = "invalid_request_error" if 400 <= reply.status < 500 else "server_error"
    return {"error": {"message": reply.error, "type": kind, "code": "invalid_api_key" if reply.status == 401 else None}}


def _event(data: Any) -> bytes:
    """Return one server-sent event as one HTTP chunk."""
    event = f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


def _head(reply: Reply, framing: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, '')}"]
    lines += [f"{name}: {value}" for name, value in (framing | dict(reply.headers)).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
