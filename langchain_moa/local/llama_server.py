"""llama.cpp's OpenAI-compatible server in this process: one per weights file, on loopback, stopped at exit."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import secrets
import socket
import stat
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_moa.exceptions import LocalModelError
from langchain_moa.local.weights import DEFAULT_FILE, GET_WEIGHTS, is_genuine

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI

# Three proposers and an aggregator at once. A slot holds an aggregator's prompt in a chat of a few turns; all slots
# together take 377 MB. llama.cpp can let slots share that memory, but then fails them all when the sum overflows.
_SLOTS = 4
TOKENS_PER_SLOT = 4096


@dataclass(frozen=True, kw_only=True)
class _Server:
    native: Any
    """The `xllamacpp.Server`; it runs for as long as this is referenced."""
    port: int
    key: str = field(repr=False)
    client: ChatOpenAI


# By resolved weights file.
_servers: dict[Path, _Server] = {}
_starting = threading.Lock()


def client_of(weights: Path) -> ChatOpenAI:
    """Return a client of the server for this weights file, starting the server if necessary."""
    file = weights.resolve()
    with _starting:
        if file not in _servers:
            _servers[file] = _start(file)
        return _servers[file].client


def _start(file: Path) -> _Server:
    import openai
    import xllamacpp  # type: ignore[import-untyped]
    from langchain_openai import ChatOpenAI

    # llama.cpp notices a broken header or a missing tail; damage in between would only show as gibberish.
    if file.name == DEFAULT_FILE and not is_genuine(file):
        raise LocalModelError(f"The weights file {str(file)!r} is damaged; remove it, then {GET_WEIGHTS}")
    key = secrets.token_urlsafe()
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # any free one
    params.api_keys = [key]
    params.cors_origins = "null"  # the default lets every web page in
    params.ui = False
    params.verbosity = 0
    params.n_parallel = _SLOTS
    params.n_ctx = _SLOTS * TOKENS_PER_SLOT
    # With all cores taken, llama.cpp's spinning threads slow each other down to a tenth under any other load.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) - 1)
    params.sse_ping_interval = -1  # pings would keep a silent answer from timing out
    params.cache_ram_mib = 0  # the default keeps up to 8 GB of old prompts
    params.fit_params = False  # measures free memory by loading twice; the GIL is held for all of the start
    try:
        native = xllamacpp.Server(params)
    except RuntimeError as error:
        message = f"llama.cpp can't load {str(file)!r}, which is damaged or no GGUF model; {GET_WEIGHTS}"
        raise LocalModelError(message) from error
    client = ChatOpenAI(
        model=file.stem,
        base_url=f"{native.listening_address}/v1",
        api_key=lambda: key,
        stream_usage=True,
        use_responses_api=False,
        # Nothing to retry on loopback, and a retry after a timeout would make it last three times as long.
        max_retries=0,
        # A kept connection holds one of the server's few threads, gets dropped when idle and belongs to one event loop.
        default_headers={"Connection": "close"},
        # No proxy between us and loopback, whatever the environment says.
        openai_proxy=None,
        http_client=openai.DefaultHttpxClient(trust_env=False),
        http_async_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    )
    return _Server(native=native, port=int(native.listening_address.rpartition(":")[2]), key=key, client=client)


@atexit.register
def _stop_servers() -> None:
    """Stop all servers, running answers first: xllamacpp 2026.10 hangs or crashes when it ends in the middle of one."""
    for server in _servers.values():
        _hang_up(server.port)
        deadline = time.monotonic() + 5
        while _is_busy(server) and time.monotonic() < deadline:
            _hang_up(server.port)
            time.sleep(0.1)
    _servers.clear()


def _is_busy(server: _Server) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=1)) as connection:
        try:
            connection.request("GET", "/slots", headers={"Authorization": f"Bearer {server.key}"})
            return any(slot["is_processing"] for slot in json.load(connection.getresponse()))
        except OSError:
            return True  # more requests than the server has threads


def _hang_up(port: int) -> None:
    """Shut down this process's connections to the server; closing a client would not wake a waiting thread."""
    for name in os.listdir("/dev/fd") if os.path.isdir("/dev/fd") else []:
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                if connection.getpeername() == ("127.0.0.1", port):
                    connection.shutdown(socket.SHUT_RDWR)
