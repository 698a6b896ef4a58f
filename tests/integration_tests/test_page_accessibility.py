"""The page as axe sees it, in each of its states: on a desk and on a phone, light and dark."""

from __future__ import annotations

import base64
import threading
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from langchain_moa import ChatMoA
from tests.chromium import needs_chromium
from tests.openai_server import Reply
from tests.page_driver import MIXTURE, REPLIES, ask, finished

pytestmark = needs_chromium

DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
RUN = "() => axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations)"
RICH = """\
## Why

A `word`, a [link](https://example.org/) and a list:

- [x] one

> A quotation.

```python
print("{long}")
```

| {long} | b |
| --- | --- |
| 1 | 2 |
""".replace("{long}", "long " * 80)


def examine(page: Page, state: str) -> list[Any]:
    """Return what axe finds, and where the page is wider than the screen."""
    found: list[Any] = []
    for size in (DESK, PHONE):
        page.set_viewport_size(size)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            page.evaluate(DRAWN)  # what scrolls here takes the focus
            where = (state, size["width"], theme)
            for rule in page.evaluate(RUN):
                found += [(*where, rule["id"], node["html"][:200], node["failureSummary"]) for node in rule["nodes"]]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append((state, size["width"], "too wide"))
    page.set_viewport_size(DESK)
    return found


def test_axe_finds_nothing_in_any_state(open_page, together):
    gate = threading.Event()
    replies: dict[str, Any] = {**REPLIES, "lab/a": Reply(text=RICH, gate=gate), "lab/writer": RICH}
    replies["lab/b"] = Reply(status=429)
    together(lambda body: replies[body["model"]])
    page = open_page({"moa-1": ChatMoA(**MIXTURE, rounds=2, max_retries=0)})
    page.evaluate(Axe().axe_script)
    expect(page.get_by_role("img")).to_be_visible()
    found = examine(page, "empty")

    ask(page, "A long question. " * 300)
    expect(page.get_by_label("Proposer b").first).to_have_attribute("data-status", "failed")
    found += examine(page, "asking")

    gate.set()
    finished(page)
    page.get_by_text("The prompt that the aggregator saw").click()
    found += examine(page, "answered, with a failed proposer and the prompt")

    png = {"name": "dot.png", "mimeType": "image/png", "buffer": PNG}
    page.get_by_role("button", name="Edit").click()
    page.locator("#files").set_input_files([png, {**png, "name": "notes.svg", "mimeType": "image/svg+xml"}])
    expect(page.locator("#image-problem")).to_be_visible()
    found += examine(page, "editing, with an image and a file that is none")

    replies["lab/writer"] = Reply(status=400, error="closed today")
    ask(page)
    finished(page)
    found += examine(page, "failed")

    page.get_by_role("button", name="Conversations").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    found += examine(page, "the list")
    page.get_by_role("button", name="Rename").click()
    found += examine(page, "renaming")
    assert not found, "\n".join(map(str, found))
