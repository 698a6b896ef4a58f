"""What an error carries, and what it must not show."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import openai
import pytest
from pydantic import SecretStr

from langchain_moa import ProposersFailedError
from langchain_moa._models.factory import build_model
from langchain_moa._models.transport import http_clients
from langchain_moa.exceptions import DatasetError, describe
from tests.openai_server import Reply


def api_error():
    """Return an error that can be pickled, and then not be loaded."""
    return openai.APIConnectionError(request=http_clients()["http_client"].build_request("GET", "http://a"))


def failed():
    return ProposersFailedError(
        "Layer 2 failed.", layer=2, errors={"a": ValueError("bad"), "b": api_error(), "c": TimeoutError("slow")}
    )


def dataset():
    return DatasetError("no such field", path=Path("a.jsonl"), line=3)


def raise_(error):
    raise error()


def through_a_process(error):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(raise_, error).exception()


WAYS = {
    "pickle": lambda make: pickle.loads(pickle.dumps(make())),
    "copy": lambda make: copy.copy(make()),
    "deepcopy": lambda make: copy.deepcopy(make()),
    "process pool": through_a_process,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_failed_layer_survives_the_way_to_another_process(way):
    error = way(failed)
    assert type(error) is ProposersFailedError
    assert (str(error), error.layer, list(error.errors)) == ("Layer 2 failed.", 2, ["a", "b", "c"])
    assert (type(error.errors["a"]), str(error.errors["a"])) == (ValueError, "bad")
    assert "Connection error." in str(error.errors["b"])
    assert error.is_retryable


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_datasets_error_survives_it_too(way):
    error = way(dataset)
    assert (type(error), str(error)) == (DatasetError, "a.jsonl:3: no such field")
    assert (error.path, error.line) == (Path("a.jsonl"), 3)


@pytest.mark.parametrize(
    "key",
    ["sk-proj-abcDEF0123456789", "tgp_v1_Abc123def456", "sk-ab****wxyz", "0123456789abcdef" * 4, "gsk_abc123DEF456"],
)
def test_what_looks_like_a_key_is_not_shown(key):
    assert describe(ValueError(f"Incorrect key {key}; try again")) == "ValueError: Incorrect key [key]; try again"


def test_a_key_of_the_environment_is_not_shown_whatever_its_shape(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "correct horse battery")
    assert "horse" not in describe(ValueError("Not correct horse battery!"))


def test_ordinary_words_are_shown():
    text = "sk-learn and task-based: key tgp, Bearer of news, request_id 42"
    assert describe(ValueError(text)) == f"ValueError: {text}"


def test_the_key_of_a_built_model_that_a_server_echoes_is_not_shown(together):
    key = SecretStr("tenants plain words")
    together(lambda _: Reply(status=401, error=f"Incorrect API key provided: {key.get_secret_value()}."))
    model = build_model("lab/a", temperature=None, max_tokens=None, timeout=5, api_key=key)
    with pytest.raises(openai.AuthenticationError) as error:
        model.invoke("Hi")
    assert "tenants plain words" in str(error.value)
    assert "plain" not in describe(error.value)
