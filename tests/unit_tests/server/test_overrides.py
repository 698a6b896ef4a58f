"""`--allow-overrides`: what a request may make of the mixture, and what it can't."""

import pytest

from langchain_moa import ChatMoA
from tests.unit_tests.server.conftest import HELLO


@pytest.fixture
def upstream(together):
    return together()


@pytest.fixture
def ask(serve, upstream):
    def ask(*, max_calls=8, **overrides):
        model = ChatMoA(proposers=["x/a", "x/b"], aggregator="x/c")
        client = serve(model, allow_overrides=True, max_calls=max_calls)
        return client.post("/v1/chat/completions", json={**HELLO, **overrides})

    return ask


@pytest.mark.parametrize(
    "layers", [{"proposers": ["x/a"] * 7}, {"rounds": 3}, {"proposers": [{"model": "x/a", "samples": 7}]}]
)
def test_a_request_may_make_as_many_calls_as_the_server_allows(ask, upstream, layers):
    assert ask(**layers).status_code == 200
    assert len(upstream.requests) in (7, 8)


@pytest.mark.parametrize(
    "layers", [{"proposers": ["x/a"] * 8}, {"rounds": 4}, {"proposers": [{"model": "x/a", "samples": 8}]}]
)
def test_a_request_for_more_calls_is_refused_before_the_first(ask, upstream, layers):
    response = ask(**layers)
    assert response.status_code == 400
    assert (
        response.json()["error"]["message"] == "This mixture makes up to 9 calls; one request may make 8 (--max-calls)."
    )
    assert upstream.requests == []


def test_other_options_of_a_mixture_that_is_larger_may_be_changed(ask, upstream):
    assert ask(max_calls=2, timeout=30).status_code == 200
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("name", ["", " ", "x/", "/", ":", "x/a\n", "x/\x00"])
@pytest.mark.parametrize("place", ["proposer", "its model", "layer", "aggregator"])
def test_a_model_without_a_name_is_refused(ask, upstream, name, place):
    given = {
        "proposer": {"proposers": ["x/a", name]},
        "its model": {"proposers": [{"model": name}]},
        "layer": {"layers": [[name]]},
        "aggregator": {"aggregator": name},
    }[place]
    response = ask(**given)
    assert response.status_code == 400
    assert f"Model {name!r}" in response.json()["error"]["message"]
    assert upstream.requests == []
