"""Published benchmark data and judgments that the tests of the evaluations compare with, where they are found.

They are no part of this repository because their licenses (CC BY-NC, or none) keep them out. The directory is the one
that the environment variable `LANGCHAIN_MOA_EVAL_FIXTURES` names, else `shared/data/evals` beside the repository.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

_DIRECTORY = Path(
    os.environ.get("LANGCHAIN_MOA_EVAL_FIXTURES") or Path(__file__).parents[2] / "shared" / "data" / "evals"
)
FIXTURES: Path | None = _DIRECTORY if _DIRECTORY.is_dir() else None
"""Holds a folder per benchmark."""

needs_fixtures = pytest.mark.skipif(
    FIXTURES is None, reason="the evaluations' fixtures are not here; LANGCHAIN_MOA_EVAL_FIXTURES names their directory"
)


def fixture_path(name: str) -> Path:
    """Return the path of a fixture: `alpaca_eval/oracle_lc.json`."""
    assert FIXTURES is not None, "mark the test with `needs_fixtures`"
    return FIXTURES / name


def read_text(name: str) -> str:
    """Return what a fixture says, unpacked if its name ends in `.gz`."""
    content = fixture_path(name).read_bytes()
    return (gzip.decompress(content) if name.endswith(".gz") else content).decode()


def read_json(name: str) -> Any:
    """Return what a JSON fixture holds."""
    return json.loads(read_text(name))


def read_jsonl(name: str) -> list[Any]:
    """Return the rows of a JSON Lines fixture."""
    return [json.loads(line) for line in read_text(name).split("\n") if line.strip()]


def read_csv(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV fixture."""
    return list(csv.DictReader(io.StringIO(read_text(name), newline="")))
