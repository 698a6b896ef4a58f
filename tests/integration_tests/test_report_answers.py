"""The answers in a report's page, looked at in a headless Chromium: filters, pages, hostile text, accessibility."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from langchain_core.messages import HumanMessage, SystemMessage
from playwright.sync_api import Browser, Page, expect

from langchain_moa.evals.report.answer_details import answer_details
from langchain_moa.evals.report.html_page import to_html
from langchain_moa.evals.report.make_report import make_report
from langchain_moa.evals.types import Question
from langchain_moa.prices import Price, PriceList
from tests.chromium import needs_chromium
from tests.sample_evaluation import SampleBenchmark, make_run, questions

pytestmark = needs_chromium
expect.set_options(timeout=60_000)

HOSTILE = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=2</script><!-- ${title} \ud83d \u2028'
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
PRICES = PriceList(prices={"small": Price(input=1, output=4), "big": Price(input=2, output=8)}, source="prices.json")


def layers(*texts: str) -> dict[str, Any]:
    """Return a mixture's metadata with these proposals."""
    calls = [
        {"proposer": f"p{i}", "model": "small", "status": "ok", "seconds": 1.5, "text": text, "error": None}
        for i, text in enumerate(texts, 1)
    ]
    return {"moa": {"layers": [calls]}}


def page_of(count: int, *, text: str = "An answer.") -> str:
    """Return a page of a single model and a mixture.

    The mixture is worse on question 1, better on 2, failed on 3; else both have the same score.
    """
    bench = SampleBenchmark(questions=[replace(one, fields={}) for one in questions(count)])
    single = make_run("single", [5.0] * count)
    answers, judgments = make_run("moa", [4.0 if i == 1 else 6.0 if i == 2 else 5.0 for i in range(count)], calls=3)
    answers = [
        replace(
            one, texts=(f"{text} {one.question}",), metadata=(layers(f"Proposal: {text}", "Another."),), seconds=4.25
        )
        for one in answers
    ]
    answers[3] = replace(answers[3], texts=(), metadata=(), error=f"TimeoutError: {text}")
    judgments = [replace(one, reply=f"Verdict: {text}") for one in judgments if one.question != "3"]
    runs = {"single": single, "moa": (answers, judgments)}
    report = make_report(bench, runs, judge="judge", prices=PRICES)
    return to_html(report, answer_details(bench, runs, report, prices=PRICES))


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Open a page: `show(html, **of_the_browser)`. It must fetch nothing and complain of nothing."""
    complaints: list[str] = []
    contexts = []

    def show_it(html: str, **of_the_browser: Any) -> Page:
        path = tmp_path / "report.html"
        path.write_bytes(html.encode("utf-8", "replace"))
        context = browser.new_context(**of_the_browser)
        contexts.append(context)
        context.on("request", lambda request: request.url == path.as_uri() or complaints.append(request.url))
        context.on("console", lambda message: complaints.append(message.text))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(path.as_uri())
        expect(page.locator(".answers article").first).to_be_visible()
        return page

    yield show_it
    for context in contexts:
        context.close()
    assert complaints == []


def shown(page: Page) -> list[str]:
    return [title.removeprefix("Question ") for title in page.locator(".answers h3").all_inner_texts()]


def test_a_question_has_all_answers_proposals_and_verdicts_side_by_side(show):
    page = show(page_of(5))
    card = page.locator("article").nth(1)
    expect(card.locator(".text").first).to_have_text("Question 1?")
    single, moa = card.locator(".answer").all()
    expect(single).to_contain_text("score 5 · 1 call · 0.00030 USD · 1.0 s")
    expect(moa).to_contain_text("score 4 · 3 calls · 0.00030 USD · 4.3 s")
    expect(moa.get_by_label("Answer of moa")).to_have_text("An answer. 1")
    moa.get_by_text("Proposals (2)").click()
    expect(moa.get_by_label("Proposal of p1 to moa")).to_have_text("Proposal: An answer.")
    expect(moa).to_contain_text("layer 1 · p2 · ok · 1.5 s")
    moa.get_by_text("Verdicts (1)").click()
    expect(moa.get_by_label("Verdict on moa")).to_have_text("Verdict: An answer.")
    boxes = [one.bounding_box() for one in (single, moa)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]


@pytest.mark.parametrize(
    ("choice", "ids"),
    [("Where they differ 3", ["1", "2", "3"]), ("Failures 1", ["3"]), ("Where the mixture hurt 2", ["1", "3"])],
)
def test_a_filter_leaves_the_questions_that_it_names(show, choice, ids):
    page = show(page_of(70))
    page.get_by_label(choice).check()
    expect(page.get_by_role("status")).to_have_text(f"Page 1 of 1, {len(ids)} questions")
    assert shown(page) == ids


def test_a_failed_answer_says_why(show):
    page = show(page_of(5))
    expect(page.locator("article").nth(3)).to_contain_text("Failed: TimeoutError: An answer.")


def test_5000_questions_come_a_page_at_a_time_and_fit_into_the_file(show):
    html = page_of(5000, text="A sentence of an answer, as long as answers are. " * 20)
    assert len(html) - len(page_of(5)) < 5_000_000
    page = show(html)
    expect(page.get_by_role("status")).to_have_text("Page 1 of 250, 5000 questions")
    assert shown(page) == [str(i) for i in range(20)]
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    for _ in range(2):
        page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("status")).to_have_text("Page 3 of 250, 5000 questions")
    assert shown(page) == [str(i) for i in range(40, 60)]  # of two chunks


def test_text_of_a_model_is_shown_as_it_is_and_does_nothing(show):
    page = show(page_of(5, text=HOSTILE))
    expect(page.get_by_label("Answer of moa").first).to_contain_text('<img src=x onerror="window.hacked=1"></script>')
    for summary in page.locator("summary").all():
        summary.click()
    expect(page.get_by_label("Verdict on moa").first).to_contain_text("<script>window.hacked=2</script>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src]").count() == 0


def test_a_task_of_several_messages_shows_who_said_what(show):
    question = Question(id="q", turns=((SystemMessage("Be brief."), HumanMessage("Why?")),))
    bench = SampleBenchmark(questions=[question])
    answers, judgments = make_run("single", [5.0])
    runs = {"single": ([replace(answers[0], question="q")], [replace(judgments[0], question="q")])}
    report = make_report(bench, runs, judge="judge", prices=None)
    page = show(to_html(report, answer_details(bench, runs, report, prices=None)))
    expect(page.get_by_label("Question q")).to_have_text("System: Be brief.\nHuman: Why?")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(show, theme, device):
    page = show(page_of(5), color_scheme=theme, **device)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []


def test_a_page_without_answers_has_no_section_for_them():
    bench = SampleBenchmark(questions=questions(3))
    report = make_report(bench, {"single": make_run("single", [5.0] * 3)}, judge="judge", prices=None)
    assert 'class="answers' not in to_html(report)
