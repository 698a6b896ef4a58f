"""In a notebook an event loop is running already, and sync calls work all the same."""

from __future__ import annotations

import pytest

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
