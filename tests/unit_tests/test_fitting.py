"""References that would overflow a model's window."""

import pytest
from langchain_core.messages import HumanMessage

from langchain_moa import ChatMoA
from langchain_moa._messages.trimming import fit_references
from tests.fakes import ScriptedChatModel


def test_a_model_that_does_not_say_its_window_has_a_usual_one():
    assert fit_references(["a" * 10**5], beside=[HumanMessage("Hi")], window=None) == ["a" * 10**5]
    (fitted,) = fit_references(["a" * 2 * 10**6], beside=[HumanMessage("Hi")], window=None)
    assert len(fitted) < 131_072 * 4


def test_what_fits_stays():
    assert fit_references(["one", "two"], beside=[HumanMessage("Hi")], window=100) == ["one", "two"]


@pytest.mark.parametrize("window", [1, 50, 100, 1000, 5000])
def test_long_ones_are_trimmed_evenly_and_short_ones_stay_whole(window):
    texts = ["short", "b" * 9000, "c" * 7000]
    fitted = fit_references(texts, beside=[], window=window)
    lengths = [len(text) for text in fitted]
    # A cut mark is the least that is left of a text.
    assert sum(lengths) <= max(window * 0.8 * 4, 3 * 5)
    assert lengths[1] == lengths[2] or window == 5000
    if window >= 50:
        assert fitted[0] == "short"


def test_the_conclusion_survives():
    text = "First, " + "thinking " * 1000 + "so the answer is 42."
    (fitted,) = fit_references([text], beside=[], window=100)
    assert fitted.startswith("First, ")
    assert "[…]" in fitted
    assert fitted.endswith("so the answer is 42.")


def test_trimming_is_done_for_every_reader_and_reported(ask):
    """Peer bug 6 (Hermes 60345): an overflow was a 400, and silently fewer references."""
    talker = ScriptedChatModel(reply="word " * 2000, model_name="talker")
    narrow = ScriptedChatModel(reply="brief", model_name="narrow", profile={"max_input_tokens": 1000})
    aggregator = ScriptedChatModel(profile={"max_input_tokens": 2000})
    answer = ask(ChatMoA(layers=[[talker, talker], [narrow, talker]], aggregator=aggregator), "Go.")
    assert len(narrow.seen[0][0].text) < 1000 * 4
    assert len(talker.seen[-1][0].text) > 2 * 9000
    assert len(aggregator.seen[0][0].text) < 2000 * 4
    assert "1. brief\n" in aggregator.seen[0][0].text
    assert answer.response_metadata["moa"]["degraded"] == [
        {"reason": "references_trimmed", "layer": 2, "proposer": "narrow"},
        {"reason": "references_trimmed"},
    ]


def test_what_is_trimmed_on_the_way_to_the_answer_is_reported_too(ask):
    talker = ScriptedChatModel(reply="word " * 2000, model_name="talker")
    narrow = ScriptedChatModel(reply="brief", profile={"max_input_tokens": 2000})
    answer = ask(ChatMoA(proposers=[talker] * 3, aggregator=narrow, window=2, reserve=1), "Go.")
    moa = answer.response_metadata["moa"]
    assert moa["steps"][0]["references_trimmed"]
    assert moa["degraded"] == [
        {"reason": "references_trimmed", "step": moa["steps"][0]["step"]},
        {"reason": "references_trimmed"},
    ]
