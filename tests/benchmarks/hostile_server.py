"""An OpenAI-compatible server in a process of its own, whose models break in every way in which a provider can.

A model's name is `name~FAULT~CELL`: `FAULT` is one of `STATUSES` or `BROKEN`, or `none`; `CELL` is who asks. A model
without a fault answers with the cell and the names of those whose replies it was shown. `FAULT+` strikes a stream after
its first token, `judge:FAULT` a request for an answer in a schema. `every N` is an answer without an end, with a token
(a byte, when it is not streamed) every `N` milliseconds.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import re
import socket
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, ClassVar

STATUSES = {
    "401": (401, None),
    "403": (403, None),
    "404": (404, None),
    "408": (408, None),
    "429, Retry-After 0": (429, 0),
    "429, Retry-After 1": (429, 1),
    "429, Retry-After 3600": (429, 3600),
    "500": (500, None),
    "502": (502, None),
    "503": (503, None),
    "529": (529, None),
}
"""HTTP status and `Retry-After`, by fault."""

BROKEN = (
    "reset before headers",
    "reset after headers",
    "half a body",
    "half a stream",
    "silence before headers",
    "silence midway",
    "one byte a second",
    "broken JSON",
    "HTML with 200",
    "wrong encoding",
    "gzip cut off",
    "empty choices",
    "null content",
    "filtered",
    "filtered half-way",
    "no usage",
    "no finish reason",
    "duplicate events",
    "error event",
    "10 MB answer",
)
"""What the server does with a request that it takes."""

LARGE = 10_000_000

_USAGE = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
_ERROR = {"error": {"message": "a fault", "type": "server_error", "code": None}}


class HostileServer:
    """The server, started and stopped as a context manager."""

    def __enter__(self) -> HostileServer:
        command = [sys.executable, "-u", "-m", "tests.benchmarks.hostile_server"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        self._refusing = socket.socket()
        self._refusing.bind(("127.0.0.1", 0))  # and nobody listens
        return self

    def __exit__(self, *_: object) -> None:
        self._refusing.close()
        self._process.communicate()  # it ends with its standard input

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._process.pid

    def url(self, fault: str) -> str:
        """Return the address at which a model with a fault is asked."""
        return {
            "connection refused": f"http://127.0.0.1:{self._refusing.getsockname()[1]}/v1",
            "DNS failure": "http://nowhere.invalid/v1",
            "TLS failure": f"https://127.0.0.1:{self.port}/v1",
        }.get(fault, f"http://127.0.0.1:{self.port}/v1")

    def state(self) -> dict[str, Any]:
        """Return the number of `open` connections, and of the requests `in_flight` by cell."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("GET", "/state")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


class _Connection(asyncio.Protocol):
    open: ClassVar[set[_Connection]] = set()
    in_flight: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: Any) -> None:
        self._out, self._in = transport, bytearray()
        self._task: asyncio.Task[None] | None = None
        self._is_writable = asyncio.Event()
        self._is_writable.set()
        self.open.add(self)

    def pause_writing(self) -> None:
        self._is_writable.clear()

    def resume_writing(self) -> None:
        self._is_writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.open.discard(self)
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._in += data
        if self._in[:1] == b"\x16":  # a TLS client's first word
            self._out.write(b"HTTP/1.1 400 -\r\n\r\n")
            self._out.close()
            return
        start = self._in.find(b"\r\n\r\n") + 4
        if start < 4:
            return
        length = re.search(rb"content-length: *(\d+)", self._in[:start], re.IGNORECASE)
        end = start + int(length[1] if length else 0)
        if len(self._in) < end:
            return
        body = bytes(self._in[start:end])
        del self._in[:end]
        self._task = asyncio.create_task(self._answer(json.loads(body)) if body else self._tell())

    async def _tell(self) -> None:
        state = {"open": len(self.open) - 1, "in_flight": +self.in_flight}
        self._out.write(_whole(200, json.dumps(state).encode()))

    async def _answer(self, asked: dict[str, Any]) -> None:
        _, fault, cell = asked["model"].split("~")
        self.in_flight[cell] += 1
        try:
            async for data in _reply(asked, fault):
                if data is None:
                    self._out.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    self._out.abort()
                    return
                await self._is_writable.wait()
                self._out.write(data)
        finally:
            self.in_flight[cell] -= 1


async def _reply(asked: dict[str, Any], fault: str) -> AsyncIterator[bytes | None]:
    """Yield what is sent; `None` resets the connection."""
    if fault.startswith("judge:"):  # it is as good a writer as any
        fault = fault.removeprefix("judge:") if "tool_choice" in asked or "response_format" in asked else "none"
    path, _, cell = asked["model"].split("~")
    name = path.rpartition("/")[2]
    kind = fault.removesuffix("+")
    if kind in STATUSES:
        status, after = STATUSES[kind]
        yield _whole(status, json.dumps(_ERROR).encode(), *([] if after is None else [f"Retry-After: {after}"]))
        return
    if kind == "reset before headers":
        yield None
        return
    if kind == "silence before headers":
        await asyncio.sleep(3600)
    if kind.startswith("every "):
        async for data in _endless(asked, float(kind.removeprefix("every ")) / 1000):
            yield data
    said = json.dumps([message.get("content") for message in asked["messages"]])
    shown = ",".join(sorted(set(re.findall(r"<<(\w+)>>", said))))
    text = f"<<{name}>> {cell} heard {shown}."
    if kind == "10 MB answer":
        text += " x" * (LARGE // 2)
    if kind == "HTML with 200":
        yield _whole(200, b"<html><body>Bad gateway</body></html>", kind="text/html")
    elif asked.get("stream"):
        async for data in _stream(asked, text, kind, is_late=fault.endswith("+")):
            yield data
    else:
        async for data in _body(asked, text, kind):
            yield data


async def _endless(asked: dict[str, Any], seconds: float) -> AsyncIterator[bytes]:
    yield _head(200, "text/event-stream" if asked.get("stream") else "application/json", "Transfer-Encoding: chunked")
    choice = {"index": 0, "delta": {"role": "assistant", "content": "word "}, "finish_reason": None}
    token = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": asked["model"], "choices": [choice]}
    data = _event(token) if asked.get("stream") else _chunk(b" ")
    while True:
        yield data
        await asyncio.sleep(seconds)


def _message(asked: dict[str, Any], text: str, kind: str) -> tuple[dict[str, Any], str | None]:
    """Return the whole message, and why it ended."""
    reason = "content_filter" if kind.startswith("filtered") else None if kind == "no finish reason" else "stop"
    if kind in ("null content", "filtered"):
        return {"role": "assistant", "content": None}, reason
    if kind == "filtered half-way":
        return {"role": "assistant", "content": text[: len(text) // 2]}, reason
    candidates = re.findall(r"<<(\w+)>>", json.dumps(asked.get("messages")))  # shown in a random order
    verdict = {"best": candidates.index("a") + 1 if "a" in candidates else 1, "reason": text}
    if asked.get("response_format"):
        return {"role": "assistant", "content": json.dumps(verdict)}, reason
    forced = asked.get("tool_choice")
    if isinstance(forced, dict):
        call = {"name": forced["function"]["name"], "arguments": json.dumps(verdict)}
        calls = [{"id": "call_1", "type": "function", "function": call}]
        return {"role": "assistant", "content": None, "tool_calls": calls}, reason and "tool_calls"
    return {"role": "assistant", "content": text}, reason


async def _body(asked: dict[str, Any], text: str, kind: str) -> AsyncIterator[bytes | None]:
    message, reason = _message(asked, text, kind)
    choices = [] if kind == "empty choices" else [{"index": 0, "message": message, "finish_reason": reason}]
    completion = {"id": "c", "object": "chat.completion", "created": 0, "model": asked["model"], "choices": choices}
    if kind != "no usage":
        completion["usage"] = _USAGE
    data = json.dumps(_ERROR if kind == "error event" else completion).encode()
    half = len(data) // 2
    if kind == "gzip cut off":
        packed = gzip.compress(data)
        yield _whole(200, packed[: len(packed) // 2], "Content-Encoding: gzip")
    elif kind == "broken JSON":
        yield _whole(200, data[:half])
    elif kind == "wrong encoding":
        yield _whole(200, data.replace(b" heard ", b" \xff\xfe\xe4 "))
    elif kind in ("half a body", "half a stream", "reset after headers", "silence midway", "one byte a second"):
        head, _, _ = (answer := _whole(200, data)).partition(b"\r\n\r\n")
        sent = len(head) + 4 + (half if kind in ("half a body", "half a stream", "silence midway") else 0)
        yield answer[:sent]
        if kind == "one byte a second":
            for place in range(sent, len(answer)):
                await asyncio.sleep(1)
                yield answer[place : place + 1]
        elif kind == "silence midway":
            await asyncio.sleep(3600)
        else:
            await asyncio.sleep(0.05)  # so that a reset does not overtake the headers
            yield None
    else:
        yield _whole(200, data)


async def _stream(asked: dict[str, Any], text: str, kind: str, *, is_late: bool) -> AsyncIterator[bytes | None]:
    """Yield a stream's chunks; the fault strikes before its first token, or after its second."""
    frame = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": asked["model"]}

    def event(delta: dict[str, Any], reason: str | None = None) -> bytes:
        return _event(frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    size = 65536 if kind == "10 MB answer" else 12
    _, reason = _message({}, text, kind)
    tokens = [event({"content": text[at : at + size]}) for at in range(0, len(text), size)]
    first = event({"role": "assistant", "content": ""})
    end = event({}, reason)
    if kind != "no usage" and (asked.get("stream_options") or {}).get("include_usage"):
        end += _event(frame | {"choices": [], "usage": _USAGE})
    done, last = _event("[DONE]"), b"0\r\n\r\n"
    before = b"".join([first, *tokens[:2]]) if is_late else first
    headers = ["Transfer-Encoding: chunked"]
    if kind == "gzip cut off":
        packer = zlib.compressobj(wbits=31)
        sent = packer.compress(_unchunked(before)) + packer.flush(zlib.Z_SYNC_FLUSH)
        yield _head(200, "text/event-stream", *headers, "Content-Encoding: gzip")
        yield _chunk(sent) + last
        return
    yield _head(200, "text/event-stream", *headers)
    if kind == "reset after headers":
        if is_late:
            yield before
        await asyncio.sleep(0.05)
        yield None
    elif kind in ("half a body", "half a stream"):
        yield before
        await asyncio.sleep(0.05)
        yield _chunk(b'data: {"id": "c", "choi') + last if kind == "half a body" else None
    elif kind == "silence midway":
        yield before
        await asyncio.sleep(3600)
    elif kind == "one byte a second":
        yield before
        for byte in b"".join(map(_unchunked, [*tokens[2 if is_late else 0 :], end, done])):
            await asyncio.sleep(1)
            yield _chunk(bytes([byte]))
    elif kind == "broken JSON":
        yield before + _event('{"id": "c", "choi') + done + last
    elif kind == "wrong encoding":
        yield before + _chunk(b'data: {"id": "\xff\xfe\xe4"}\n\n') + done + last
    elif kind == "error event":
        yield before + _event(_ERROR) + done + last
    elif kind == "empty choices":
        yield _event(frame | {"choices": []}) + done + last
    elif kind in ("null content", "filtered"):
        yield event({"role": "assistant", "content": None}) + end + done + last
    elif kind == "filtered half-way":
        yield b"".join([first, *tokens[: len(tokens) // 2]]) + end + done + last
    elif kind == "duplicate events":
        yield b"".join(2 * one for one in [first, *tokens, end]) + done + last
    else:
        for one in [first, *tokens]:
            yield one
        yield (b"" if kind == "no finish reason" else end) + done + last


def _event(data: Any) -> bytes:
    return _chunk(f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode())


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _unchunked(chunks: bytes) -> bytes:
    """Return the data of HTTP chunks that hold no empty line of their own but at their end."""
    return b"".join(re.findall(rb"[0-9a-f]+\r\n(data: .*\n\n)\r\n", chunks))


def _head(status: int, kind: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} -", f"Content-Type: {kind}", *headers, "", ""]).encode()


def _whole(status: int, data: bytes, *headers: str, kind: str = "application/json") -> bytes:
    return _head(status, kind, f"Content-Length: {len(data)}", *headers) + data


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", backlog=4096)
    print(server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
