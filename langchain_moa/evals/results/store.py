"""The results folder of one system on one benchmark, `OUT/<benchmark>/<system>`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from langchain_moa.evals.results.journal import Journal, Row, write_whole
from langchain_moa.evals.types import Answer, Benchmark, Judgment
from langchain_moa.exceptions import DatasetError

_SAFE_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)
_FORMAT = 1

_Item = TypeVar("_Item", Answer, Judgment)


class Store:
    """The stored results of one system on one benchmark.

    `outputs.jsonl` contains the answers, `judgments-<judge>.jsonl` the judgments of one judge, and `manifest.json`
    which system and judges produced them.
    """

    def __init__(self, out: Path, *, benchmark: str, system: str) -> None:
        """Locate the folder; it is created when something is stored.

        Args:
            out: The folder of the evaluation.
            benchmark: Name of the benchmark.
            system: Name of the system.

        Raises:
            ValueError: A name is not valid as a folder name.
        """
        self.path = out / _checked(benchmark) / _checked(system)
        self.system = system

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other processes. The operating system releases the lock if this process dies.

        Raises:
            ValueError: Another process holds the lock.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+b") as file:
            try:
                _lock(file.fileno())
            except OSError:
                msg = f"Another process is using {str(self.path)!r}: wait for it, or choose another --out."
                raise ValueError(msg) from None
            yield

    # -- Reading -----------------------------------------------------------------------------------------------------

    def answers(self) -> list[Answer]:
        """Return the answers, including failed ones."""
        return self.to_answers(self.output_journal().rows)

    def judgments(self, judge: str) -> list[Judgment]:
        """Return a judge's judgments, including failed ones."""
        return self.to_judgments(self.judgment_journal(judge).rows, judge)

    def to_answers(self, rows: Sequence[Row]) -> list[Answer]:
        """Convert rows of the answers file to answers."""
        return [_item_of(Answer, row) for row in rows]

    def to_judgments(self, rows: Sequence[Row], judge: str) -> list[Judgment]:
        """Convert rows of a judge's file to judgments."""
        return [_item_of(Judgment, row) for row in rows]

    def judges(self) -> list[str]:
        """Return the names of the judges with stored judgments."""
        names = [file.stem.removeprefix("judgments-") for file in self.path.glob("judgments-*.jsonl")]
        return sorted(filter(_SAFE_NAME.fullmatch, names))

    def output_journal(self) -> Journal:
        """Return the journal of answers."""
        return Journal(self._outputs, identity=lambda row: _item_of(Answer, row).question)

    def judgment_journal(self, judge: str) -> Journal:
        """Return the journal of a judge's judgments."""

        def identity(row: Row) -> tuple[str, str]:
            judgment = _item_of(Judgment, row)
            return judgment.question, row["part"]

        return Journal(self._judgments(judge), identity=identity)

    # -- Provenance --------------------------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """Return the manifest: which system and judges produced the files.

        Raises:
            DatasetError: The file is damaged.
        """
        path = self.path / "manifest.json"
        if not path.exists():
            return {"format": _FORMAT}
        try:
            manifest = json.loads(path.read_bytes())
            known = manifest["format"] == _FORMAT
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            msg = "the manifest is damaged or from another version: choose another --out."
            raise DatasetError(msg, path=path)
        return dict(manifest)

    def claim_outputs(self, made_with: Mapping[str, Mapping[str, str]], *, overwrite: bool) -> None:
        """Record which system produces the answers, and check that stored answers are from the same one.

        Args:
            made_with: By field (`system`), its `fingerprint` and a readable `spec`.
            overwrite: Discard stored answers.

        Raises:
            ValueError: The stored answers are from another system.
        """
        self._claim("outputs", self._outputs, made_with, overwrite=overwrite)

    def claim_judgments(self, judge: str, made_with: Mapping[str, Mapping[str, str]], *, overwrite: bool) -> None:
        """Record which judge produces the judgments. See `claim_outputs`."""
        path = self._judgments(judge)
        self._claim(path.stem, path, made_with, overwrite=overwrite)

    def _claim(self, section: str, path: Path, made_with: Mapping[str, Mapping[str, str]], *, overwrite: bool) -> None:
        manifest = self.manifest()
        before = manifest.get(section, {})
        if overwrite:
            path.unlink(missing_ok=True)
        elif path.exists():
            for field in [*before, *(field for field in made_with if field not in before)]:
                _check_same(field, before.get(field, {}), made_with.get(field, {}), path)
        manifest[section] = made_with
        content = json.dumps(dict(sorted(manifest.items())), ensure_ascii=False, indent=2)
        write_whole(self.path / "manifest.json", f"{content}\n".encode())

    @property
    def calls(self) -> Path:
        """The file of the calls that came back for answers that are not finished."""
        return self.path / "calls.jsonl"

    @property
    def _outputs(self) -> Path:
        return self.path / "outputs.jsonl"

    def _judgments(self, judge: str) -> Path:
        return self.path / f"judgments-{_checked(judge)}.jsonl"


def stored_systems(out: Path, benchmark: str) -> list[str]:
    """Return the names of the systems with stored answers to a benchmark."""
    names = [file.parent.name for file in (out / benchmark).glob("*/outputs.jsonl")]
    return sorted(filter(_SAFE_NAME.fullmatch, names))


def in_order(rows: Sequence[Row], benchmark: Benchmark) -> list[Row]:
    """Sort rows in the benchmark's order; rows of unknown questions come last."""
    place = {question.id: number for number, question in enumerate(benchmark.questions)}
    return sorted(rows, key=lambda row: (place.get(row["question"], len(place)), row["question"], row.get("part", "")))


def row_of(item: Answer | Judgment, **more: Any) -> Row:
    """Convert an answer or judgment to a row, with the fields in `more` first."""
    return {**more, **{field.name: getattr(item, field.name) for field in fields(item)}}


def _checked(name: str) -> str:
    if not _SAFE_NAME.fullmatch(name):
        msg = (
            f"{name!r} is not a valid file name: use letters, digits, '.', '-', '+' and '_', and start with a letter, "
            "a digit or '_'."
        )
        raise ValueError(msg)
    return name


def _item_of(kind: type[_Item], row: Row) -> _Item:
    """Convert a row to an answer or a judgment.

    Raises:
        TypeError: It has another format.
    """
    known = {field.name: row[field.name] for field in fields(kind) if field.name in row}
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
    texts = (values.get("question"), values.get("system"), values.get("reply", ""), *values.get("texts", ()))
    if not all(isinstance(text, str) for text in texts):
        msg = f"it is not a valid {kind.__name__.lower()}"
        raise TypeError(msg)
    return kind(**values)


def _check_same(field: str, before: Mapping[str, str], now: Mapping[str, str], path: Path) -> None:
    if before == now:
        return
    # The fingerprint is left out: a hash tells the reader nothing.
    parts = [part for part in dict.fromkeys([*before, *now]) if part != "fingerprint"]
    changes = [f"{part} {before.get(part)!r:.80} -> {now.get(part)!r:.80}" for part in parts]
    differs = [change for part, change in zip(parts, changes, strict=True) if before.get(part) != now.get(part)]
    how = (
        "; ".join(differs)
        or f"{'; '.join(f'{part} {now.get(part)!r:.80}' for part in parts)}, with another configuration"
    )
    msg = (
        f"{str(path)!r} was made with another {field} ({how}): choose another --out or name, or discard the stored "
        "results with --overwrite."
    )
    raise ValueError(msg)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
