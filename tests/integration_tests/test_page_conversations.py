"""The page's conversations, driven in a headless Chromium: how they are kept, listed, asked again; and their images."""

from __future__ import annotations

import base64
import threading
from itertools import pairwise
from typing import Any

from playwright.sync_api import Page, expect

from langchain_moa import ChatMoA
from tests.chromium import needs_chromium
from tests.openai_server import Reply
from tests.page_driver import MIXTURE, REPLIES, ask, card, finished

pytestmark = needs_chromium

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HOSTILE = '<img src=x onerror="window.hacked = 1">'
PRICES = {name: {"input": 1000, "output": 2000} for name in ("lab/a", "lab/writer")}

# Puts a file of the page's own making where the reader's browser would.
GIVE = """([png, size, name, type, how]) => {
  const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes, new Uint8Array(Math.max(0, size - bytes.length))], name, { type }));
  const options = { bubbles: true, cancelable: true };
  const event = how === "paste" ? new ClipboardEvent("paste", { ...options, clipboardData: data })
    : new DragEvent("drop", { ...options, dataTransfer: data });
  document.getElementById("question").dispatchEvent(event);
}"""


# Whether the last event of a conversation's first turn is kept.
# `wait_for_function` takes a promise for a yes.
KEPT = """async ([id, last]) => {
  const { get } = await import("/page/conversations.js");
  while ((await get(id))?.turns[0].events.at(-1)?.event !== last) await new Promise(requestAnimationFrame);
}"""


def give(page: Page, name: str, *, how: str = "drop", kind: str = "image/png", png: str = PNG, size: int = 0) -> None:
    page.evaluate(GIVE, [png, size, name, kind, how])


def attached(page: Page) -> Any:
    return page.get_by_role("list", name="Images to send").get_by_role("img")


def open_list(page: Page) -> Any:
    page.get_by_role("button", name="Conversations").click()
    return page.get_by_role("dialog", name="Conversations")


def shown(page: Page) -> str:
    """Return all that can be read of the conversation."""
    return page.locator(".turns").evaluate(
        "turns => [...turns.querySelectorAll('details')].map((each) => { each.open = true; }) && turns.innerText"
    )


def test_a_conversation_is_as_it_was_after_a_reload_and_goes_on(open_page, together):
    upstream = together({**REPLIES, "lab/b": Reply(status=429)})
    page = open_page({"moa-1": ChatMoA(**MIXTURE, prices=PRICES, max_retries=0)})
    give(page, "dot.png")
    expect(attached(page)).to_have_accessible_name("dot.png")
    ask(page, "What is this?")
    finished(page)
    ask(page, "Why?")
    finished(page)
    before, address = shown(page), page.url
    for told in ("What is this?", "The provider limited the rate of requests.", "The answer.", "lab/writer", "$0.025"):
        assert told in before
    assert "You have been provided with a set of responses" in before
    page.reload()
    expect(page.locator(".turn")).to_have_count(2)
    assert page.url == address
    assert shown(page) == before
    expect(page).to_have_title("What is this? · Mixture of Agents")
    expect(page.locator(".turn").first.get_by_role("img", name="dot.png")).to_be_visible()
    expect(page.locator(".turn .node[data-status=failed]")).to_have_count(2)
    upstream.reset()
    ask(page, "And?")
    finished(page)
    first, *others = [message["content"] for message in upstream.requests[0]["messages"]]
    assert first == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    assert others == ["The answer.", "Why?", "The answer.", "And?"]


def test_conversations_are_listed_renamed_and_deleted_and_each_has_its_address(open_page, together):
    together(REPLIES)
    page = open_page()
    addresses = []
    for question in ("First?", HOSTILE):
        ask(page, question)
        finished(page)
        addresses.append(page.url)
        page.get_by_role("button", name="New", exact=True).click()
    page.go_back()
    expect(page.locator(".question")).to_contain_text(HOSTILE)
    page.goto(addresses[0])
    expect(page.locator(".question")).to_contain_text("First?")
    listed = open_list(page)
    expect(listed.get_by_role("link")).to_have_text([HOSTILE, "First?"])
    expect(listed.get_by_role("link", name="First?")).to_have_attribute("aria-current", "page")
    listed.get_by_role("button", name="Rename").last.click()
    page.keyboard.type(f"{HOSTILE} two")
    page.keyboard.press("Enter")
    expect(listed.get_by_role("link")).to_have_text([HOSTILE, f"{HOSTILE} two"])
    page.keyboard.press("Escape")
    page.reload()
    expect(page).to_have_title(f"{HOSTILE} two · Mixture of Agents")
    listed = open_list(page)
    listed.get_by_role("button", name="Delete").last.click()
    page.keyboard.press("Escape")
    expect(listed.get_by_role("link")).to_have_count(2)
    listed.get_by_role("button", name="Delete").last.click()
    listed.get_by_role("button", name="Delete it").click()
    expect(listed.get_by_role("link")).to_have_text([HOSTILE])
    listed.get_by_role("link").click()
    expect(page.locator(".question")).to_contain_text(HOSTILE)
    page.goto(addresses[0])
    expect(page.get_by_role("alert")).to_contain_text("This conversation is not in this browser")
    assert page.evaluate("window.hacked") is None
    expect(page.locator("img")).to_have_count(0)


def test_an_answer_that_a_reload_interrupts_is_shown_as_far_as_it_came(open_page, together):
    gate = threading.Event()
    together({**REPLIES, "lab/writer": Reply(text="The answer.", gate=gate)})
    page = open_page()
    ask(page)
    expect(page.locator(".answer .text")).to_have_text("The")
    page.evaluate(KEPT, [page.url.split("/")[-1], "token"])
    page.reload()
    expect(page.locator(".turn > .problem")).to_contain_text("Interrupted")
    expect(page.locator(".answer .text")).to_have_text("The")
    expect(card(page, "a")).to_contain_text("42")
    gate.set()
    page.get_by_role("button", name="Retry").click()
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    expect(page.locator(".turn")).to_have_count(1)


def test_what_is_asked_in_another_tab_meanwhile_stays(open_page, together):
    gate = threading.Event()
    slow = Reply(text="The answer.", gate=gate)
    together(lambda body: "Quick." if "Quick?" in str(body) or body["model"] != "lab/writer" else slow)
    page = open_page()
    ask(page, "Slow?")
    page.evaluate(KEPT, [page.url.split("/")[-1], "token"])
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator(".turn > .problem")).to_contain_text("Interrupted")
    expect(other.locator(".turn > .problem")).to_contain_text("another tab is still writing it")
    ask(other, "Quick?")
    finished(other)
    gate.set()
    finished(page)
    page.reload()
    expect(page.locator(".answer .text")).to_have_text(["The answer.", "Quick."])


def test_an_answer_goes_on_while_the_reader_is_in_another_conversation(open_page, together):
    gate = threading.Event()
    slow = Reply(text="The answer.", gate=gate)
    together(lambda body: slow if "Slow?" in str(body) and body["model"] == "lab/writer" else "Quick.")
    page = open_page()
    ask(page, "Slow?")
    expect(page.locator(".answer .text")).to_have_text("The")
    page.get_by_role("button", name="New", exact=True).click()
    ask(page, "Quick?")
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("Quick.")
    gate.set()
    page.go_back()
    page.go_back()
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    finished(page)


def test_a_browser_that_keeps_nothing_is_told_of_and_the_page_works(open_page, together):
    together(REPLIES)
    forbidden = "{ get() { throw new DOMException('denied', 'SecurityError'); } }"
    names = ("indexedDB", "sessionStorage", "localStorage")
    page = open_page(script="".join(f"Object.defineProperty(window, '{name}', {forbidden});" for name in names))
    expect(page.locator("#welcome")).to_contain_text("This browser keeps nothing for this page")
    ask(page)
    finished(page)
    page.get_by_role("button", name="New", exact=True).click()
    listed = open_list(page)
    expect(listed).to_contain_text("This browser keeps nothing for this page")
    listed.get_by_role("link", name="What is 6 x 7?").click()
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("This conversation is not in this browser")


def test_a_browser_that_is_full_is_told_of_and_the_answer_is_there(open_page, together):
    together(REPLIES)
    full = "IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); };"
    page = open_page(script=full)
    ask(page)
    finished(page)
    expect(page.locator(".answer .text")).to_have_text("The answer.")
    expect(page.get_by_role("alert")).to_contain_text("This browser has no room for the conversation")
    page.get_by_role("button", name="New", exact=True).click()
    page.go_back()
    expect(page.locator(".answer .text")).to_have_text("The answer.")


def test_images_come_by_button_drop_and_paste_and_what_is_none_is_refused_in_a_sentence(open_page, together):
    upstream = together(REPLIES)
    page = open_page()
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="Add images").click()
    choosing.value.set_files({"name": HOSTILE, "mimeType": "image/png", "buffer": base64.b64decode(PNG)})
    expect(attached(page)).to_have_count(1)
    give(page, "dropped.png")
    expect(attached(page)).to_have_count(2)
    give(page, "pasted.png", how="paste")
    expect(attached(page)).to_have_count(3)
    problem = page.locator("#image-problem")
    give(page, "notes.svg", kind="image/svg+xml")
    expect(problem).to_have_text("notes.svg is not a PNG, JPEG, WebP or GIF image.")
    give(page, "text.png", png="", size=100)
    expect(problem).to_have_text("text.png can't be read as an image.")
    give(page, "big.png", size=6_000_000)
    expect(problem).to_have_text("big.png has 6.0 MB; an image may have 5.0 MB.")
    expect(attached(page)).to_have_count(3)
    page.get_by_role("button", name="Remove dropped.png").click()
    expect(attached(page)).to_have_count(2)
    page.get_by_role("button", name="Send").click()  # images alone are a question too
    finished(page)
    expect(page.locator(".turn .question").get_by_role("img")).to_have_count(2)
    expect(page.locator(".prompt")).to_contain_text("[image]")
    sent = upstream.requests[0]["messages"][0]["content"]
    assert [part["type"] for part in sent] == ["image_url"] * 2
    assert page.evaluate("window.hacked") is None


def test_models_that_see_no_images_say_so_in_the_servers_words(open_page, together):
    together({name: Reply(status=400, error="This model does not take images.") for name in REPLIES})
    page = open_page()
    give(page, "dot.png")
    expect(attached(page)).to_have_count(1)
    ask(page)
    finished(page)
    expect(page.locator(".turn > .problem")).to_contain_text("a: This model does not take images.")


def test_an_edited_question_takes_the_place_of_all_that_came_after_it(open_page, together):
    upstream = together(REPLIES)
    page = open_page()
    give(page, "dot.png")
    expect(attached(page)).to_have_count(1)
    for question in ("First?", "Second?", "Third?"):
        ask(page, question)
        finished(page)
    field = page.get_by_label("Your question")
    field.fill("A draft")
    page.get_by_role("button", name="Edit").first.click()
    expect(field).to_have_value("First?")
    expect(field).to_be_focused()
    expect(attached(page)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(field).to_have_value("A draft")
    expect(page.locator("#editing")).to_be_hidden()
    page.get_by_role("button", name="Edit").nth(1).click()
    upstream.reset()
    ask(page, "Second, again?")
    finished(page)
    expect(page.locator(".question .words")).to_have_text(["First?", "Second, again?"])
    asked = [message["content"] for message in upstream.requests[0]["messages"]]
    assert asked[1:] == ["The answer.", "Second, again?"]
    expect(field).to_have_value("A draft")
    page.reload()
    expect(page.locator(".question .words")).to_have_text(["First?", "Second, again?"])


def test_each_block_of_code_is_copied_by_itself(open_page, together):
    together({**REPLIES, "lab/writer": "One:\n\n```python\nprint(1)\n```\n\n- two:\n\n  ```\n  <b>2</b>\n  ```\n"})
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    ask(page)
    finished(page)
    for block, text in zip(page.locator(".answer .code").all(), ("print(1)\n", "<b>2</b>\n"), strict=True):
        block.get_by_role("button", name="Copy code").click()
        expect(block.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == text


def test_a_key_leads_to_the_answer_and_back_and_long_texts_scroll_by_keys(open_page, together):
    together({**REPLIES, "lab/writer": "### Why\n\n# Because\n\nIt is.\n\n###### So\n\nYes."})
    page = open_page()
    ask(page, "A long question. " * 400)
    finished(page)
    page.keyboard.press("F2")
    answer = page.get_by_label("Answer", exact=True)
    expect(answer).to_be_focused()
    assert answer.evaluate("answer => getComputedStyle(answer).outlineStyle") != "none"
    page.keyboard.press("F2")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.evaluate("scrollTo(0, 0)")
    page.keyboard.type("Who writes while reading stays where that is.")
    assert page.evaluate("scrollY") == 0
    skip = page.get_by_role("button", name="To the latest answer")
    skip.focus()
    page.keyboard.press("Enter")
    expect(answer).to_be_focused()
    words = page.locator(".question .words")
    words.focus()
    page.keyboard.press("End")
    page.wait_for_function("words => words.scrollTop > 0", arg=words.element_handle())
    levels = page.locator("main :is(h1, h2, h3, h4, h5, h6)").evaluate_all(
        "headings => headings.filter((each) => each.checkVisibility()).map((each) => Number(each.tagName[1]))"
    )
    assert levels[0] == 2
    assert all(after - before <= 1 for before, after in pairwise(levels))
