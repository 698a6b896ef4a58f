"""A LangSmith on loopback that takes what the real client posts, and serves datasets, for tests.

Example:
    with LangSmithServer() as server:
        client = Client(api_url=server.url, api_key="k")
        ...
        client.flush()
        assert [root["name"] for root in server.roots()] == ["ChatMoA"]
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import zstandard

INFO = {
    "version": "0.12.0",
    "instance_flags": {"zstd_compression_enabled": True},
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "scale_up_qsize_trigger": 1000,
        "scale_up_nthreads_limit": 1,
        "scale_down_nempty_trigger": 4,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
    },
}

Run = dict[str, Any]
"""What LangSmith knows of a run: what was posted at its start and at its end, merged."""


class LangSmithServer:
    """Serve `/info`, `/runs/multipart`, datasets and experiments from a thread of its own, and keep what is posted."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.begun: list[str] = []
        """The ids of the runs, once for each time that one was posted."""
        self.datasets: dict[str, list[dict[str, Any]]] = {}
        """The examples of each dataset, by its name; `add_dataset` adds one."""
        self.experiments: list[dict[str, Any]] = []
        """What was posted to `/sessions`."""
        self.feedback: list[dict[str, Any]] = []
        self.posted: list[bytes] = []
        """The bodies, decompressed."""
        self.encodings: set[str | None] = set()
        """How the bodies were compressed."""
        self.keys: set[str | None] = set()
        """Who posted them."""
        self.errors: list[Exception] = []
        """What was posted and not understood."""

    def __enter__(self) -> Self:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"langsmith": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def add_dataset(self, name: str, examples: list[tuple[dict[str, Any], dict[str, Any] | None]]) -> list[str]:
        """Add a dataset of (inputs, outputs), and return its examples' ids."""
        ids = [str(uuid.uuid4()) for _ in examples]
        self.datasets[name] = [
            {"id": one, "dataset_id": self.id_of(name), "inputs": inputs, "outputs": outputs}
            for one, (inputs, outputs) in zip(ids, examples, strict=True)
        ]
        return ids

    @staticmethod
    def id_of(dataset: str) -> str:
        """Return a dataset's id."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, dataset))

    def find(self, path: str) -> Any:
        """Return what is at a path: the server's description, a dataset, a page of its examples."""
        url = urlsplit(path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/datasets":
            names = [name for name in self.datasets if name == asked["name"]]
            return [{"id": self.id_of(name), "name": name, "created_at": _now()} for name in names]
        if url.path == "/examples":
            (examples,) = [rows for name, rows in self.datasets.items() if self.id_of(name) == asked["dataset"]]
            start = int(asked["offset"])
            return examples[start : start + int(asked["limit"])]
        return INFO if url.path == "/info" else {}

    def roots(self) -> list[Run]:
        """Return the runs without a parent."""
        return [run for run in self.runs.values() if not run.get("parent_run_id")]

    def tree(self) -> list[tuple[int, str, str]]:
        """Return (depth, type, name) of all runs, in the order of the tree; siblings by name, the aggregator last.

        The tree is that of `parent_run_id`; `dotted_order`, by which LangSmith draws it, must say the same.
        """
        return [line for root in self.roots() for line in self._lines(root, 0)]

    def _lines(self, run: Run, depth: int) -> list[tuple[int, str, str]]:
        children = [child for child in self.runs.values() if child.get("parent_run_id") == run["id"]]
        for child in children:
            above, _, _ = child["dotted_order"].rpartition(".")
            assert (above, child["trace_id"]) == (run["dotted_order"], run["trace_id"])
        children.sort(key=lambda child: (child["name"] == "aggregator", child["name"]))
        lines = [line for child in children for line in self._lines(child, depth + 1)]
        return [(depth, run["run_type"], run["name"]), *lines]

    def take(self, body: bytes, encoding: str | None, content_type: str) -> None:
        """Keep what one request brought."""
        if encoding == "zstd":
            body = zstandard.ZstdDecompressor().stream_reader(body).read()
        self.encodings.add(encoding)
        self.posted.append(body)
        boundary = re.search("boundary=([^;]+)", content_type)[1]
        for part in body.split(f"--{boundary}".encode())[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            operation, run_id, *field = re.search(rb'name="([^"]+)"', head)[1].decode().split(".")
            if operation == "feedback":
                self.feedback.append(json.loads(content))
                continue
            assert operation in ("post", "patch"), operation
            if (operation, field) == ("post", []):
                self.begun.append(run_id)
            value = json.loads(content)
            known = {key: new for key, new in ({field[0]: value} if field else value).items() if new is not None}
            self.runs.setdefault(run_id, {}).update(known)


class _Handler(BaseHTTPRequestHandler):
    langsmith: LangSmithServer

    def do_GET(self) -> None:
        self._reply(200, self.langsmith.find(self.path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.langsmith.keys.add(self.headers["X-Api-Key"])
        if self.path == "/sessions":
            self.langsmith.experiments.append(json.loads(body))
            self._reply(200, {"tenant_id": str(uuid.uuid4()), **self.langsmith.experiments[-1]})
            return
        try:
            assert self.path == "/runs/multipart", self.path
            self.langsmith.take(body, self.headers["Content-Encoding"], self.headers["Content-Type"])
        except Exception as error:
            self.langsmith.errors.append(error)
        self._reply(202, {})

    def _reply(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _now() -> str:
    return datetime.now(UTC).isoformat()
