"""An append-only JSON Lines file that survives a killed process."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

from langchain_moa.exceptions import describe

logger = logging.getLogger(__name__)

Row = dict[str, Any]

# Of a damaged line, in a message.
_SHOWN = 60


class Journal:
    """JSON Lines, one row per item, flushed row by row. If an item has several rows, the last one counts.

    Damaged lines are left out with a warning, and moved to a file beside it as soon as the file is written to.
    """

    def __init__(self, path: Path, *, identity: Callable[[Row], Hashable]) -> None:
        """Read the existing rows.

        Args:
            path: The file; it need not exist.
            identity: Returns the key of the item that a row is about. A row for which it raises a `KeyError`,
                `TypeError` or `ValueError` is damaged.
        """
        self._path = path
        self._identity = identity
        self._rows: dict[Hashable, Row] = {}
        self._whole_bytes = 0
        self._damaged: list[bytes] = []
        for number, line in enumerate(self._lines(), 1):
            try:
                row = _parse(line)
                self._rows[identity(row)] = row
            except (KeyError, TypeError, ValueError) as error:
                self._damaged.append(line)
                _warn(path, number, line, describe(error))

    @property
    def rows(self) -> list[Row]:
        """The rows, in the order in which they were added."""
        return list(self._rows.values())

    def __enter__(self) -> Self:
        """Open the file for appending. An incomplete last line is removed."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._damaged:
            self.rewrite(self.rows)
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
        if self._damaged:
            with _quarantine(self._path).open("ab") as file:
                file.writelines(line + b"\n" for line in self._damaged)
            self._damaged = []
        self._rows = {self._identity(row): row for row in rows}
        content = b"".join(map(_line, self._rows.values()))
        write_whole(self._path, content)
        self._whole_bytes = len(content)

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


def _parse(line: bytes) -> Row:
    row = json.loads(line)
    if not isinstance(row, dict):
        msg = "it is no JSON object"
        raise TypeError(msg)
    return row


def _quarantine(path: Path) -> Path:
    """Return where the damaged lines of a file are kept. Its name is none of the names that a store looks for."""
    return path.with_name(f"{path.name}.damaged")


@cache  # a report reads a file several times
def _warn(path: Path, number: int, line: bytes, error: str) -> None:
    shown = line[:_SHOWN].decode("utf-8", "replace")
    logger.warning(
        "%r, line %d is damaged (%s) and left out: %r. It will be in %r after the next write.",
        str(path), number, error, shown, _quarantine(path).name,
    )  # fmt: skip


def _line(row: Row) -> bytes:
    # Half an emoji, which some tokenizers send, is no UTF-8: `backslashreplace` makes of it JSON's own escape.
    text = json.dumps(row, ensure_ascii=False, default=_plain)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
