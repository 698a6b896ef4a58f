"""In a notebook an event loop is running already, and sync calls work all the same."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.cookbook import RUN, replay
from tests.local_model import needs_local_model

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

SET_UP = """
from langchain_core.language_models import FakeListChatModel
from langchain_moa import ChatMoA

def mixture():
    proposers = [FakeListChatModel(responses=[text]) for text in ("one", "two")]
    return ChatMoA(proposers=proposers, aggregator=FakeListChatModel(responses=["the answer"]))
"""
CELLS = [
    SET_UP,
    "print(mixture().invoke('Go.').text)",
    "print(''.join(chunk.text for chunk in mixture().stream('Go.')))",
    "print((await mixture().ainvoke('Go.')).text)",
    "print(''.join([chunk.text async for chunk in mixture().astream('Go.')]))",
]


def test_every_way_of_asking_works_in_a_notebook():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    nbclient.NotebookClient(notebook, timeout=100).execute()
    printed = ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]
    assert printed == ["", *["the answer\n"] * 4]


EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_cookbooks_notebook_runs_and_shows_what_it_shows_in_the_repository(together):
    together(replay)
    notebook = nbformat.read(EXAMPLES / "mixture_of_agents_under_the_hood.ipynb", as_version=4)
    kept = [printed_by(cell) for cell in notebook.cells]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for cell in notebook.cells:
        cell.source = cell.source.replace("8000", port)
    nbclient.NotebookClient(notebook, timeout=250, coalesce_streams=True).execute()
    printed = [printed_by(cell).replace(port, "8000") for cell in notebook.cells]
    assert printed == kept
    assert sum(RUN["aggregator"]["text"] in text for text in printed) == 3  # asked, streamed, and through the endpoint


@needs_local_model
def test_the_notebook_that_asks_whether_it_is_worth_it_measures_three_systems():
    notebook = nbformat.read(EXAMPLES / "is_it_worth_it.ipynb", as_version=4)
    assert "## Verdicts" in report_in(notebook)
    (questions,) = (cell for cell in notebook.cells if cell.source.startswith("import json"))
    questions.source = questions.source.replace("in capitals.items()", "in list(capitals.items())[:2]")
    notebook.cells[-2].source = notebook.cells[-2].source.replace("in capitals:", "in right['single']:")
    nbclient.NotebookClient(notebook, timeout=250, coalesce_streams=True).execute()
    report = report_in(notebook)
    # Two questions show nothing, whatever the answers are.
    assert "mixture against single: not distinguishable" in report
    assert "mixture against equal: not distinguishable" in report
    assert all(column in report for column in ("95 % CI", "USD for 100 items", "latency p50 (s)", "questions for 10"))


def report_in(notebook):
    (report,) = (
        output.data["text/markdown"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "text/markdown" in output.get("data", {})
    )
    return report


def printed_by(cell):
    return "".join(output.get("text", "") for output in cell.get("outputs", ()))
