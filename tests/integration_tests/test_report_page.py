"""A report's page, looked at in a headless Chromium as a person would: from a file, on a desk and on a phone."""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from langchain_moa.evals.report.html_page import to_html
from langchain_moa.evals.report.make_report import make_report
from langchain_moa.evals.report.report import Report
from langchain_moa.prices import Price, PriceList
from tests.chromium import needs_chromium
from tests.sample_evaluation import SampleBenchmark, make_run, noisy_scores

pytestmark = needs_chromium
expect.set_options(timeout=60_000)  # a page is 5 MB, and there may be few cores

HOSTILE = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=2</script> %{x} ${title}'
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
COLORS = {"weak": (48, 121, 194), "strong": (210, 105, 30), "moa": (42, 145, 99)}  # as the page's legend has them
PLOTS = ["Score against cost", "Score against latency", "Score by category"]
# PNG is decoded by the browser itself.
COUNT_COLORS = """async (url) => {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const drawing = canvas.getContext("2d");
  drawing.drawImage(image, 0, 0);
  const pixels = drawing.getImageData(0, 0, image.width, image.height).data;
  const counts = {};
  for (let i = 0; i < pixels.length; i += 4) {
    const color = pixels.slice(i, i + 3).join();
    counts[color] = (counts[color] ?? 0) + 1;
  }
  return counts;
}"""


def report_of(*names: str) -> Report:
    weak, strong, moa = names
    scores = noisy_scores(6)
    runs = {
        weak: make_run(weak, [score - 1 for score in scores], seconds=1.0),
        strong: make_run(strong, scores, models=["big"], seconds=2.0),
        moa: make_run(moa, [score + 0.5 for score in scores], models=["small", "big"], calls=3, seconds=5.0),
    }
    prices = {"small": Price(input=1, output=4), "big": Price(input=2, output=8), "judge": Price(input=10, output=30)}
    benchmark = SampleBenchmark(warnings={name: [f"Mind {name}."] for name in names})
    return make_report(benchmark, runs, judge="judge", prices=PriceList(prices=prices, source="prices.json"))


@pytest.fixture
def open_report(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Open a report's page: `open_report(report, **of_the_browser)`. It must fetch nothing and complain of nothing."""
    complaints: list[str] = []
    contexts = []

    def open_it(report: Report, **of_the_browser: Any) -> Page:
        path = tmp_path / "report.html"
        path.write_text(to_html(report), encoding="utf-8")
        context = browser.new_context(**of_the_browser)
        contexts.append(context)
        context.on("request", lambda request: request.url == path.as_uri() or complaints.append(request.url))
        context.on("console", lambda message: complaints.append(message.text))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(path.as_uri())
        expect(page.locator(".plot .main-svg").first).to_be_visible()
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []


def plot(page: Page, name: str) -> Locator:
    return page.get_by_role("img", name=name, exact=True)


def colors_of(page: Page, place: Locator) -> Counter[tuple[int, ...]]:
    """Return how many pixels of a place have which color."""
    url = f"data:image/png;base64,{b64encode(place.screenshot()).decode()}"
    reader = page.context.browser.new_page()
    counts = reader.evaluate(COUNT_COLORS, url)
    reader.close()
    return Counter({tuple(map(int, color.split(","))): count for color, count in counts.items()})


@pytest.mark.parametrize(("theme", "device"), [("light", {}), ("dark", PHONE)], ids=["desk", "phone"])
def test_every_plot_is_drawn_with_every_system(open_report, theme, device):
    page = open_report(report_of(*COLORS), color_scheme=theme, **device)
    for name in PLOTS:
        place = plot(page, name)
        place.scroll_into_view_if_needed()
        expect(place.locator("g.trace")).to_have_count(3)
        expect(place.locator("g.trace path.point").first).to_be_visible()
        colors = colors_of(page, place)
        background, pixels = colors.most_common(1)[0]
        assert pixels < colors.total() * 0.995
        assert (max(background) < 64) == (theme == "dark")
        for system, color in COLORS.items():
            assert colors[color] > 20, f"{system} is not in {name!r}"


def test_intervals_are_drawn_where_they_are(open_report):
    page = open_report(report_of(*COLORS))
    errors = plot(page, PLOTS[0]).locator("path.yerror")
    assert errors.count() == 3
    assert all(box["height"] > 20 for box in (error.bounding_box() for error in errors.all()))


def test_a_logarithmic_axis_can_be_read(open_report):
    runs = {
        "cheap": make_run("cheap", noisy_scores(6), seconds=0.012),
        "dear": make_run("dear", noisy_scores(6, seed=1), seconds=1.9, calls=3),
    }
    page = open_report(make_report(SampleBenchmark(), runs, judge=None, prices=None))
    ticks = plot(page, "Score against latency").locator(".xtick text").all_text_contents()
    assert "0.02" in ticks
    assert "1" in ticks
    assert "2" not in ticks or "0.2" in ticks


def test_nothing_is_wider_than_a_phone_but_the_tables_which_scroll(open_report):
    page = open_report(report_of("weak", "strong", "a-mixture-with-quite-a-long-name"), **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    costs = page.locator(".wide").nth(1)
    assert costs.evaluate("box => box.scrollWidth > box.clientWidth")
    costs.evaluate("box => { box.scrollLeft = 200 }")
    assert costs.locator("tbody th").first.bounding_box()["x"] >= 0  # the names stay in view


def test_the_verdicts_the_warnings_and_the_tables_can_be_read(open_report):
    page = open_report(report_of("weak", "strong", "moa"))
    verdicts = page.locator(".verdicts li")
    expect(verdicts).to_have_count(2)
    expect(verdicts.last).to_contain_text("moa against strong: better by 0.50 (0.28 to 0.72) for 1.5 times the cost")
    expect(page.locator(".warnings li")).to_have_count(3)
    expect(page.get_by_role("row").filter(has_text="moa").first).to_contain_text("+0.50")
    expect(page.get_by_role("columnheader", name="USD for 100 items")).to_be_visible()


def test_pointing_at_a_system_tells_all_about_it(open_report):
    page = open_report(report_of("weak", "strong", "moa"))
    box = plot(page, PLOTS[0]).locator("path.point").last.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown = page.locator(".hovertext")
    expect(shown).to_contain_text("moa")
    expect(shown).to_contain_text("0.09 USD for 100 items")
    expect(shown).to_contain_text("3.0 calls an item")


def test_a_name_is_shown_as_it_is_and_does_nothing(open_report):
    page = open_report(report_of("weak", "strong", HOSTILE))
    expect(page.get_by_role("rowheader").filter(has_text=re.compile("^<img")).first).to_have_text(HOSTILE)
    box = plot(page, PLOTS[0]).locator("path.point").last.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".hovertext")).to_contain_text(HOSTILE)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src]").count() == 0


def test_it_prints_dark_on_white_with_its_plots(open_report):
    page = open_report(report_of("weak", "strong", "moa"), color_scheme="dark")
    page.emulate_media(media="print")
    colors = colors_of(page, plot(page, PLOTS[0]))
    assert colors.most_common(1)[0][0] == (255, 255, 255)
    assert page.locator("h1").evaluate("one => getComputedStyle(one).color") == "rgb(28, 36, 48)"
    assert page.pdf(format="A4").startswith(b"%PDF")
