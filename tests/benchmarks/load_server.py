"""A fast OpenAI-compatible server in a process of its own, whose model names say how it behaves.

Example:
    with LoadServer() as url:
        ChatTogether(model="m?ttft=30&n=50", base_url=url, api_key="k").invoke("Hi")

A model's name is `name?key=value&…`. Times are milliseconds:

* `ttft`: to the first token, from the end of the request (0). With `p99` it is log-normal: `ttft` is its median.
* `itl`: between two tokens (0). An answer that is not streamed leaves when its last token would.
* `n`: tokens of the answer (16), of four bytes each.
* `echo`: answer with what was asked instead: `last`, the last message, or `all` of them.
* `fault`: `hang`, `drop`, `stall`, `disconnect`, `malformed`, `empty`, `null`, or a status such as `500`; of several,
  joined by commas, one is drawn. `p`: the chance that it strikes (1).
* `slow`: the chance that the first token takes `slow_ttft` instead (0).

Chance depends on the request's body alone: a request that is sent again meets the same fate, and so does a whole run.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import subprocess
import sys
import zlib
from functools import cache
from typing import Any
from urllib.parse import parse_qs

_JSON, _SSE = "application/json", "text/event-stream"
_LAST = {"finish_reason": "stop"}
_USAGE = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}


class LoadServer:
    """The server, started and stopped as a context manager."""

    def __enter__(self) -> str:
        command = [sys.executable, "-u", __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        return f"http://127.0.0.1:{self._process.stdout.readline().strip()}/v1"

    def __exit__(self, *_: object) -> None:
        # It ends with its standard input, so that no server outlives a client that was killed.
        self._process.communicate()


@cache
def _options(model: str) -> dict[str, str]:
    return {key: values[-1] for key, values in parse_qs(model.partition("?")[2]).items()}


@cache
def _event(model: str, text: str | None, last: bool = False) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, **(_LAST if last else {})}
    return _chunk("data: " + json.dumps(_body(model, choice, "chat.completion.chunk")) + "\n\n")


def _chunk(text: str) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data := text.encode()), data)


def _body(model: str, choice: dict[str, Any] | None, kind: str = "chat.completion", **more: Any) -> dict[str, Any]:
    return {"id": "c", "object": kind, "created": 0, "model": model, "choices": [choice] if choice else [], **more}


def _head(status: int, kind: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} -", f"content-type: {kind}", *headers, "", ""]).encode()


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._out = transport
        self._in = bytearray()

    def data_received(self, data: bytes) -> None:
        self._in += data
        while (start := self._in.find(b"\r\n\r\n") + 4) > 3:
            length = re.search(rb"content-length: *(\d+)", self._in[:start], re.IGNORECASE)
            end = start + int(length[1] if length else 0)
            if len(self._in) < end:
                return
            body = bytes(self._in[start:end])
            del self._in[:end]
            self._answer(json.loads(body), random.Random(zlib.crc32(body)))

    def _answer(self, asked: dict[str, Any], chance: random.Random) -> None:
        model, options = asked["model"], _options(asked["model"])
        delay = float(options.get("ttft", 0))
        if "p99" in options and delay:
            delay *= math.exp(chance.gauss() * math.log(float(options["p99"]) / delay) / 2.3263)
        if chance.random() < float(options.get("slow", 0)):
            delay = float(options["slow_ttft"])
        struck = chance.random() < float(options.get("p", 1))
        fault = chance.choice(options["fault"].split(",")) if struck and "fault" in options else ""
        said = [message.get("content") or "" for message in asked["messages"]]
        echo = {"last": said[-1:], "all": said}.get(options.get("echo", ""))
        tokens = ["abc "] * int(options.get("n", 16)) if echo is None else [" ".join(echo)]
        step, now = float(options.get("itl", 0)) / 1000, asyncio.get_running_loop().time()
        if asked.get("stream") and not fault.isdigit():
            frames = [_event(model, token) for token in tokens[:-1]] if fault not in ("empty", "null") else []
            self._stream(frames + self._ending(asked, tokens[-1], fault), now + delay / 1000, step, fault)
        elif fault != "hang":
            due = now + delay / 1000 + step * (len(tokens) - 1)
            asyncio.get_running_loop().call_at(due, self._whole, model, "".join(tokens), fault)

    def _ending(self, asked: dict[str, Any], token: str, fault: str) -> list[bytes]:
        model, kind = asked["model"], "chat.completion.chunk"
        if fault in ("empty", "null", "malformed"):
            broken = {"empty": _body(model, None, kind), "null": _body(model, {"index": 0, "delta": {}}, kind)}
            return [_chunk(f"data: {json.dumps(broken[fault]) if fault in broken else '{'}\n\n"), b"0\r\n\r\n"]
        usage = f"data: {json.dumps(_body(model, None, kind, usage=_USAGE))}\n\n"
        wants_usage = (asked.get("stream_options") or {}).get("include_usage")
        end = _chunk((usage if wants_usage else "") + "data: [DONE]\n\n") + b"0\r\n\r\n"
        return [_event(model, token) + _event(model, None, last=True) + end]

    def _stream(self, frames: list[bytes], due: float, step: float, fault: str, sent: int = 0) -> None:
        """Send the tokens that are due, on a schedule that does not slip, and wait for the next."""
        loop = asyncio.get_running_loop()
        count = min(len(frames), math.floor((loop.time() - due) / step) + 1 if step else len(frames))
        if loop.time() >= due and count > sent and fault not in ("hang", "drop"):
            head = b"" if sent else _head(200, _SSE, "transfer-encoding: chunked")
            if fault in ("stall", "disconnect"):
                self._out.write(head + _event("m", "abc "))
            else:
                self._out.write(head + b"".join(frames[sent:count]))
            sent = count
        if loop.time() >= due and fault in ("drop", "disconnect"):
            self._out.close()
        elif not (self._out.is_closing() or sent == len(frames) or (sent and fault) or fault == "hang"):
            loop.call_at(due + step * sent, self._stream, frames, due, step, fault, sent)

    def _whole(self, model: str, text: str, fault: str) -> None:
        """Send an answer that is not streamed."""
        message = {"role": "assistant", "content": None if fault == "null" else text}
        choice = None if fault == "empty" else {"index": 0, "message": message, **_LAST}
        answer = _body(model, choice, usage=_USAGE) if not fault.isdigit() else {"error": {"message": "a fault"}}
        data = json.dumps(answer).encode()
        head = _head(int(fault) if fault.isdigit() else 200, _JSON, f"content-length: {len(data)}")
        if fault == "malformed":
            data = b"{" * len(data)
        if fault != "drop":
            self._out.write(head + (data[: len(data) // 2] if fault in ("stall", "disconnect") else data))
        if fault in ("drop", "disconnect"):
            self._out.close()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", backlog=4096)
    print(server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
