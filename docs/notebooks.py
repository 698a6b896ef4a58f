"""Runs the notebooks in examples/ and keeps what they show.

The cookbook's models are a server on loopback that replays the answers which Together recorded: it has retired some of
them. The other notebook's is the local model. From the root of the repository:

    uv run --extra all --group weights python -m docs.notebooks
"""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.cookbook import replay
from tests.openai_server import OpenAIServer

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> None:
    """Run all notebooks."""
    with OpenAIServer(replay) as server:
        os.environ.update(TOGETHER_API_KEY="unused", TOGETHER_API_BASE=server.url)
        for path in sorted(EXAMPLES.glob("*.ipynb")):
            notebook = nbformat.read(path, as_version=4)
            NotebookClient(notebook, timeout=600, record_timing=False, coalesce_streams=True).execute()
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
