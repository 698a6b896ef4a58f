import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import httpx
import pytest
from langchain_core.exceptions import ModelTimeoutError
from pydantic import BaseModel

from langchain_moa.exceptions import LocalModelError
from langchain_moa.local import ChatLocal, find_weights, llama_server
from tests.local_model import needs_local_model

pytestmark = needs_local_model


async def _astream(model, prompt):
    return [chunk async for chunk in model.astream(prompt)]


def added(chunks):
    assert len(chunks) > 2
    return sum(chunks[1:], chunks[0])


WAYS = {
    "invoke": lambda model, prompt: model.invoke(prompt),
    "ainvoke": lambda model, prompt: asyncio.run(model.ainvoke(prompt)),
    "stream": lambda model, prompt: added(list(model.stream(prompt))),
    "astream": lambda model, prompt: added(asyncio.run(_astream(model, prompt))),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_real_answer_comes_with_its_usage_and_name_whichever_way_it_is_asked(way):
    model = ChatLocal(model="small one", temperature=0, max_tokens=16)
    answer = WAYS[way](model, "What is the capital of France? Answer in one sentence.")
    assert "Paris" in answer.text
    assert answer.usage_metadata["input_tokens"] > 10
    assert 0 < answer.usage_metadata["output_tokens"] <= 16
    assert answer.response_metadata["model_name"] == "small one"


CITY = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"enum": ["big", "small"]}},
    "required": ["name", "size"],
}


class City(BaseModel):
    """A city."""

    name: str
    size: Literal["big", "small"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("schema", [CITY, City], ids=["a JSON schema", "a pydantic class"])
def test_it_answers_in_a_schema(schema, way):
    model = ChatLocal(temperature=0, max_tokens=200).with_structured_output(schema)
    city = WAYS[way](model, "What is the capital of France?")
    assert City.model_validate(city, from_attributes=True).size in ("big", "small")


def test_an_answer_that_is_cut_off_has_its_usage_and_says_what_does_not_fit():
    model = ChatLocal(temperature=0, max_tokens=4).with_structured_output(City, include_raw=True)
    answer = model.invoke("What is the capital of France?")
    assert answer["parsed"] is None
    assert answer["parsing_error"] is not None
    assert answer["raw"].usage_metadata["output_tokens"] == 4


def test_a_method_that_needs_tools_is_refused():
    with pytest.raises(ValueError, match="method 'function_calling' needs tool calls"):
        ChatLocal().with_structured_output(City, method="function_calling")


def test_many_models_in_many_threads_share_one_server():
    llama_server._servers.clear()
    models = [ChatLocal(model=f"model {n}", temperature=n / 10, max_tokens=8) for n in range(6)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda model: model.invoke("Name a color."), models * 2))
    assert all(answer.text for answer in answers)
    assert [answer.response_metadata["model_name"] for answer in answers] == [model.model for model in models * 2]
    assert len(llama_server._servers) == 1


def test_a_call_sets_its_own_limits():
    answer = ChatLocal(max_tokens=16).bind(stop=["three"]).invoke("Count: one, two, three, four", max_tokens=2)
    assert answer.usage_metadata["output_tokens"] <= 2


def test_the_server_answers_nobody_else():
    ChatLocal(max_tokens=1).invoke("hi")
    (running,) = llama_server._servers.values()
    address = f"http://127.0.0.1:{running.port}/v1/models"
    assert httpx.get(address, trust_env=False).status_code == 401
    origin = {"Origin": "https://example.com", "Authorization": f"Bearer {running.key}"}
    response = httpx.get(address, headers=origin, trust_env=False)
    assert response.headers.get("access-control-allow-origin") not in ("*", "https://example.com")


@pytest.mark.parametrize("damage", ["empty", "text", "cut in the header", "cut in the weights", "wrong magic"])
def test_a_damaged_file_is_an_error_that_names_it_and_the_next_call_works(tmp_path, damage):
    content = find_weights().read_bytes()
    file = tmp_path / "damaged.gguf"
    file.write_bytes(
        {
            "empty": b"",
            "text": b"This is no model.",
            "cut in the header": content[:3000],
            "cut in the weights": content[: len(content) // 2],
            "wrong magic": b"XXXX" + content[4:],
        }[damage]
    )
    with pytest.raises(LocalModelError, match=r"damaged\.gguf'.*`moa download`"):
        ChatLocal(path=str(file)).invoke("hi")
    assert ChatLocal(max_tokens=1).invoke("hi").usage_metadata["output_tokens"] == 1


def tokens_of_running_answers(running):
    """Return how many tokens llama.cpp has written so far of each answer that it is at work on."""
    address, headers = f"http://127.0.0.1:{running.port}/slots", {"Authorization": f"Bearer {running.key}"}
    slots = httpx.get(address, headers=headers, trust_env=False, timeout=60).json()
    return [slot["next_token"][0]["n_decoded"] for slot in slots if slot["is_processing"] and slot.get("next_token")]


async def test_a_canceled_call_stops_the_server_working_on_it():
    model = ChatLocal(max_tokens=2000)
    await model.ainvoke("hi", max_tokens=1)
    (running,) = llama_server._servers.values()
    call = asyncio.create_task(model.ainvoke("Tell me a long story."))
    while not (tokens := await asyncio.to_thread(tokens_of_running_answers, running)):
        await asyncio.sleep(0.01)
    call.cancel()
    while left := await asyncio.to_thread(tokens_of_running_answers, running):
        assert left[0] < tokens[0] + 200  # of 2000: a count, for how long a token takes depends on who else is busy
    with pytest.raises(asyncio.CancelledError):
        await call


def test_a_call_ends_at_its_timeout():
    ChatLocal(max_tokens=1).invoke("hi")
    with pytest.raises(ModelTimeoutError):
        ChatLocal(timeout=0.01).invoke("Tell me a long story about " + ", ".join(map(str, range(100))))


BUSY = """
import threading, time
from langchain_moa.local import ChatLocal, llama_server
from tests.integration_tests.test_local import tokens_of_running_answers
model = ChatLocal(max_tokens=2000)
stream = model.stream("Tell me a long story.")
next(stream)
threading.excepthook = lambda args: None
threading.Thread(target=model.invoke, args=["Tell me a long story."], daemon=True).start()
(running,) = llama_server._servers.values()
while len(tokens_of_running_answers(running)) < 2:
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    "code",
    ["from langchain_moa.local import ChatLocal; print(ChatLocal(max_tokens=4).invoke('hi').text)", BUSY],
    ids=["idle", "in the middle of answers"],
)
def test_a_program_that_used_it_ends_cleanly(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
