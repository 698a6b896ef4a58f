"""An append-only JSON Lines file that survives a killed process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from langchain_moa.exceptions import DatasetError

Row = dict[str, Any]


class Journal:
    """JSON Lines, one row per item, flushed row by row. If an item has several rows, the last one counts."""

    def __init__(self, path: Path, *, identity: Callable[[Row], Hashable]) -> None:
        """Read the existing rows.

        Args:
            path: The file; it need not exist.
            identity: Returns the key of the item that a row is about.

        Raises:
            DatasetError: A line is not a JSON object. An incomplete last line is ignored.
        """
        self._path = path
        self._identity = identity
        self._rows: dict[Hashable, Row] = {}
        self._whole_bytes = 0
        for number, line in enumerate(self._lines(), 1):
            row = _parse(line, path, number)
            self._rows[_identify(row, identity, path, number)] = row

    @property
    def rows(self) -> list[Row]:
        """The rows, in the order in which they were added."""
        return list(self._rows.values())

    def __enter__(self) -> Self:
        """Open the file for appending. An incomplete last line is removed."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        if self._file.tell() > self._whole_bytes:
            self._file.truncate(self._whole_bytes)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, row: Row) -> None:
        """Append a row and flush it to the operating system, so that it survives a killed process."""
        self._rows[self._identity(row)] = row
        self._file.write(_line(row))
        self._file.flush()

    def rewrite(self, rows: Iterable[Row]) -> None:
        """Replace all rows atomically."""
        self._rows = {self._identity(row): row for row in rows}
        write_whole(self._path, b"".join(map(_line, self._rows.values())))

    def _lines(self) -> list[bytes]:
        content = self._path.read_bytes() if self._path.exists() else b""
        whole, end, _cut_off = content.rpartition(b"\n")
        self._whole_bytes = len(whole + end)
        return whole.split(b"\n") if whole else []


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    os.replace(new, path)


def _parse(line: bytes, path: Path, number: int) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        msg = f"the line is not valid JSON ({error}): fix or delete it."
        raise DatasetError(msg, path=path, line=number) from None
    if not isinstance(row, dict):
        msg = f"expected a JSON object, got {row!r:.50}: fix or delete the line."
        raise DatasetError(msg, path=path, line=number)
    return row


def _identify(row: Row, identity: Callable[[Row], Hashable], path: Path, number: int) -> Hashable:
    try:
        return identity(row)
    except KeyError as error:
        msg = f"the field {error} is missing: delete the line."
        raise DatasetError(msg, path=path, line=number) from None


def _line(row: Row) -> bytes:
    # Half an emoji, which some tokenizers send, is no UTF-8: `backslashreplace` makes of it JSON's own escape.
    text = json.dumps(row, ensure_ascii=False, default=_plain)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
