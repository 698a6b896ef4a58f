import json
import logging
import threading

import pytest

from langchain_moa import ChatMoA, Proposer
from langchain_moa.server.logs import JsonFormatter
from tests.fakes import ScriptedChatModel
from tests.openai_server import Reply
from tests.unit_tests.server.conftest import HELLO, mixture


@pytest.fixture
def lines(caplog):
    """Return a function that returns what has been logged, as JSON; a line comes after its response."""
    written = threading.Condition()

    class Lines(logging.Handler):
        def __init__(self):
            super().__init__()
            self.lines = []

        def emit(self, record):
            with written:
                self.lines.append(JsonFormatter().format(record))
                written.notify_all()

    handler = Lines()
    logger = logging.getLogger("langchain_moa.server")
    logger.addHandler(handler)
    caplog.set_level(logging.INFO, "langchain_moa.server")

    def wait(count):
        with written:
            assert written.wait_for(lambda: len(handler.lines) >= count, 20)
        return [json.loads(line) for line in handler.lines]

    yield wait
    logger.removeHandler(handler)


def post(client, **fields):
    return client.post("/v1/chat/completions", json={**HELLO, **fields})


_SCRAPES = 'moa_requests_total{model="",status="200"}'


def metrics(client, requests):
    """Return the samples by name and labels, once so many requests for answers are counted: soon after their ends."""
    while True:
        lines = client.get("/metrics").text.splitlines()
        samples = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
        # Without the scrapes themselves.
        ours = {name for name in samples if name.startswith("moa_requests_total") and name != _SCRAPES}
        if sum(samples[name] for name in ours) >= requests:
            return samples


def test_requests_tokens_and_failures_are_counted(serve, together):
    together({"x/a": "A.", "x/b": Reply(status=400), "x/c": "C."})
    client = serve(ChatMoA(proposers=["x/a", "x/b"], aggregator="x/c"))
    assert "data: [DONE]" in post(client, stream=True).text
    assert post(client).status_code == 200
    assert post(client, n=2).status_code == 400
    assert post(client, model="gpt-9").status_code == 404
    counted = metrics(client, 4)
    assert counted['moa_requests_total{model="moa-1",status="200"}'] == 2
    assert counted['moa_requests_total{model="",status="400"}'] == 1
    assert counted['moa_requests_total{model="",status="404"}'] == 1
    assert counted['moa_request_seconds_count{model="moa-1"}'] == 2
    assert counted['moa_first_token_seconds_count{model="moa-1"}'] == 1
    assert counted['moa_tokens_total{kind="prompt",model="moa-1"}'] == 2 * 2 * 11
    assert counted['moa_tokens_total{kind="completion",model="moa-1"}'] == 2 * 2 * 7
    assert counted['moa_proposer_failures_total{model="moa-1",proposer="b",status="failed"}'] == 2
    assert counted["moa_requests_in_flight"] == counted["moa_requests_queued"] == 0


def test_what_answers_cost_is_in_the_answers_the_metrics_and_the_log(serve, together, lines):
    together()
    prices = {name: {"input": 1000, "output": 2000} for name in ("x/a", "x/c")}
    client = serve(ChatMoA(proposers=["x/a"], aggregator="x/c", prices=prices))
    assert post(client).json()["moa"]["cost"] == {"total": 0.05, "unpriced": []}
    last = [json.loads(line[6:]) for line in post(client, stream=True).text.splitlines() if "total" in line]
    assert last[0]["moa"]["cost"] == {"total": 0.05, "unpriced": []}
    assert metrics(client, 2)['moa_cost_dollars_total{model="moa-1"}'] == 0.1
    assert [line["cost_usd"] for line in lines(2) if "cost_usd" in line] == [0.05, 0.05]


def test_no_label_takes_a_name_that_a_client_made_up(serve, together):
    together(lambda body: Reply(status=400) if body["model"] == "x/made-up" else "Fine.")
    client = serve(ChatMoA(proposers=["x/a"], aggregator="x/c"), allow_overrides=True)
    assert post(client, proposers=["x/made-up", "x/a"]).status_code == 200
    assert metrics(client, 1)['moa_proposer_failures_total{model="moa-1",proposer="",status="failed"}'] == 1
    assert post(client, model="invented").status_code == 404
    assert "made-up" not in client.get("/metrics").text
    assert "invented" not in client.get("/metrics").text


def test_each_request_has_a_line_and_an_id(serve, lines):
    client = serve()
    response = post(client)
    line = lines(1)[0]
    assert response.headers["x-request-id"] == line["id"]
    told = {name: line[name] for name in ("level", "event", "method", "path", "status", "model", "stream")}
    assert told == {
        "level": "info",
        "event": "request",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "model": "moa-1",
        "stream": False,
    }
    assert line["seconds"] >= 0
    assert "error" not in line


def test_the_log_names_who_failed_and_never_what_was_said(serve, together, lines):
    together(lambda body: Reply(status=400, error="secret words") if body["model"] == "x/b" else "secret answer")
    model = ChatMoA(proposers=["x/a", Proposer(model="x/b")], aggregator="x/c")
    client = serve(model, api_key="secret-key")
    headers = {"authorization": "Bearer secret-key"}
    hello = {**HELLO, "messages": [{"role": "user", "content": "secret question"}]}
    assert client.post("/v1/chat/completions", json=hello, headers=headers).status_code == 200
    assert client.post("/v1/chat/completions", json={**hello, "model": "x"}, headers=headers).status_code == 404
    assert client.post("/v1/chat/completions", json=hello).status_code == 401
    answered, unknown, refused = lines(3)
    assert answered["proposer_failures"] == ["b: failed"]
    assert answered["prompt_tokens"] == 22
    assert (unknown["error"], refused["error"]) == ("model_not_found", "invalid_api_key")
    assert "secret" not in json.dumps([answered, unknown, refused])


@pytest.mark.parametrize("after", [None, 1], ids=["at once", "midway"])
def test_our_own_mistakes_are_logged_with_their_place_and_without_their_text(serve, lines, after):
    writer = ScriptedChatModel(reply="One two", error=ZeroDivisionError("a secret"), error_after=after)
    response = post(serve(mixture(aggregator=writer)), stream=True)
    mistake, request = lines(2)
    assert (mistake["level"], mistake["event"], mistake["error"]) == ("error", "unexpected error", "ZeroDivisionError")
    assert "tests/fakes.py" in mistake["traceback"]
    assert (request["error"], request["status"]) == ("internal_error", 500)
    assert mistake["id"] == request["id"] == response.headers["x-request-id"]
    assert "a secret" not in json.dumps([mistake, request])
