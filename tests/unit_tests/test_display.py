"""What a notebook shows of a mixture and of an answer."""

import re
from xml.etree import ElementTree

import pytest

from langchain_moa import ChatMoA
from langchain_moa.display import SideBySide, draw_mixture
from tests.fakes import ScriptedChatModel

HOSTILE = '<script>alert("1")</script>'


def labels(svg):
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_mixture_is_drawn_with_all_who_take_part_and_a_line_from_each_to_each_of_the_next_layer():
    svg = draw_mixture([["a", "b", "c"], ["d", "e"]], "writer")
    assert labels(svg) == ["a", "b", "c", "d", "e", "writer"]
    assert svg.count("<path") == 3 * 2 + 2 * 1


def test_a_long_name_is_cut_and_is_whole_in_its_tooltip():
    name = "lab/" + "long-" * 20
    svg = draw_mixture([[name]], "writer")
    assert len(labels(svg)[0]) == 30
    assert f"<title>{name}</title>" in svg


def test_a_notebook_shows_a_mixture_and_loads_nothing_for_it():
    model = ChatMoA(proposers=["lab/a", "lab/b"], aggregator="lab/w", rounds=2, api_key="k")
    html = model._repr_html_()
    assert labels(html[: html.index("</svg>") + 6]) == ["lab/a", "lab/b", "lab/a", "lab/b", "lab/w"]
    assert "Calls per answer" in html
    assert not re.search(r"(?:src|href)=|url\(", html)


def test_no_name_of_a_model_is_html():
    html = ChatMoA(proposers=[f"lab/{HOSTILE}"], aggregator="lab/w", api_key="k")._repr_html_()
    assert "<script" not in html


def asked(**options):
    proposers = [ScriptedChatModel(reply="One <b>."), ScriptedChatModel(error=RuntimeError("no luck"))]
    return ChatMoA(proposers=proposers, aggregator=ScriptedChatModel(reply=HOSTILE), **options).invoke("Go.")


def test_an_answer_is_shown_with_its_proposals_and_failures_beside_it():
    shown = SideBySide(asked(include_references=True))
    html = shown._repr_html_()
    assert "<script" not in html
    assert [text in html for text in ("One &lt;b&gt;.", "no luck", "failed", "&lt;script&gt;")] == [True] * 4
    ElementTree.fromstring(f"<div>{html}</div>")  # every tag is closed
    assert [text in repr(shown) for text in ("One <b>.", "no luck", HOSTILE)] == [True] * 3


def test_an_answer_without_proposals_says_how_to_get_them():
    with pytest.raises(ValueError, match="include_references=True"):
        SideBySide(asked())
