"""Makes the documentation's pictures: a trace in MLflow, and the page of `moa serve`.

The models are a server on loopback that replays the answers which Together's cookbook recorded. From the root of the
repository, with Chromium or Chrome on the machine:

    uv run --extra all --group mlflow python -m docs.pictures
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Browser, sync_playwright

from langchain_moa import ChatMoA
from tests.chromium import CHROMIUM
from tests.cookbook import RUN, replay
from tests.openai_server import OpenAIServer, Reply

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/pages/images"
SIZE = {"width": 1280, "height": 800}


def at_their_pace(body: dict[str, Any]) -> Reply:
    """Answer as the cookbook's models did, a long answer more slowly than a short one."""
    reply = replay(body)
    return dataclasses.replace(reply, delay=len(reply.text or "") / 1500, token_delay=0.002)


@contextmanager
def running(command: list[str], url: str) -> Iterator[None]:
    """Run a server until the pictures are made."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = monotonic() + 300
        while True:
            try:
                urlopen(url).close()
                break
            except URLError:
                if monotonic() > end or process.poll() is not None:
                    raise
                sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


def trace(browser: Browser, path: Path) -> None:
    """Ask once under MLflow's autolog, and look at the trace in its own page."""
    import mlflow
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/mlflow.db"
        mlflow.set_tracking_uri(store)
        mlflow.langchain.autolog()
        ChatMoA(model="cookbook").invoke(RUN["prompt"])
        mlflow.flush_trace_async_logging()
        experiment = mlflow.get_experiment_by_name("Default").experiment_id
        (found,) = MlflowClient().search_traces([experiment])
        url = "http://127.0.0.1:5005"
        with running(
            [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store, "--port", "5005", "--workers", "1"],
            url,
        ):
            page = browser.new_page(viewport=SIZE)
            page.goto(f"{url}/#/experiments/{experiment}/traces?selectedEvaluationId={found.info.trace_id}")
            page.get_by_text("layer_1_proposer_01").first.wait_for(timeout=60_000)
            page.wait_for_timeout(2000)  # it slides in
            page.screenshot(path=path, clip={"x": 0, "y": 0, "width": 890, "height": 690})  # the rest is the page below


def page_of_moa_serve(browser: Browser, path: Path) -> None:
    """Ask on the page, and look at the answer."""
    url = "http://127.0.0.1:8005"
    command = [sys.executable, "-m", "langchain_moa", "serve", "--model", "cookbook", "--port", "8005"]
    with running(command, url):
        page = browser.new_page(viewport=SIZE)
        page.goto(url)
        page.get_by_role("textbox").first.fill(RUN["prompt"])
        page.keyboard.press("Enter")
        page.get_by_text(RUN["expected_answer"]).last.wait_for(timeout=60_000)
        page.mouse.move(SIZE["width"] / 2, SIZE["height"] / 2)
        page.mouse.wheel(0, -10_000)  # up from the end of the answer, to the proposals
        page.wait_for_timeout(1000)
        page.screenshot(path=path)


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with OpenAIServer(at_their_pace) as server, sync_playwright() as playwright:
        os.environ.update(TOGETHER_API_KEY="unused", TOGETHER_API_BASE=server.url)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        trace(browser, IMAGES / "trace.png")
        page_of_moa_serve(browser, IMAGES / "page.png")
        browser.close()


if __name__ == "__main__":
    main()
