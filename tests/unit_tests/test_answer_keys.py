"""What a text answers."""

from decimal import Decimal

import pytest

from langchain_moa.answer_keys import boxed, choice, final_answer, json_field, matching, number


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
