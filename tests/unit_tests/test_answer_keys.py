"""What a text answers."""

import json
import re
import threading
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.answer_keys import (
    answer_of,
    boxed,
    choice,
    final_answer,
    is_builtin,
    json_field,
    matching,
    number,
)
from tests.properties import any_text, without_a_clock


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \(\boxed{42412}\) dollars.", 42412),
        (r"First \boxed{1}, then $\boxed{2}$.", 2),
        (r"\boxed{42{,}409}", 42409),
        (r"\boxed{\$42,409}", 42409),
        (r"\boxed{-\$3}", -3),
        (r"\boxed{x^{2} + 1}", "x^{2}+1"),
        (r"\boxed{ \frac{1}{2} }", r"\frac{1}{2}"),
        (r"\boxed{B}", "B"),
        (r"\boxed{}", None),
        (r"\boxed{4", None),
        ("no box", None),
    ],
)
def test_a_box_is_what_stands_in_the_last_one(text, answer):
    assert boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is B.", "B"),
        ("Answer: (C)", "C"),
        ("**Answer:** D", "D"),
        (r"The answer is \(\boxed{A}\).", "A"),
        ("The correct option is **B**, not A.", "B"),
        ("B. 9 lines", "B"),
        ("(E)", "E"),
        ("A", "A"),
        ("The answer is a matter of taste.", None),
        ("The answer is A matter of taste.", None),
        ("A. 3 lines\nB. 9 lines\nC. 5 lines", None),
        ("A. 3 lines\nB. 9 lines\nThe answer is A.", "A"),
        ("Answer A is wrong. The answer is C", "C"),
        ("42", None),
        ("The answer is B because the others are wrong.", "B"),
        ("The answer is A because the others are wrong.", "A"),
        ("Answer: I think so", None),
        ("I'm not sure", None),
        ("A dog is an animal", None),
        ("Answer: $B$", "B"),
        ("answer: b", "B"),
        ("(b)", "B"),
        ("The correct answer is:\n\nB) 9 lines", "B"),
        ("Because...\n\n**C.**", "C"),
        ("A. no\nB. no\nTherefore (C)", "C"),
        ("It is A.", "A"),
        ("I'd go with (B) here.", "B"),
        ("The vitamin is C in most cases", None),
        (r"so \boxed{\text{(D)}}, not A.", "D"),
        (r"It is \boxed{A + B}.", None),
    ],
)
def test_a_choice_is_the_letter_that_a_text_decides_for(text, answer):
    assert choice(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("$42,409", 42409),
        ("42409.00 dollars", 42409),
        ("42{,}409", 42409),
        (r"42\,409", 42409),
        ("It is 4", 4),
        ("It is 42.", 42),
        ("about 0.5 kg", Decimal("0.5")),
        ("-7 °C", -7),
        ("\u2212$3", -3),
        ("The answer is -7, not 7.", -7),
        ("-$3.50", Decimal("-3.5")),
        ("10 - 4", 4),
        ("between 10-15", 15),
        ("one of 1,2,3", 3),
        ("100,000, no more", 100000),
        ("1.5e3 m", 1500),
        (".5", Decimal("0.5")),
        ("**_42_**", 42),
        ("1,000,000 people", 1000000),
        ("The answer is 12, after 3 steps.", 12),
        ("**Answer:**\n\nTo the nearest dollar, about **$42,639**, for 5 years.", 42639),
        (r"The final answer is: $\boxed{42409}$", 42409),
        ("The answer to question 2 is 7", 7),
        ("7%", 7),
        ("-0", 0),
        ("none", None),
        ("", None),
        ("v1.2.x", None),
        ("H2O", None),
    ],
)
def test_a_number_is_the_same_however_it_is_written(text, answer):
    assert number(text) == answer


def test_4_is_not_42():
    assert number("4") != number("42")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"answer": "B"}', "B"),
        ('Here:\n```json\n{"answer": 4, "why": "…"}\n```', 4),
        ('{"answer": [1, 2]}', "[1, 2]"),
        ('{"other": 1}', None),
        ('{"answer": null}', None),
        ("[1, 2]", None),
        ("no JSON", None),
    ],
)
def test_a_field_of_a_json_object_is_an_answer(text, answer):
    assert json_field("answer")(text) == answer


def test_a_regular_expression_reads_its_first_group_in_its_last_match():
    key = matching(r"verdict: (\w+)")
    assert key("verdict: guilty … verdict: innocent") == "innocent"
    assert key("no verdict") is None
    assert matching("yes|no")("no, yes") == "yes"


def test_a_wrong_regular_expression_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"answer_key '\(' is no regular expression"):
        matching("(")


def test_a_final_answer_is_a_box_else_a_letter_else_a_number():
    assert final_answer(r"\boxed{5} (B)") == 5
    assert final_answer(r"\boxed{0} (B)") == 0
    assert final_answer("The answer is B, 5 of 6 agree") == "B"
    assert final_answer("It is 5.") == 5
    assert final_answer("I don't know.") is None


# -- Texts that nobody would expect ----------------------------------------------------------------------------------

HOSTILE = [
    *("100,", "1,", "1 ", "9", "1\\,", "1{,}", ".5", "-$", "1e5 ", "(A)", "(", "*", " ", "\n", "A\n", "A. x\n"),
    *("\\boxed{", "\\boxed{ ", "\\boxed{\\a", "{", "}", "answer ", "answer is a ", "answer A  ", "is (", "I "),
    *("``` ", '```json {"answer": [', '{"answer": ', "[", '"'),
]
BUILTIN = {
    "final_answer": final_answer,
    "boxed": boxed,
    "choice": choice,
    "number": number,
    "json": json_field("answer"),
}


@pytest.mark.parametrize("key", BUILTIN.values(), ids=BUILTIN)
@pytest.mark.parametrize("atom", HOSTILE)
def test_a_megabyte_of_anything_is_read_at_once(atom, key):
    """Quadratic time would take hours for some, which the tests' own limit ends."""
    for before, after in [("", ""), ("answer is ", "!"), ("\\boxed{", ",1234"), ('{"answer": "', "}")]:
        answer_of(before + atom * (1_000_000 // len(atom)) + after, key)


def test_a_long_text_is_read_at_its_end():
    filler = "So 7 (B) it is, or is it? " * 10_000
    assert number(f"{filler}It is 42.") == 42
    assert choice(f"{filler}\n\nThe answer is C.") == "C"
    assert boxed(rf"\boxed{{42}} {filler}") == 42
    assert number("1" * 60_000 + " 42") == 42


# What each text is made of: enough of everything that a key looks at.
pieces = st.lists(
    st.sampled_from(
        [
            *(
                "1",
                "12",
                "300",
                "400",
                "1234",
                "5",
                "0",
                ",",
                "{,}",
                r"\,",
                ".",
                "-",
                "\u2212",
                "$",
                "e5",
                "E-3",
                "e99999",
            ),
            *(
                "answer",
                "option",
                "is",
                ":",
                "=",
                "A",
                "B",
                "j",
                "a",
                "I",
                "(",
                ")",
                "*",
                '"',
                "'",
                " ",
                "\n",
                "H",
                "_",
            ),
            *(r"\boxed{", "}", "{", r"\text{", "because", "cat", "`", "\u2019", "\\"),
        ]
    ),
    max_size=14,
).map("".join)

# As numbers were read before: thousands by looking ahead, which takes quadratic time.
COMMA = r"(?:,|\{,\}|\\,)"
LOOKING_AHEAD = re.compile(
    r"(?<![^\W\d_])(?<![\d.])(?P<minus>(?<![\w)])[-\u2212](?:\\?[$€£¥])?)?"
    rf"(?P<digits>(?:\d{{1,3}}(?:{COMMA}\d{{3}})+(?!{COMMA}?\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?P<exponent>[eE][-+]?\d{1,4}(?!\w))?"
)


def last_number_by_looking_ahead(text):
    found = list(LOOKING_AHEAD.finditer(text))
    if not found:
        return None
    digits = re.sub(COMMA, "", found[-1]["digits"])
    return Decimal(f"{'-' if found[-1]['minus'] else ''}{digits}{found[-1]['exponent'] or ''}")


@without_a_clock
@given(pieces.filter(lambda text: "boxed" not in text and not re.search("answer|option", text)))
def test_a_number_is_the_one_that_looking_ahead_finds(text):
    assert number(text) == last_number_by_looking_ahead(text)


@without_a_clock
@given(pieces | any_text)
def test_a_built_in_key_reads_any_text(text):
    for key in BUILTIN.values():
        hash(key(text))


@without_a_clock
@given(st.integers(-(10**12), 10**12))
def test_a_whole_number_is_read_however_its_thousands_are_set_apart(value):
    for comma in (",", "{,}", r"\,", ""):
        written = f"{value:,}".replace(",", comma)
        assert number(f"It is {written}.") == number(rf"\boxed{{{written}}}") == value


@without_a_clock
@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.integers())), st.text())
def test_a_field_is_read_with_and_without_a_code_block(fields, name):
    written = json.dumps(fields)
    value = fields.get(name)
    expected = json.dumps(value) if isinstance(value, list) else value
    for text in (written, f"  {written}\nSo it is.", f"Here:\n```json\n{written}\n```\nDone.", f"```\n{written}\n```"):
        assert json_field(name)(text) == expected


# -- Users' own keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [lambda text: [text], lambda text: {text: 1}, lambda text: 1 / 0, lambda text: hash(([],))],
    ids=["a list", "a dict", "an error", "a list within"],
)
def test_a_key_that_fails_or_returns_what_cannot_be_counted_has_read_nothing(key, caplog):
    assert answer_of("42", key) is None
    assert "The answer key failed on a proposal, which has no vote" in caplog.text


def test_an_expression_that_would_take_for_ever_has_read_nothing_and_lets_others_run(caplog):
    key = matching(r"(a|aa)+$")
    reading = threading.Thread(target=answer_of, args=("a" * 5000 + "!", key))
    reading.start()
    turns = 0
    while reading.is_alive():
        turns += 1
        time.sleep(0.001)
    assert turns > 20
    assert "TimeoutError" in caplog.text


def test_keys_that_any_text_is_safe_for_are_told_from_others():
    assert all(is_builtin(key) for key in BUILTIN.values())
    assert not any(map(is_builtin, [matching("a"), str.strip, lambda text: text]))
