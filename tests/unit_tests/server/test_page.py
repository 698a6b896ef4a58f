"""The page's files and what it asks of the server; `tests/integration_tests/test_page.py` drives it in a browser."""

import hashlib
import json
import re
import threading
from pathlib import Path

import pytest

from langchain_moa import Aggregator, ChatMoA
from langchain_moa.server import page
from langchain_moa.server.app import create_app
from langchain_moa.server.served import Served
from tests.fakes import ScriptedChatModel
from tests.openai_server import Reply
from tests.unit_tests.server.conftest import HELLO, running

HERE = Path(page.__file__).parent
OWN = sorted(path for path in (HERE / "assets").iterdir() if path.suffix in (".html", ".js", ".css"))
VENDORED = re.findall(r"^\| `(\S+)` .* ([0-9a-f]{64}) \|$", (HERE / "vendor/README.md").read_text(), re.MULTILINE)
USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def events_of(response):
    assert response.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line]


def two_layers():
    good = ScriptedChatModel(reply="It is 42.", usage=USAGE, model_name="good")
    bad = ScriptedChatModel(error=TimeoutError("too slow"), model_name="bad")
    last = ScriptedChatModel(reply="42, then.", model_name="last")
    writer = ScriptedChatModel(reply="The answer is 42.", usage=USAGE, model_name="writer", finish_reason="length")
    return ChatMoA(layers=[[good, bad], [last]], aggregator=writer)


def test_the_page_and_its_files_need_no_key_and_come_with_a_strict_policy(serve):
    client = serve(api_key="secret")
    for path in ("/", "/page/page.js", "/page/page.css", "/page/vendor/purify.es.mjs"):
        response = client.get(path)
        assert response.status_code == 200
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
    for asked in (client.get("/inside"), client.post("/inside", json=HELLO)):
        assert asked.status_code == 401
    assert client.post("/inside", json=HELLO, headers={"Authorization": "Bearer secret"}).status_code == 200


def test_scripts_are_sent_as_scripts_whatever_the_system_calls_them(serve, monkeypatch):
    monkeypatch.setattr("starlette.responses.guess_type", lambda _: ("text/plain", None))
    client = serve()
    for path in ("/page/page.js", "/page/vendor/purify.es.mjs"):
        assert client.get(path).headers["content-type"] == "text/javascript; charset=utf-8"


def test_a_file_that_has_not_changed_is_not_sent_again(serve):
    client = serve()
    etag = client.get("/page/page.js").headers["etag"]
    again = client.get("/page/page.js", headers={"If-None-Match": etag})
    assert again.status_code == 304
    assert again.content == b""


def test_only_the_pages_own_files_are_served(serve):
    client = serve()
    for path in ("/page/../inside.py", "/page/%2e%2e/inside.py", "/page/inside.py", "/page/vendor/..%2f..%2fapp.py"):
        assert client.get(path).status_code == 404


def test_what_the_page_loads_is_there_and_nothing_is_from_elsewhere(serve):
    client = serve()
    for path in OWN:
        text = path.read_text()
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//|@import|url\(", text)
        for name in re.findall(r"(?:src|href)=\"(page/[^\"]+)\"", text):
            assert client.get(name).status_code == 200
        for name in re.findall(r"from \"\./([^\"]+)\"", text):
            assert client.get(f"/page/{name}").status_code == 200


def test_the_page_has_no_script_and_no_style_in_its_html():
    html = (HERE / "assets/index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


@pytest.mark.parametrize(("name", "checksum"), VENDORED, ids=[name for name, _ in VENDORED])
def test_other_projects_files_are_as_they_were_published_with_their_licences(name, checksum):
    assert hashlib.sha256((HERE / "vendor" / name).read_bytes()).hexdigest() == checksum
    package = {"marked.esm.js": "marked", "purify.es.mjs": "dompurify"}[name]
    assert (HERE / f"vendor/LICENSE-{package}").read_text()


def test_who_takes_part_can_be_seen_before_asking(serve):
    client = serve(two_layers())
    assert client.get("/inside").json() == {"layers": [["good", "bad"], ["last"]]}
    assert client.get("/inside", params={"model": "moa-1"}).json() == {"layers": [["good", "bad"], ["last"]]}


def test_an_answer_is_told_with_what_happens_inside_and_every_proposal(serve):
    structure, *events = events_of(serve(two_layers()).post("/inside", json=HELLO))
    assert structure == {"event": "structure", "layers": [["good", "bad"], ["last"]]}
    told = [event["event"] for event in events]
    assert told[:2] == ["proposer_start", "proposer_start"]
    assert told[4:] == [
        "layer_end", "proposer_start", "proposer_end", "layer_end", "aggregator_start", "prompt", *["token"] * 4, "end",
    ]  # fmt: skip
    first_layer = {event["proposer"]: event for event in events[2:4]}
    assert first_layer["good"].items() >= {"status": "ok", "text": "It is 42.", "usage": USAGE, "total": 2}.items()
    assert first_layer["bad"].items() >= {"status": "timeout", "error": "TimeoutError"}.items()
    assert all(event["seconds"] >= 0 for event in first_layer.values())
    assert "".join(event["text"] for event in events if event["event"] == "token") == "The answer is 42."
    end = events[-1]
    assert end["usage"]["total_tokens"] == 30
    assert end["finish_reason"] == "length"
    assert end["moa"]["aggregator"]["model"] == "writer"


def test_the_answers_of_the_endpoint_and_of_the_page_are_the_same(serve):
    client = serve(two_layers())
    events = events_of(client.post("/inside", json=HELLO))
    whole = client.post("/v1/chat/completions", json=HELLO).json()
    assert whole["choices"][0]["message"]["content"] == "".join(event.get("text", "") for event in events[9:])


def test_the_prompt_that_the_aggregator_saw_is_told_without_the_image(serve):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    asked = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}
    events = events_of(serve(two_layers()).post("/inside", json={"model": "moa-1", "messages": [asked]}))
    (told,) = [event["messages"] for event in events if event["event"] == "prompt"]
    assert [message["role"] for message in told] == ["system", "user"]
    assert told[0]["text"].endswith("1. 42, then.")
    assert told[1]["text"] == "What is this?\n\n[image]"


def test_the_prompt_of_a_fallback_takes_the_place_of_the_first_ones(serve, together):
    together({"x/a": "Fine.", "x/writer": Reply(status=500), "x/next": "42."})
    aggregator = Aggregator(model="x/next", instructions="Be brief.")
    model = ChatMoA(proposers=["x/a"], aggregator="x/writer", fallback_aggregators=[aggregator], max_retries=0)
    events = events_of(serve(model).post("/inside", json=HELLO))
    *_, last = [event["messages"] for event in events if event["event"] == "prompt"]
    assert last[0]["text"].startswith("Be brief.")


def test_the_prompt_of_an_aggregator_that_fails_is_told_before_the_failure(serve):
    proposer = ScriptedChatModel(reply="It is 42.", model_name="good")
    aggregator = ScriptedChatModel(error=TimeoutError("too slow"), model_name="writer")
    *_, prompt, error = events_of(
        serve(ChatMoA(proposers=[proposer], aggregator=aggregator)).post("/inside", json=HELLO)
    )
    assert prompt["messages"][0]["text"].endswith("1. It is 42.")
    assert error["error"]["code"] == "timeout"


def test_a_failure_is_the_last_event_in_openais_shape(serve):
    bad = ScriptedChatModel(error=TimeoutError("too slow"), model_name="bad")
    model = ChatMoA(proposers=[bad], aggregator=ScriptedChatModel())
    events = events_of(serve(model).post("/inside", json=HELLO))
    assert events[-1]["event"] == "error"
    assert events[-1]["error"]["code"] == "proposers_failed"
    assert events[-1]["error"]["message"] == "Too few proposers of layer 1 answered. bad: too slow"


@pytest.mark.parametrize("who", ["b", "writer"])
def test_the_page_tells_no_more_of_a_providers_error_than_the_endpoint(serve, together, who):
    refused = Reply(status=401, error="Incorrect API key provided: se**et")
    together({"x/a": "Fine.", "x/b": "Fine.", "x/writer": "42.", "x/next": "42.", f"x/{who}": refused})
    model = ChatMoA(proposers=["x/a", "x/b"], aggregator="x/writer", fallback_aggregators=["x/next"])
    client = serve(model)
    told = client.post("/inside", json=HELLO).text
    assert "Incorrect" not in told and "se**et" not in told
    assert "OpenAIAuthenticationError" in told
    account = client.post("/v1/chat/completions", json=HELLO).json()["moa"]
    *_, end = [json.loads(line.removeprefix("data: ")) for line in told.splitlines() if line]
    assert [[call.get("error") for call in layer] for layer in end["moa"]["layers"]] == [
        [call.get("error") for call in layer] for layer in account["layers"]
    ]


def test_a_deadline_holds_for_an_aggregator_that_stops_in_the_middle(serve, together):
    together({"lab/a": "A proposal.", "lab/writer": Reply(text="The answer", gate=threading.Event())})
    model = ChatMoA(proposers=["lab/a"], aggregator="lab/writer", deadline=0.5)
    *_, token, error = events_of(serve(model).post("/inside", json=HELLO))
    assert token == {"event": "token", "text": "The"}
    assert error["error"]["code"] == "timeout"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({**HELLO, "model": "gpt-9"}, 404, "Model 'gpt-9' is unknown"),
        ({**HELLO, "temperature": 1}, 400, "temperature: only model and messages are supported here"),
        ({**HELLO, "rounds": 2}, 400, "--allow-overrides"),
        ({"model": "moa-1", "messages": []}, 400, "messages"),
        ({"model": "moa-1", "messages": [{"role": "nobody", "content": ""}]}, 400, "messages.0: Input tag 'nobody'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_request_that_makes_no_sense_is_refused_in_words(serve, body, status, says):
    response = serve().post("/inside", json=body)
    assert response.status_code == status
    assert says in response.json()["error"]["message"]


def test_another_sites_form_can_not_ask(serve):
    response = serve().post("/inside", content=json.dumps(HELLO), headers={"Content-Type": "text/plain"})
    assert response.status_code == 415


def test_what_the_page_asks_is_counted():
    app = create_app(Served({"moa-1": two_layers()}))
    with running(app) as client:
        client.post("/inside", json=HELLO)
    metrics = app.state.metrics.exposition().decode()
    assert 'moa_requests_total{model="moa-1",status="200"} 1.0' in metrics
    assert 'moa_proposer_failures_total{model="moa-1",proposer="bad",status="timeout"} 1.0' in metrics
