"""References that would overflow a model's window."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from langchain_moa import ChatMoA
from langchain_moa._messages.trimming import estimate_tokens, fit_references
from tests.fakes import ScriptedChatModel
from tests.properties import any_text, without_a_clock

CUT = "\n[…]\n"


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


# -- Tokens without a tokenizer --------------------------------------------------------------------------------------

# Tokens a character that the worst of GPT-4's, GPT-4o's, Claude 2's, DeepSeek-V3's and SmolLM2's tokenizers needed.
MEASURED = {
    "English": ("The answer follows from the second law, because the system is closed. ", 0.21),
    "German": ("Künstliche Intelligenz ist ein Teilgebiet der Informatik, das sich damit befasst. ", 0.4),
    "Chinese": ("人工智能是计算机科学的一个分支。它企图了解智能的实质。", 1.56),
    "Japanese": ("人工知能とは、計算という概念とコンピュータという道具を用いて知能を研究する。", 1.64),
    "Korean": ("인공지능은 인간의 학습능력, 추론능력, 지각능력을 구현하려는 분야이다. ", 2.15),
    "Arabic": ("الذكاء الاصطناعي هو سلوك وخصائص معينة تتسم بها البرامج الحاسوبية. ", 0.97),
    "Thai": ("ปัญญาประดิษฐ์ คือความฉลาดเทียมที่สร้างขึ้นให้กับสิ่งที่ไม่มีชีวิต ", 1.88),
    "emoji": ("😀🎉👩\u200d👩\u200d👧\u200d👦🚀🔥", 2.73),
    "code": ("    for item in self.items:\n        print(item.name, file=sys.stderr)\n", 0.31),
    "minified code": ("function(a,b){return a.c(b)?d[e]:f.g&&(h=i+1,j(k))}", 0.69),
    "JSON": ('{"id": 17, "name": "item 17", "ok": true, "v": 0.8444218515250481}, ', 0.65),
    "a table": ("| 0.134364 | 52124 | x |\n", 0.84),
    "base64": (base64.b64encode(bytes(range(256))).decode(), 0.8),
    "hexadecimal": (bytes(range(256)).hex(), 0.93),
    "digits": ("3141592653589793238462643383279502884197", 1.0),
    "LaTeX": (r"\frac{\partial^2 u}{\partial x^2} + \sum_{i=1}^{n} \alpha_i \beta^{i} = 0 ", 0.49),
}


@pytest.mark.parametrize(("text", "per_character"), MEASURED.values(), ids=MEASURED)
def test_the_estimate_is_no_less_than_what_tokenizers_need_but_for_the_share_that_is_left(text, per_character):
    text *= 50
    assert per_character * len(text) * 0.8 <= estimate_tokens(text) <= len(text.encode())


def test_references_in_chinese_fit_into_a_small_window():
    texts = ["人工智能是计算机科学的一个分支。它企图了解智能的实质。" * 56] * 3
    fitted = fit_references(texts, beside=[HumanMessage("好")], window=4096)
    assert sum(map(len, fitted)) * 1.61 < 4096
    assert fitted != texts


TOOL = {"type": "function", "function": {"name": "look_up", "description": "Look it up. " * 100, "parameters": {}}}


@tool
def look_up(query: str) -> str:
    """Look it up."""
    return query


def test_bound_tools_and_the_answers_own_room_are_subtracted():
    texts = ["so it is " * 400]
    (plain,) = fit_references(texts, beside=[], window=1000)
    (beside_tools,) = fit_references(texts, beside=[], window=1000, tools=[TOOL, look_up])
    (beside_answer,) = fit_references(texts, beside=[], window=1000, max_tokens=600)
    assert len(beside_tools) < len(plain)
    assert len(beside_answer) < len(plain) * 0.6
    assert fit_references(texts, beside=[], window=1000, max_tokens=100) == [plain]


def test_more_tokens_for_the_answer_than_the_window_has_are_no_part_of_it():
    texts = ["so it is " * 400]
    within = fit_references(texts, beside=[], window=1000)
    assert fit_references(texts, beside=[], window=1000, max_tokens=32_000) == within


def test_tool_calls_and_results_beside_the_references_are_counted():
    call = AIMessage("", tool_calls=[{"name": "f", "args": {"text": "字" * 300}, "id": "1"}])
    beside = [HumanMessage("Hi"), call, ToolMessage("字" * 300, tool_call_id="1")]
    (fitted,) = fit_references(["字" * 2000], beside=beside, window=2000)
    (alone,) = fit_references(["字" * 2000], beside=[HumanMessage("Hi")], window=2000)
    assert len(fitted) < len(alone) - 500


texts = st.lists(st.text() | st.text("ab 1\n字😀", max_size=400).map(lambda text: text * 20), max_size=6)


@without_a_clock
@given(texts, st.integers(1, 3000))
def test_trimmed_references_never_take_more_than_their_room(texts, window):
    room = int(window * 0.8)
    fitted = fit_references(texts, beside=[], window=window)
    least = sum(estimate_tokens(text) for text in fitted if text == CUT)
    assert sum(map(estimate_tokens, fitted)) <= room + least
    assert len(fitted) == len(texts)


@without_a_clock
@given(texts, st.integers(1, 3000))
def test_a_reference_is_whole_or_keeps_its_beginning_and_its_end(texts, window):
    for text, fitted in zip(texts, fit_references(texts, beside=[], window=window), strict=True):
        if fitted == text:
            continue
        head, _, tail = fitted.partition(CUT)
        assert text.startswith(head)
        assert text.endswith(tail)
        assert abs(len(head) - len(tail)) <= 2


@without_a_clock
@given(texts)
def test_what_fits_stays_whole(texts):
    room = sum(map(estimate_tokens, texts))
    assert fit_references(texts, beside=[], window=int(room / 0.8) + 2) == texts


@without_a_clock
@given(any_text)
def test_any_text_has_an_estimate(text):
    assert 0 <= estimate_tokens(text) <= len(text.encode("utf-8", "surrogatepass"))
    assert estimate_tokens(json.dumps(text)) >= 1


@pytest.mark.parametrize("window", range(20, 60))
def test_a_pair_of_surrogates_is_never_split(window):
    """JSON can carry a character outside the basic plane as two."""
    (fitted,) = fit_references(["\ud83d\ude00" * 200], beside=[], window=window)
    head, _, tail = fitted.partition(CUT)
    assert not head.endswith("\ud83d")
    assert not tail.startswith("\ude00")
