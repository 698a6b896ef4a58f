"""A scripted endpoint on loopback that speaks Anthropic's Messages API, whole answers only, for tests.

Example:
    with AnthropicServer(lambda body: [{"type": "text", "text": "Hello."}]) as server:
        ChatAnthropic(model="claude-sonnet-4-6", base_url=server.url, api_key="k").invoke("Hi")
        assert server.requests[0]["model"] == "claude-sonnet-4-6"
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

USAGE = {"input_tokens": 13, "output_tokens": 5}


class AnthropicServer:
    """Serve `/v1/messages` from a thread of its own, and record what was asked."""

    def __init__(self, answer: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
        """Script the server.

        Args:
            answer: From a request's JSON body to the content blocks of the reply.
        """
        self.answer = answer
        self.requests: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"server_": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_: AnthropicServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server_.requests.append(body)
        content = self.server_.answer(body)
        reason = "tool_use" if any(block["type"] == "tool_use" for block in content) else "end_turn"
        reply = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content}
        data = json.dumps(reply | {"stop_reason": reason, "stop_sequence": None, "usage": USAGE}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
