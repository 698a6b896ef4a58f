"""Fixtures of the tests with the real packages that users watch their models with."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage

from langchain_moa import ChatMoA
from tests.conftest import Ask
from tests.openai_server import OpenAIServer, Reply

# LiteLLM, which MLflow imports where it is installed, fetches prices from the network otherwise.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

USAGE = {"prompt_tokens": 11, "completion_tokens": 8, "total_tokens": 19}
GUIDES = Path(__file__).parents[3] / "docs/pages/how-to/observability"

Use = Callable[..., None]
"""Ask a mixture once, in one of the ways and places: `use(model, config)`."""


def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


def answer(body: dict[str, Any]) -> Reply:
    """Call the tool if there is one that was not called yet, else say something."""
    called = any(message["role"] == "tool" for message in body["messages"])
    if body.get("tools") and not called:
        function = {"name": "weather", "arguments": '{"city": "Rome"}'}
        return Reply(text=None, tool_calls=({"id": "call_1", "type": "function", "function": function},), usage=USAGE)
    return Reply(text=f"words of {body['model']}", usage=USAGE)


@pytest.fixture
def providers(together: Callable[..., OpenAIServer]) -> OpenAIServer:
    """Stand in for all providers: 19 tokens a call."""
    return together(answer)


@pytest.fixture
def mixture(providers: OpenAIServer) -> Callable[..., ChatMoA]:
    """Build a mixture of four models."""

    def build(**options: Any) -> ChatMoA:
        return ChatMoA(proposers=["lab/a", "lab/b", "lab/c"], aggregator="lab/writer", **options)

    return build


@pytest.fixture(params=["alone", "in an agent"])
def use(request: pytest.FixtureRequest, ask: Ask) -> Use:
    """Ask in each of the four ways, alone and as the model of an agent that calls a tool on its way."""

    def alone(model: ChatMoA, config: Any = None) -> None:
        ask(model, "How is the weather?", config)

    def in_an_agent(model: ChatMoA, config: Any = None) -> None:
        question = {"messages": [HumanMessage("How is the weather?")]}
        streaming = {"stream_mode": "messages"} if "stream" in ask.__name__ else {}
        ask(create_agent(model, [weather]), question, config, **streaming)

    return alone if request.param == "alone" else in_an_agent


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have nobody log a warning or an error."""
    for name in ("mlflow", "langfuse"):  # whose logs do not reach the root logger by themselves
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING] == []


def installed(name: str) -> ModuleType:
    """Import an observability package, or skip the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            pytest.skip(f"{error}: it is in the dependency group `observability` or `mlflow`", allow_module_level=True)


def run_snippet(heading: str) -> None:
    """Run what the guides in docs/pages/how-to/observability show under a heading."""
    sections = re.split(r"^#+ ", "\n".join(map(Path.read_text, sorted(GUIDES.glob("*.md")))), flags=re.MULTILINE)
    (section,) = (section for section in sections if section.startswith(f"{heading}\n"))
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    exec(compile(code, heading, "exec"), {"__name__": "__main__"})
