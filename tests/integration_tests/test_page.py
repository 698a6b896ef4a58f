"""The page, driven in a headless Chromium, over real HTTP to scripted models."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest
from playwright.sync_api import expect

from langchain_moa import ChatMoA, Proposer
from langchain_moa.server.app import create_app
from langchain_moa.server.served import Served
from tests.chromium import needs_chromium
from tests.openai_server import Reply
from tests.page_driver import MIXTURE, REPLIES, ask, card, finished
from tests.unit_tests.server.conftest import running
from tests.unit_tests.test_aggregation import choosing

pytestmark = needs_chromium

HOSTILE = """\
<img src=x onerror="window.hacked = 1"> and <script>window.hacked = 2</script>

<script>window.hacked = 3</script>

<svg onload="window.hacked = 4"><style>* { display: none }</style></svg>

<a href="javascript:window.hacked=5">raw</a> [one](javascript:window.hacked=6)

[two](data:text/html,hi) [three](/v1/models)

![pixel](http://127.0.0.1:9/pixel.png) <https://example.org/fine>

<form action="/v1/models"><input name=key></form>
"""


def test_proposals_fill_in_side_by_side_and_the_answer_grows_under_them(open_page, together):
    first, second, rest = threading.Event(), threading.Event(), threading.Event()
    together(
        {
            "lab/a": Reply(text="It is **42**.", gate=first),
            "lab/b": Reply(text="Forty-two.", gate=second),
            "lab/c": Reply(text="42!", gate=second),
            "lab/writer": Reply(text="The answer is `42`.", gate=rest),
        }
    )
    page = open_page()
    expect(page.get_by_role("img")).to_have_accessible_name("The mixture. layer 1: a, b, c; then the aggregator.")
    ask(page)
    for name in "abc":
        expect(card(page, name)).to_have_attribute("data-status", "running")
        expect(card(page, name)).to_contain_text("working · lab/")
        expect(card(page, name).locator(".seconds")).to_have_text(re.compile(r"^\d+\.\d s$"))
    boxes = [card(page, name).bounding_box() for name in "abc"]
    assert len({box["y"] for box in boxes}) == 1
    assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"]

    first.set()
    expect(card(page, "a")).to_have_attribute("data-status", "ok")
    expect(card(page, "a").locator("strong")).to_have_text("42")
    expect(card(page, "a")).to_contain_text("11 tokens in · 7 out")
    expect(card(page, "b")).to_have_attribute("data-status", "running")
    expect(page.locator(".turn .node[data-status=ok] title")).to_have_text(["a: ok"])
    expect(page.get_by_role("status")).to_have_text("a answered (1 of 3)")
    expect(page.locator(".answer")).to_be_hidden()

    second.set()
    answer = page.get_by_label("Answer", exact=True)
    expect(answer.locator(".text")).to_have_text("The")
    expect(answer).to_contain_text("lab/writer, from 3 references")
    assert answer.bounding_box()["y"] > card(page, "a").bounding_box()["y"]
    rest.set()
    expect(answer.locator(".text")).to_have_text("The answer is 42.")
    expect(answer.locator("code")).to_have_text("42")
    expect(page.locator(".account")).to_contain_text("4 calls · 44 tokens in · 28 out")
    expect(page.locator(".turn .node[data-status=ok]")).to_have_count(4)
    expect(page.get_by_role("status")).to_have_text("The answer is complete.")


def test_the_account_tells_the_cost_and_what_a_budget_left_out(open_page, together):
    together(REPLIES)
    prices = {name: {"input": 1000, "output": 2000} for name in ("lab/a", "lab/writer")}
    mixture = ChatMoA(proposers=["lab/a"], rounds=2, aggregator="lab/writer", prices=prices, max_cost=0.06)
    page = open_page({"moa-1": mixture})
    ask(page)
    finished(page)
    expect(page.locator(".account")).to_contain_text("2 calls · 22 tokens in · 14 out · $0.05 · ")
    expect(page.get_by_label("Proposer a").first.locator(".bill")).to_have_text("11 tokens in · 7 out · $0.025")
    expect(page.locator(".answer .bill")).to_have_text("11 tokens in · 7 out · $0.025")
    expect(page.locator(".answer .seconds")).to_have_text(re.compile(r"^\d+\.\d s$"))
    expect(page.locator(".turn")).to_contain_text("The budget is reached: layer 2 was left out.")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (400, "The provider refused the request."),
        (401, "The provider refused the server's key."),
        (404, "The provider does not know this model."),
        (429, "The provider limited the rate of requests."),
        (500, "The provider had an error."),
    ],
)
def test_a_proposer_that_fails_says_why_in_a_sentence_and_the_others_go_on(open_page, together, status, says):
    together({**REPLIES, "lab/b": Reply(status=status, error="no such thing")})
    page = open_page()
    ask(page)
    finished(page)
    expect(card(page, "b")).to_have_attribute("data-status", "failed")
    expect(card(page, "b").locator(".cause")).to_have_text(says)
    expect(page.locator(".turn")).not_to_contain_text(re.compile(r"Error\b|no such thing"))
    expect(page.locator(".turn .node[data-status=failed]")).to_contain_text("b")
    expect(page.get_by_label("Answer", exact=True)).to_contain_text("from 2 references")
    expect(page.locator(".answer .text")).to_have_text("The answer.")


def test_a_long_name_ends_with_an_ellipsis_inside_its_place_in_the_graph(open_page, together):
    together(REPLIES)
    page = open_page({"moa-1": ChatMoA(proposers=[Proposer(model="lab/a", name="W" * 18)], aggregator="lab/writer")})
    label = page.locator(".node .label").first
    expect(label).to_have_text("W" * 18)
    assert label.evaluate("label => label.scrollWidth > label.clientWidth")  # or else nothing had to be cut
    assert label.evaluate("label => getComputedStyle(label).textOverflow") == "ellipsis"
    outer, inner = page.locator(".node rect").first.bounding_box(), label.bounding_box()
    assert outer["x"] < inner["x"]
    assert inner["x"] + inner["width"] < outer["x"] + outer["width"]


def test_layers_come_one_after_the_other(open_page, together):
    gate = threading.Event()
    asked: list[str] = []

    def answer(body):
        asked.append(body["model"])
        return Reply(text=f"{body['model']} says", gate=gate if asked.count("lab/b") == 2 else None)

    together(answer)
    page = open_page({"moa-1": ChatMoA(proposers=["lab/b"], aggregator="lab/writer", rounds=2)})
    ask(page)
    expect(page.locator(".layer h3")).to_have_text(["Layer 1", "Layer 2"])
    cards = page.get_by_label("Proposer b")
    expect(cards.first).to_have_attribute("data-status", "ok")
    expect(cards.last).to_have_attribute("data-status", "running")
    gate.set()
    finished(page)
    expect(cards.last).to_have_attribute("data-status", "ok")


def in_schema(name: str, arguments: dict[str, Any]) -> Reply:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return Reply(tool_calls=({"id": "call_1", "type": "function", "function": function},))


def test_a_proposal_that_is_voted_for_is_shown_as_the_answer(open_page, together):
    together({**REPLIES, "lab/a": "It is 41.", "lab/b": "It is 42.", "lab/c": "So 42."})
    page = open_page({"moa-1": ChatMoA(**MIXTURE, aggregation="vote")})
    ask(page)
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("It is 42.")
    expect(page.locator(".answer .by")).to_have_text("by vote, from b: 42 (2), 41 (1)")
    expect(card(page, "b")).to_contain_text("the answer")
    expect(page.locator(".account")).to_contain_text("3 calls")


def test_a_proposal_that_is_selected_is_shown_with_the_judges_reason(open_page, together):
    judge = choosing("Forty-two.", "It is in words.")
    together(lambda body: judge(body) if body["model"] == "lab/writer" else REPLIES[body["model"]])
    page = open_page({"moa-1": ChatMoA(**MIXTURE, aggregation="select")})
    ask(page)
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("Forty-two.")
    expect(page.locator(".answer .by")).to_have_text("selected from b: It is in words.")
    told = re.compile(r"^select · lab/writer · \d+\.\d s · 11 tokens in · 7 out$")
    expect(page.locator(".steps li")).to_have_text(told)
    expect(card(page, "b")).to_contain_text("the answer")
    expect(page.locator(".account")).to_contain_text("4 calls")


def test_an_analysis_of_the_proposals_can_be_unfolded(open_page, together):
    found = {"consensus": ["All say 42."], "contradictions": [], "partial_coverage": ["<b>Only</b> a counts."]}
    found |= {"unique_insights": [], "blind_spots": []}
    replies = [in_schema("Analysis", found), Reply(text="The answer.")]
    together(lambda body: replies.pop(0) if body["model"] == "lab/writer" else "42")
    page = open_page({"moa-1": ChatMoA(**MIXTURE, aggregation="analyze")})
    ask(page)
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    expect(page.locator(".account")).to_contain_text("5 calls")
    page.get_by_text("The aggregator's analysis of the proposals").click()
    expect(page.locator(".analysis li")).to_have_text(["All say 42.", "<b>Only</b> a counts."])


def test_a_way_that_was_not_possible_is_told(open_page, together):
    together({**REPLIES, "lab/a": "It is 41.", "lab/b": "It is 42.", "lab/c": "Who knows?"})
    page = open_page({"moa-1": ChatMoA(**MIXTURE, aggregation="vote")})
    ask(page)
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    expect(page.locator(".notes li")).to_have_text("The vote was tied: the aggregator wrote the answer.")


def test_proposers_that_a_rule_leaves_out_are_shown_as_not_asked(open_page, together):
    together(REPLIES)
    page = open_page({"moa-1": ChatMoA(**MIXTURE, fan_out=lambda messages: False)})
    ask(page)
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    for name in "abc":
        expect(card(page, name)).to_contain_text("not asked")
    expect(page.locator(".account")).to_contain_text("1 call ·")


def test_what_models_write_is_markdown_that_can_do_nothing(open_page, together):
    together({**REPLIES, "lab/a": HOSTILE, "lab/writer": HOSTILE})
    page = open_page()
    ask(page)
    finished(page)
    for place in (card(page, "a"), page.locator(".answer")):
        expect(place).to_contain_text('<img src=x onerror="window.hacked = 1">')
        expect(place).to_contain_text("<script>window.hacked = 3</script>")
        links = place.locator("a[href]")
        expect(links).to_have_text(["pixel", "https://example.org/fine"])
        for link in links.all():
            expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
            expect(link).to_have_attribute("target", "_blank")
        expect(place.locator("img, script, svg, style, form, input, iframe")).to_have_count(0)
        for harmless in ("one", "two", "three"):
            place.get_by_text(harmless, exact=True).click()
    assert page.evaluate("window.hacked") is None
    assert re.search(r"/#/c/\w+$", page.url)


def test_names_errors_and_questions_can_do_nothing_either(open_page, together):
    bad = '<img src=x onerror="window.hacked = 1">'
    together(lambda body: Reply(status=400, error=bad) if body["model"] == "lab/b" else "42")
    served = ChatMoA(
        proposers=[
            Proposer(model="lab/a", name=bad),
            Proposer(model="lab/b", name="</script><script>hacked=2</script>"),
        ],
        aggregator=f"lab/{bad}",
    )
    failing = ChatMoA(proposers=["lab/b"], aggregator="lab/b")
    page = open_page({"moa-1": served, bad: failing})
    ask(page, bad)
    finished(page)
    expect(page.locator(".turn")).to_contain_text(bad)
    page.get_by_label("Line-up").select_option(bad)
    ask(page, "javascript:window.hacked=3")
    expect(page.locator(".turn > .problem").last).to_contain_text(bad)
    finished(page)
    expect(page.locator("img[onerror], .turn script")).to_have_count(0)
    assert page.evaluate("window.hacked") is None


def test_the_policy_stops_what_would_get_past_the_sanitiser(open_page, together, complaints):
    together(REPLIES)
    page = open_page()
    refused = page.evaluate(
        """async () => {
          const refused = [];
          document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
          await fetch("http://127.0.0.1:9/").catch(() => 0);
          const image = document.createElement("img");
          const loaded = new Promise((done) => { image.onload = image.onerror = done; });
          image.src = "http://127.0.0.1:9/pixel.png";
          await loaded;
          try {
            document.body.innerHTML = "<img src=x onerror='window.hacked = 1'>";
          } catch {
            refused.push("innerHTML");
          }
          return refused;
        }"""
    )
    assert {"connect-src", "img-src", "innerHTML"} <= set(refused)
    assert page.evaluate("window.hacked") is None
    complaints.clear()  # the browser's, of what was just provoked


@pytest.mark.parametrize("how", ["the button", "Esc"])
def test_stop_cancels_everything_behind_it(open_page, together, how):
    upstream = together({name: Reply(gate=threading.Event()) for name in ("lab/a", "lab/b", "lab/c")})
    page = open_page()
    ask(page)
    upstream.wait_for(lambda: len(upstream.requests) == 3)
    for name in "abc":  # the page hears of it after the models do
        expect(card(page, name)).to_have_attribute("data-status", "running")
    if how == "Esc":
        page.keyboard.press("Escape")
    else:
        page.get_by_role("button", name="Stop").click()
    upstream.wait_for(lambda: len(upstream.closed_by_client) == 3)
    finished(page)
    for name in "abc":
        expect(card(page, name)).to_have_attribute("data-status", "cancelled")
    expect(page.locator(".account")).to_contain_text("Stopped after")


def test_an_answer_that_is_stopped_in_the_middle_stays_and_is_part_of_the_conversation(open_page, together):
    gate = threading.Event()
    upstream = together({**REPLIES, "lab/writer": Reply(text="The answer.", gate=gate)})
    page = open_page()
    ask(page)
    expect(page.locator(".answer .text")).to_have_text("The")
    page.keyboard.press("Escape")
    upstream.wait_for(lambda: upstream.closed_by_client == ["lab/writer"])
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("The")
    upstream.reset()
    gate.set()
    ask(page, "Go on.")
    finished(page)
    assert [message["content"] for message in upstream.requests[0]["messages"]] == ["What is 6 x 7?", "The", "Go on."]


def test_a_question_comes_with_the_conversation_before_it_until_a_new_one_begins(open_page, together):
    upstream = together(REPLIES)
    page = open_page()
    ask(page, "First?")
    finished(page)
    upstream.reset()
    ask(page, "Second?")
    finished(page)
    expect(page.locator(".turn")).to_have_count(2)
    expect(page.locator(".turn .inside").first).not_to_have_attribute("open", "")
    assert upstream.requests[0]["messages"] == [
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "The answer."},
        {"role": "user", "content": "Second?"},
    ]
    page.get_by_role("button", name="New", exact=True).click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_role("heading", name="Ask several models at once")).to_be_visible()
    upstream.reset()
    ask(page, "Third?")
    finished(page)
    assert upstream.requests[0]["messages"] == [{"role": "user", "content": "Third?"}]


def test_retry_asks_the_last_question_again(open_page, together):
    replies = {**REPLIES, "lab/writer": Reply(status=400, error="no tokens left")}
    upstream = together(lambda body: replies[body["model"]])
    page = open_page()
    ask(page)
    expect(page.get_by_role("alert").filter(has_text="no tokens left")).to_be_visible()
    replies["lab/writer"] = "The answer."
    page.get_by_role("button", name="Retry").click()
    finished(page)
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    assert [message["content"] for message in upstream.requests[-2]["messages"]][-1] == "What is 6 x 7?"


def test_proposers_that_all_fail_are_an_error_in_words(open_page, together):
    together({name: Reply(status=400, error="closed today") for name in ("lab/a", "lab/b", "lab/c")})
    page = open_page()
    ask(page)
    alert = page.locator(".turn > .problem")
    expect(alert).to_contain_text("Too few proposers of layer 1 answered. a: closed today; b: closed today;")
    finished(page)


def test_a_connection_that_is_lost_in_the_middle_is_named(open_page, together, browser, complaints):
    together({**REPLIES, "lab/writer": Reply(text="The answer.", gate=threading.Event())})
    app = create_app(Served({"moa-1": ChatMoA(**MIXTURE)}))
    with running(app) as client:
        context = browser.new_context(base_url=str(client.base_url))
        page = context.new_page()
        page.goto("/")
        ask(page)
        expect(page.locator(".answer .text")).to_have_text("The")
    alert = page.locator(".turn > .problem")
    expect(alert).to_have_text("The connection was lost before the answer was complete.")
    expect(page.locator(".answer .text")).to_have_text("The")
    ask(page, "Still there?")
    expect(page.locator(".turn").last).to_contain_text("The server can't be reached. Is it still running?")
    context.close()


def test_a_key_is_asked_for_once_and_kept_in_the_tab_alone(open_page, together):
    together(REPLIES)
    page = open_page(options={"api_key": "secret"})
    dialog = page.get_by_role("dialog", name="This server wants a key")
    dialog.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("The server does not accept that key.")
    dialog.get_by_label("API key").fill("secret")
    dialog.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("img")).to_be_visible()
    page.reload()
    ask(page)
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    assert page.evaluate("Object.values(sessionStorage)") == ["secret"]
    assert page.evaluate("Object.values(localStorage)") == []
    assert page.evaluate("document.cookie") == ""


def test_whoever_gives_no_key_is_told_so_and_can_still_give_it_later(open_page, together):
    together(REPLIES)
    page = open_page(options={"api_key": "secret"})
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator("#welcome .problem:visible")).to_have_text("This server wants an API key.")
    ask(page)
    dialog.get_by_label("API key").fill("secret")
    page.keyboard.press("Enter")
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    expect(page.get_by_label("Line-up")).to_have_value("moa-1")


def test_another_lineup_is_drawn_when_it_is_chosen_and_then_it_is_asked(open_page, together):
    upstream = together(REPLIES)
    small = ChatMoA(proposers=["lab/b"], aggregator="lab/writer")
    page = open_page({"moa-1": ChatMoA(**MIXTURE), "small": small})
    expect(page.get_by_label("Line-up")).to_have_value("moa-1")
    page.get_by_label("Line-up").select_option("small")
    expect(page.get_by_role("img")).to_have_accessible_name("The mixture. layer 1: b; then the aggregator.")
    ask(page)
    finished(page)
    expect(page.locator(".inside summary")).to_contain_text("Inside small")
    assert [request["model"] for request in upstream.requests] == ["lab/b", "lab/writer"]


def test_a_lineup_that_can_not_be_asked_says_why(open_page, together, monkeypatch):
    together(REPLIES)
    page = open_page()
    expect(page.get_by_role("img")).to_be_visible()
    monkeypatch.delenv("TOGETHER_API_KEY")
    page.get_by_label("Line-up").select_option("cookbook")
    expect(page.locator("#welcome .problem:visible")).to_contain_text("TOGETHER_API_KEY")


def test_the_answer_and_each_proposal_can_be_copied_as_they_were_written(open_page, together):
    together({**REPLIES, "lab/a": "It is **42**.", "lab/writer": "The *answer*."})
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    ask(page)
    finished(page)
    for place, text in ((page.locator(".account"), "The *answer*."), (card(page, "a"), "It is **42**.")):
        place.get_by_role("button", name="Copy").click()
        expect(place.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == text


def test_it_is_dark_where_the_system_is_and_where_the_reader_wants_it(open_page, together):
    together(REPLIES)
    page = open_page(color_scheme="dark")
    brightness = "Number(getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/)[0])"
    toggle = page.get_by_role("button", name="Dark")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    assert page.evaluate(brightness) < 50
    toggle.click()
    assert page.evaluate(brightness) > 200
    page.reload()
    expect(toggle).to_have_attribute("aria-pressed", "false")
    assert page.evaluate(brightness) > 200


def test_it_fits_a_phone(open_page, together):
    wide = f"`{'x' * 300}` {'y' * 300}\n\n```\n{'z ' * 300}\n```\n\n|{' column |' * 20}\n|{' --- |' * 20}\n"
    together({name: wide for name in REPLIES})
    page = open_page({"moa-1": ChatMoA(**MIXTURE, rounds=2)}, viewport={"width": 360, "height": 640}, has_touch=True)
    width = "document.documentElement.scrollWidth"
    expect(page.get_by_role("img")).to_be_visible()
    assert page.evaluate(width) == 360
    ask(page, "w" * 300)
    finished(page)
    assert page.evaluate(width) == 360
    first, second = (card(page, name).bounding_box() for name in "ab")
    assert first["x"] == second["x"]
    assert first["y"] < second["y"]
    for control in page.locator("button:visible, select:visible, textarea:visible").all():
        box = control.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360


def test_everything_works_from_the_keyboard(open_page, together):
    gate = threading.Event()
    upstream = together({**REPLIES, "lab/writer": Reply(text="The answer.", gate=gate)})
    page = open_page()
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type("One,")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two?")
    page.keyboard.press("Enter")
    expect(page.locator(".answer .text")).to_have_text("The")
    assert upstream.requests[0]["messages"][-1]["content"] == "One,\ntwo?"
    expect(page.get_by_label("Your question")).to_have_value("")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Send")).to_be_focused()
    gate.set()
    retry = page.get_by_role("button", name="Retry")
    while not retry.evaluate("button => button === document.activeElement"):
        page.keyboard.press("Shift+Tab")
        focused = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(focused) != "none"
    page.keyboard.press("Enter")
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    expect(page.get_by_role("button", name="Send")).to_be_focused()
