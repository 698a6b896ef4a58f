"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.chromium import CHROMIUM
from tests.openai_server import OpenAIServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What must not happen: a dialog, a script that fails, a violated policy, a request to anybody else."""
    return []


@pytest.fixture
def open_page(
    browser: Browser, together: Callable[..., OpenAIServer], complaints: list[str]
) -> Iterator[Callable[..., Page]]:
    """Serve mixtures of the models of `together` and open the page: `open_page(models, options, **of_the_browser)`."""
    from tests.page_driver import listen, serving

    with ExitStack() as stack:

        def open_it(models: Any = None, options: Any = None, *, script: str = "", **of_the_browser: Any) -> Page:
            url = stack.enter_context(serving(models, options))
            context = browser.new_context(base_url=url, **of_the_browser)
            stack.callback(context.close)
            listen(context, url, complaints)
            context.add_init_script(script)
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.goto("/")
            return page

        yield open_it
    assert complaints == []
