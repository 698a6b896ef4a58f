"""A scripted model that answers LangChain's standard tests as a model would, for `OpenAIServer`."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tests.openai_server import Reply


@pytest.mark.filterwarnings("ignore:OpenAI may require a filename:UserWarning")  # the suite's PDF has none
class ScriptedModelTests(ChatModelIntegrationTests):
    """LangChain's tests, with all that the scripted model can do, for a mixture behind whatever class is tested."""

    @pytest.fixture(autouse=True)
    def _pictures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # The suite downloads its pictures; what they show does not matter to a scripted model.
        monkeypatch.setattr(httpx, "get", lambda url, **_: httpx.Response(200, content=b"a picture"))
        monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "langchain-moa")

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        """A call may name another line-up."""
        return "cookbook"


def _sample(schema: dict[str, Any], root: dict[str, Any], text: str, name: str = "") -> Any:
    """Return a value of a JSON schema, taken from the question where it says one."""
    if "$ref" in schema:
        return _sample(root["$defs"][schema["$ref"].rpartition("/")[2]], root, text)
    if "anyOf" in schema:
        return _sample(schema["anyOf"][0], root, text, name)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object" or "properties" in schema:
        return {key: _sample(value, root, text, key) for key, value in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [_sample(schema.get("items", {}), root, text)]
    said = re.search(r"named '([^']+)'", text)
    if name == "customer_name" and said:
        return said[1]
    return {"integer": 3, "number": 3.0, "boolean": True, "null": None}.get(schema.get("type", ""), "a value")


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content)
    return content or ""


def answer(body: dict[str, Any]) -> Reply | str:
    """Call a tool when the user asks and there is one, fill in a schema, else say something."""
    last = body["messages"][-1]
    text = _text(last.get("content")).partition("\n\nYou have been provided")[0]  # of a chat's second turn
    tools, choice = body.get("tools") or [], body.get("tool_choice", "auto")
    # Advice at the tail of an agent's step is no new question.
    results = any(message["role"] == "tool" for message in body["messages"][-2:])
    if tools and choice != "none" and not results:
        wanted = choice["function"]["name"] if isinstance(choice, dict) else tools[0]["function"]["name"]
        function = next(tool["function"] for tool in tools if tool["function"]["name"] == wanted)
        parameters = function.get("parameters", {})
        arguments = json.dumps(_sample(parameters, parameters, text), ensure_ascii=False)
        call = {"id": "call_1", "type": "function", "function": {"name": wanted, "arguments": arguments}}
        return Reply(text=None, tool_calls=(call,))
    wanted_format = body.get("response_format") or {}
    if wanted_format.get("type") == "json_schema":
        schema = wanted_format["json_schema"]["schema"]
        return json.dumps(_sample(schema, schema, text))
    if wanted_format.get("type") == "json_object":
        return json.dumps({"setup": "Why?", "punchline": "Because."})
    return f"You said: {text[:60]}"
