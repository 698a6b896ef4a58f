"""What a page of another site can do in the browser of somebody who runs `moa serve`: nothing that costs or tells."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from langchain_moa import ChatMoA
from langchain_moa.cli.commands.serve import _refuse_other_hosts
from langchain_moa.server.app import create_app
from langchain_moa.server.served import Served
from tests.chromium import CHROMIUM, needs_chromium
from tests.unit_tests.server.conftest import HELLO, running

pytestmark = needs_chromium

PATHS = ["/v1/chat/completions", "/inside"]


@pytest.fixture
def upstream(together):
    return together()


@pytest.fixture
def address(upstream) -> Iterator[str]:
    app = create_app(Served({"moa-1": ChatMoA(proposers=["x/a"], aggregator="x/c")}), allow_overrides=True)
    _refuse_other_hosts(app, "127.0.0.1")
    with running(app) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def elsewhere(browser: Browser) -> Iterator[Page]:
    """A page of another origin."""
    site = Starlette(routes=[Route("/", lambda _: HTMLResponse("<title>Elsewhere</title>"))])
    with running(site) as client:
        page = browser.new_page()
        page.goto(str(client.base_url))
        yield page
        page.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("mode", ["cors", "no-cors"])
def test_its_scripts_can_ask_nothing(elsewhere, address, upstream, path, kind, mode):
    told = elsewhere.evaluate(
        """async ([url, body, kind, mode]) => {
          const headers = kind ? { "Content-Type": kind } : {};
          const response = await fetch(url, { method: "POST", body, headers, mode }).catch((error) => error.name);
          return response.type ?? response;
        }""",
        [address + path, json.dumps(HELLO), kind, mode],
    )
    assert told in ("TypeError", "opaque")
    assert upstream.requests == []


@pytest.mark.parametrize("path", PATHS)
def test_its_beacons_and_forms_can_ask_nothing(elsewhere, address, upstream, path):
    elsewhere.evaluate(
        """([url, body]) => {
          navigator.sendBeacon(url, body);
          navigator.sendBeacon(url, new Blob([body], { type: "application/json" }));
        }""",
        [address + path, json.dumps(HELLO)],
    )
    content = json.dumps(HELLO)[:-1] + ', "user": "'
    with elsewhere.expect_navigation():
        elsewhere.evaluate(
            """([url, name]) => {
              const form = document.createElement("form");
              Object.assign(form, { method: "POST", action: url, enctype: "text/plain" });
              const field = document.createElement("input");
              Object.assign(field, { name, value: '"}' });
              form.append(field);
              document.body.append(form);
              form.submit();
            }""",
            [address + path, content],
        )
    assert "Content-Type: application/json" in elsewhere.text_content("body")
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/inside", "/openapi.json"])
def test_its_scripts_can_read_nothing(elsewhere, address, path):
    told = elsewhere.evaluate("(url) => fetch(url).then((r) => r.text(), (error) => error.name)", address + path)
    assert told == "TypeError"


def test_it_can_not_show_the_page_in_a_frame(elsewhere, address):
    framed = elsewhere.evaluate(
        """(url) => new Promise((done) => {
          const frame = document.createElement("iframe");
          frame.onload = () => done(frame.contentDocument === null);
          frame.src = url;
          document.body.append(frame);
        })""",
        address,
    )
    assert framed
    assert elsewhere.frames[1].url.startswith("chrome-error:")


def test_a_name_that_leads_to_this_machine_is_refused(browser, address, upstream):
    """DNS rebinding: the browser takes the server for the other site, and its scripts for the server's own."""
    rules = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    misled = browser.browser_type.launch(executable_path=CHROMIUM, args=["--no-sandbox", rules])
    page = misled.new_page()
    response = page.goto(address.replace("127.0.0.1", "evil.example"))
    assert response.status == 400
    statuses = page.evaluate(
        """async ([paths, body]) => {
          const headers = { "Content-Type": "application/json" };
          const asked = paths.map((path) => fetch(path, { method: "POST", body, headers }));
          return (await Promise.all([...asked, fetch("/v1/models")])).map((response) => response.status);
        }""",
        [PATHS, json.dumps(HELLO)],
    )
    misled.close()
    assert statuses == [400, 400, 400]
    assert upstream.requests == []
