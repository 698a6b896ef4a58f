"""What the tests of `moa serve`'s page do with it in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from langchain_moa import ChatMoA
from langchain_moa.server.app import create_app
from langchain_moa.server.served import Served
from tests.unit_tests.server.conftest import running

expect.set_options(timeout=60_000)  # there may be few cores, and others on them

MIXTURE = {"proposers": ["lab/a", "lab/b", "lab/c"], "aggregator": "lab/writer"}
REPLIES = {"lab/a": "42", "lab/b": "Forty-two.", "lab/c": "42!", "lab/writer": "The answer."}


def ask(page: Page, question: str = "What is 6 x 7?") -> None:
    page.get_by_label("Your question").fill(question)
    page.get_by_role("button", name="Send").click()


def card(page: Page, name: str) -> Any:
    return page.get_by_label(f"Proposer {name}").last


def finished(page: Page) -> None:
    expect(page.get_by_role("button", name="Send")).to_be_visible()


@contextmanager
def serving(models: Any = None, options: Any = None) -> Iterator[str]:
    app = create_app(Served(models or {"moa-1": ChatMoA(**MIXTURE)}), **(options or {}))
    with running(app) as client:
        yield str(client.base_url)


def listen(context: BrowserContext, url: str, complaints: list[str]) -> None:
    def refuse(dialog: Any) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def hear(message: Any) -> None:
        # The browser reports each error status of a response here; those are what some tests are about.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    context.on("dialog", refuse)
    context.on("console", hear)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("request", lambda request: request.url.startswith(url) or complaints.append(request.url))
