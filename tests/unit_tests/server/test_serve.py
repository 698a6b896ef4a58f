"""`moa serve`: what it refuses before it serves. How it serves is in the integration tests."""

import ast
import json
import logging
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import langchain_moa
from langchain_moa.cli.app import app
from langchain_moa.cli.commands import serve
from langchain_moa.server.logs import JsonFormatter

PACKAGE = Path(langchain_moa.__file__).parent


def moa(*args, **environment):
    return CliRunner().invoke(app, args, env=environment)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
@pytest.mark.parametrize("key", [None, ""])
def test_elsewhere_than_on_loopback_it_wants_a_key(host, key):
    result = moa("serve", "--host", host, MOA_API_KEY=key)
    assert result.exit_code == 2
    assert "this address requires an API key: set MOA_API_KEY" in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_loopback_it_wants_none(host, monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda _: None)
    result = moa("serve", "--host", host)
    assert result.stderr == (
        'moa: moa serve needs starlette, uvicorn, prometheus_client: pip install "langchain-moa[server]"\n'
    )


def test_a_mixture_that_can_not_be_built_is_an_error_at_once():
    assert moa("serve", "--model", "nope").stderr.startswith("moa: Line-up 'nope' is unknown")
    assert "set TOGETHER_API_KEY" in moa("serve", "--model", "cookbook").stderr


def test_the_log_tells_an_errors_type_and_place_but_not_its_text():
    asked = "a secret question"
    try:
        raise ValueError(asked)
    except ValueError:
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "It failed\n", (), sys.exc_info())
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["event"], line["error"]) == ("error", "It failed", "ValueError")
    assert "test_serve.py" in line["traceback"]
    assert asked not in str(line)


def test_nothing_but_the_command_line_imports_the_server():
    outside = [path for path in PACKAGE.rglob("*.py") if not {"server", "cli"} & {*path.relative_to(PACKAGE).parts}]
    imported = [
        node.module or ""
        for path in outside
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    ]
    assert not any(name.startswith("langchain_moa.server") for name in imported)
