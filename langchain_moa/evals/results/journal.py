"""A file of finished items, one line each, that a killed program can take up again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from langchain_moa.exceptions import DatasetError

Row = dict[str, Any]


class Journal:
    """JSON lines, one per item. Each is on disk before the next begins; of two about one item the later counts."""

    def __init__(self, path: Path, *, identity: Callable[[Row], Hashable]) -> None:
        """Read what is there.

        Args:
            path: The file; it need not exist.
            identity: From a row to the item that it is about.

        Raises:
            DatasetError: A line, other than a last one that was cut off, is no JSON object.
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
        """The rows, in the order in which they came."""
        return list(self._rows.values())

    def __enter__(self) -> Self:
        """Open the file for more rows. A last line that a kill cut off is dropped."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        if self._file.tell() > self._whole_bytes:
            self._file.truncate(self._whole_bytes)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, row: Row) -> None:
        """Add a row and hand it to the operating system, so that a kill can't take it back."""
        self._rows[self._identity(row)] = row
        self._file.write(_line(row))
        self._file.flush()

    def rewrite(self, rows: Iterable[Row]) -> None:
        """Put `rows` in place of all there is: either happens as a whole, or not at all."""
        self._rows = {self._identity(row): row for row in rows}
        write_whole(self._path, b"".join(map(_line, self._rows.values())))

    def _lines(self) -> list[bytes]:
        content = self._path.read_bytes() if self._path.exists() else b""
        whole, end, _cut_off = content.rpartition(b"\n")
        self._whole_bytes = len(whole + end)
        return whole.split(b"\n") if whole else []


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever finds a part of it."""
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
        msg = f"this line is no JSON ({error}): mend or delete it."
        raise DatasetError(msg, path=path, line=number) from None
    if not isinstance(row, dict):
        msg = f"expected a JSON object, got {row!r:.50}: mend or delete the line."
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
