"""Read and write JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from langchain_moa.evals.datasets.downloads import read_text
from langchain_moa.exceptions import DatasetError

Row = TypeVar("Row")


def read_rows(path: Path, row: type[Row]) -> list[tuple[int, Row]]:
    """Read a JSON Lines file.

    Args:
        path: The file, decompressed if its name ends in `.gz`. Blank lines are skipped.
        row: The type of a row, such as a `TypedDict`. Unknown keys are dropped.

    Returns:
        Pairs of line number (from 1) and row.

    Raises:
        DatasetError: The file can't be read, or a line does not have this type.
    """
    adapter = TypeAdapter(row)
    lines = read_text(path).removeprefix("\ufeff").split("\n")
    return [(number, _read(adapter, line, path, number)) for number, line in enumerate(lines, 1) if line.strip()]


def _read(adapter: TypeAdapter[Row], line: str, path: Path, number: int) -> Row:
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DatasetError(f"{f'{place!r}: ' if place else ''}{first['msg']}", path=path, line=number) from error


def write_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of a JSON Lines file."""
    return "".join(f"{json.dumps(row)}\n" for row in rows)
