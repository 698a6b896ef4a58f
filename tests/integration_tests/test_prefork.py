"""A server that forks its workers after it has loaded, and used, a mixture: gunicorn with `--preload`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.openai_server import OpenAIServer

pytest.importorskip("gunicorn")

APP = """
import asyncio
from urllib.parse import parse_qs

from langchain_moa import ChatMoA

model = ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/writer")
assert model.invoke("the parent").text == "the parent!"  # leaves connections, an event loop and threads behind


def app(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    if query["way"] == ["async"]:
        text = asyncio.run(model.ainvoke(query["q"][0])).text
    else:
        text = model.invoke(query["q"][0]).text
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""


def echo(body: dict) -> str:
    return body["messages"][-1]["content"] + "!"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "preforked.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with OpenAIServer(echo) as upstream:
        environment = {**os.environ, "TOGETHER_API_KEY": "any", "TOGETHER_API_BASE": upstream.url}
        command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--threads", "4"]
        command += ["--bind", f"127.0.0.1:{port}", "preforked:app"]
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr
            # Each worker says so when it takes requests.
            booted = 0
            while booted < 2:
                line = server.stderr.readline()
                assert line, "gunicorn ended"
                booted += "Booting worker" in line
            yield f"http://127.0.0.1:{port}/"
            server.terminate()
            server.stderr.read()


@pytest.mark.parametrize("way", ["sync", "async"])
def test_workers_that_were_forked_after_a_call_answer_each_caller_with_its_own_answer(address, way):
    questions = [f"question {number}" for number in range(60)]

    def ask(question: str) -> str:
        return httpx.get(address, params={"q": question, "way": way}, timeout=60).text

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(ask, questions)) == [f"{question}!" for question in questions]
