"""Reasoning between tags, and prose about them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa._messages.reasoning import without_reasoning
from tests.properties import without_a_clock

REASONING = {
    "a space in the tag": "<think >secret</think >42",
    "a line break in the tag": "<think\n>secret</think\n>42",
    "capitals": "<THINK>secret</Think>42",
    "another name": "<thinking>secret</thinking>42",
    "never closed": "<think>secret",
    "never closed after another": "<think>secret</think><think>secret",
    "several": "<think>secret</think>4<think>secret</think>2",
    "opened by the template": "secret\n</think>\n\n42",
    "opened by the template, ended with a line": "secret</think>\n42",
    "opened by the template, and again": "secret\n</think>\n4<think>secret</think>2",
    "after a word": "42\n<think>\nsecret\n</think>",
    "over lines within a line": "42 <think>\nsecret\n</think>",
    "after prose about the tag": "42: a <think> tag.\n<think>secret</think>",
    "code at the end": "<think>so it is `secret`</think>42",
    "an unclosed code block inside": "<think>```python\nsecret</think>4<think>secret</think>2",
}


@pytest.mark.parametrize("text", REASONING.values(), ids=REASONING)
def test_reasoning_is_left_out(text):
    assert "secret" not in without_reasoning(text)
    assert "".join(without_reasoning(text).split()) in ("", "42", "42:a<think>tag.")


@pytest.mark.parametrize(
    "text",
    [
        "Qwen writes a <think> tag first. The answer is 42.",
        "Reasoning ends with </think>, the answer comes after it: 42.",
        "Wrap it in <think> and </think>: 42.",
        "In the `<think>` tag, and after `</think>`",
        "A template:\n```\n<think>\n…\n</think>\n```\n42",
        "```\n</think>\n```\n42",
        "42 <think>",
        "I think </b> <thinker> < think > it is 42",
        "42",
        "",
    ],
)
def test_prose_about_the_tags_stays_whole(text):
    assert without_reasoning(text) == text


pieces = st.lists(
    st.sampled_from(["<think>", "</think>", "<think\n>", "`", "```", "\n", " ", "a", "secret", "<", "think", ">"])
)


@without_a_clock
@given(pieces.map("".join))
def test_nothing_is_added_or_moved(text):
    left = iter(text)
    assert all(character in left for character in without_reasoning(text))


@without_a_clock
@given(st.text().filter(lambda text: "think" not in text.lower()))
def test_texts_without_a_tag_stay_as_they_are(text):
    assert without_reasoning(text) == text
    assert without_reasoning(f"<think>{text}") == ""
    assert without_reasoning(f"<think>{text}</think>42") == "42"


HOSTILE = [
    "<think>",
    "</think>",
    "<think>x</think>",
    "a <think> b </think> ",
    "<think" + " " * 50,
    "\n<think>",
    "```<think>",
]


@pytest.mark.parametrize("before", ["", "x", "<think>", "</think>\n"])
@pytest.mark.parametrize("atom", HOSTILE)
def test_a_megabyte_of_tags_takes_no_longer_than_its_size(atom, before):
    """Quadratic time would take minutes, which the tests' own limit ends."""
    without_reasoning(before + atom * (1_000_000 // len(atom)))
