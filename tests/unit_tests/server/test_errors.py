import json
import threading

import pytest

from langchain_moa import ChatMoA, Proposer
from langchain_moa.exceptions import LocalModelError
from tests.fakes import ScriptedChatModel
from tests.openai_server import Reply
from tests.unit_tests.server.conftest import HELLO, mixture

LONG = 10.0
SHORT = 0.2


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    # The SDK waits 0.5 and 1 s between its tries where no Retry-After can be sent.
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture
def ask(serve, together):
    """Return a function that asks a mixture whose aggregator, or whose only proposer, replies as scripted."""

    def ask(reply, *, role="aggregator", stream=False, timeout=LONG, **options):
        together(lambda body: reply if body["model"] == f"x/{role}" else "Fine.")
        proposer = Proposer(model="x/proposer", timeout=timeout if role == "proposer" else LONG)
        model = ChatMoA(proposers=[proposer], aggregator="x/aggregator", timeout=timeout, **options)
        return serve(model).post("/v1/chat/completions", json={**HELLO, "stream": stream})

    return ask


RETRY = {"retry-after": "7", "retry-after-ms": "10"}
UPSTREAM = {
    "400": (Reply(status=400, error="bad top_p"), 400, "upstream_refused", "bad top_p"),
    "the context is too long": (
        Reply(status=400, error="prompt is too long"),
        400,
        "context_length_exceeded",
        "prompt is too long",
    ),
    "401": (
        Reply(status=401, error="Incorrect API key provided: sk-12"),
        502,
        "upstream_error",
        "The aggregator failed: the provider refused the server's key",
    ),
    "403": (
        Reply(status=403, error="no access"),
        502,
        "upstream_error",
        "The aggregator failed: the provider refused the server's key",
    ),
    "404": (
        Reply(status=404, error="no x/aggregator"),
        502,
        "upstream_error",
        "The provider does not know the aggregator: no x/aggregator",
    ),
    "413": (Reply(status=413, error="too much"), 413, "upstream_refused", "too much"),
    "422": (Reply(status=422, error="wrong role"), 422, "upstream_refused", "wrong role"),
    "429": (Reply(status=429, error="slow down", headers=RETRY), 429, "rate_limit_exceeded", "slow down"),
    "500": (Reply(status=500, error="broken"), 502, "upstream_error", "The aggregator failed: broken"),
    "dropped": (Reply(fault="drop"), 502, "upstream_error", "The aggregator failed: Connection error."),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("reply", "status", "code", "message"), UPSTREAM.values(), ids=UPSTREAM)
def test_what_the_aggregators_provider_says_has_a_status_of_its_own(ask, reply, status, code, message, stream):
    response = ask(reply, stream=stream)
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["code"], error["message"]) == (code, message)
    assert error["type"] == {429: "rate_limit_error", 502: "server_error"}.get(status, "invalid_request_error")
    for name, value in reply.headers.items():
        assert response.headers[name] == value


def test_an_error_with_status_200_is_the_providers_too(ask):
    response = ask(Reply(fault="error_event", error="overloaded"))
    assert response.status_code == 502
    error = response.json()["error"]
    assert (error["code"], error["message"]) == ("upstream_error", "The aggregator failed: overloaded")


def test_a_silent_aggregator_is_a_gateway_timeout(ask):
    response = ask(Reply(fault="hang"), timeout=SHORT)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")


def test_a_deadline_is_a_gateway_timeout(ask):
    response = ask(Reply(fault="hang"), deadline=2)
    assert response.status_code == 504
    assert "within the deadline of 2 seconds" in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_proposers_that_all_fail_are_named_with_their_causes(ask, stream):
    response = ask(Reply(status=401, error="Incorrect API key provided: sk-12"), role="proposer", stream=stream)
    assert response.status_code == 502
    cause = "the provider refused the server's key"
    assert response.json()["error"] == {
        "message": f"Too few proposers of layer 1 answered. proposer: {cause}",
        "type": "server_error",
        "param": None,
        "code": "proposers_failed",
        "layer": 1,
        "causes": {"proposer": cause},
    }
    assert response.headers["x-should-retry"] == "false"


def test_a_proposer_that_is_too_slow_is_named(ask):
    error = ask(Reply(fault="hang"), role="proposer", timeout=SHORT).json()["error"]
    assert error["causes"] == {"proposer": "no answer within 0.2 seconds"}


MIDWAY = {"the connection breaks": "disconnect", "broken JSON": "bad_json", "an error event": "error_event"}


@pytest.mark.parametrize("fault", MIDWAY.values(), ids=MIDWAY)
def test_an_error_after_the_first_token_is_the_streams_last_event(serve, together, fault):
    # A client may drop what it has not read yet when the connection breaks, so that waits for the first token's reader.
    heard = threading.Event()
    together({"x/a": "Fine.", "x/c": Reply(text="One two three", fault=fault, fault_after=1, gate=heard)})
    model = ChatMoA(proposers=["x/a"], aggregator="x/c")
    with serve(model).stream("POST", "/v1/chat/completions", json={**HELLO, "stream": True}) as response:
        assert response.status_code == 200
        events = response.iter_lines()
        first = next(events)
        heard.set()
        *blank, last, end = events
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["content"] == "One"
    assert (set(blank), end) == ({""}, "")
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "upstream_error")
    assert error["message"].startswith("The aggregator failed: ")


def test_an_error_after_a_comment_is_the_streams_last_event_too(serve, together):
    gate = threading.Event()
    together(lambda body: Reply(status=400, error="too bad", gate=gate))
    client = serve(ChatMoA(proposers=["x/proposer"], aggregator="x/aggregator"), keep_alive=0.01)
    with client.stream("POST", "/v1/chat/completions", json={**HELLO, "stream": True}) as response:
        lines = response.iter_lines()
        assert next(lines) == ": keep-alive"
        gate.set()
        *_, last, end = lines
    assert end == ""
    assert json.loads(last.removeprefix("data: "))["error"]["causes"] == {"proposer": "too bad"}


def test_an_unknown_model_is_not_found(serve):
    response = serve().post("/v1/chat/completions", json={**HELLO, "model": "gpt-9"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert serve().get("/v1/models/gpt-9").status_code == 404


def test_a_lineup_without_its_key_is_unavailable(serve):
    response = serve().post("/v1/chat/completions", json={**HELLO, "model": "cookbook"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "model_unavailable")
    assert "set TOGETHER_API_KEY" in response.json()["error"]["message"]


@pytest.mark.parametrize("error", [LocalModelError("no '/secret/x.gguf'"), FileNotFoundError(2, "No", "/secret/x")])
def test_no_error_names_a_file_of_the_server(serve, error):
    response = serve(mixture(aggregator=ScriptedChatModel(error=error))).post("/v1/chat/completions", json=HELLO)
    assert response.status_code in (500, 503)
    assert "secret" not in response.text


def test_a_model_of_the_requests_choice_whose_key_is_missing_is_refused(serve):
    response = serve(allow_overrides=True).post("/v1/chat/completions", json={**HELLO, "aggregator": "openai:gpt"})
    assert response.status_code == 400
    assert "OPENAI_API_KEY" in response.json()["error"]["message"]


def test_an_unknown_path_says_what_there_is(serve):
    response = serve().post("/v1/audio/speech", json={})
    assert response.status_code == 404
    assert "POST /v1/chat/completions" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/chat/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/moa-1", "GET, HEAD"),
    ],
)
def test_another_method_says_which_one_to_use(serve, method, path, allowed):
    response = serve().request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert response.json()["error"]["message"].endswith(f"this path takes {allowed}.")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v1/completions", "Send the prompt to /v1/chat/completions"),
        ("/v1/messages", "put LiteLLM's proxy in front"),
        ("/v1/messages/count_tokens", "put LiteLLM's proxy in front"),
        ("/v1/embeddings", "Mixtures have no embeddings"),
    ],
)
def test_other_apis_are_not_found_and_say_what_to_use_instead(serve, path, says):
    response = serve().post(path, json={})
    assert response.status_code == 404
    assert says in response.json()["error"]["message"]


def test_a_request_that_is_refused_says_which_field_it_is(serve):
    error = serve().post("/v1/chat/completions", json={**HELLO, "n": 2}).json()["error"]
    assert error == {
        "message": "n is 2; a mixture gives one answer, ask 2 times.",
        "type": "invalid_request_error",
        "param": "n",
        "code": "unsupported_value",
    }


@pytest.mark.parametrize("after", [None, 1], ids=["at once", "midway"])
def test_our_own_mistakes_are_told_without_details(serve, after):
    writer = ScriptedChatModel(reply="One two", error=ZeroDivisionError("a secret"), error_after=after)
    response = serve(mixture(aggregator=writer)).post("/v1/chat/completions", json={**HELLO, "stream": True})
    assert response.status_code == (200 if after else 500)
    assert "internal_error" in response.text
    assert "a secret" not in response.text
