"""The folder of one system on one benchmark, `OUT/<benchmark>/<system>`: answers, judgments, and what made them."""

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
    """What is kept of one system on one benchmark.

    `outputs.jsonl` holds the answers, `judgments-<judge>.jsonl` a judge's judgments, `manifest.json` what they were
    made with.
    """

    def __init__(self, out: Path, *, benchmark: str, system: str) -> None:
        """Name the folder.

        Args:
            out: The folder of an evaluation.
            benchmark: A benchmark's name.
            system: A system's name.

        Raises:
            ValueError: A name can't be the name of a folder.
        """
        self.path = out / _checked(benchmark) / _checked(system)
        self.system = system

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; the system lets go of the lock when this one ends, however it ends.

        Raises:
            ValueError: Another process works in the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+b") as file:
            try:
                _lock(file.fileno())
            except OSError:
                msg = f"Another process works in {str(self.path)!r}: wait for it, or choose another --out."
                raise ValueError(msg) from None
            yield

    # -- Reading -----------------------------------------------------------------------------------------------------

    def answers(self) -> list[Answer]:
        """Return the answers, failed ones too.

        Raises:
            DatasetError: The file is damaged.
        """
        return self.to_answers(self.output_journal().rows)

    def judgments(self, judge: str) -> list[Judgment]:
        """Return a judge's judgments, failed ones too.

        Raises:
            DatasetError: The file is damaged.
        """
        return self.to_judgments(self.judgment_journal(judge).rows, judge)

    def to_answers(self, rows: Sequence[Row]) -> list[Answer]:
        """Return the answers in lines of the file of answers.

        Raises:
            DatasetError: A line is of another format.
        """
        return [_item_of(Answer, row, self._outputs) for row in rows]

    def to_judgments(self, rows: Sequence[Row], judge: str) -> list[Judgment]:
        """Return the judgments in lines of a judge's file.

        Raises:
            DatasetError: A line is of another format.
        """
        return [_item_of(Judgment, row, self._judgments(judge)) for row in rows]

    def judges(self) -> list[str]:
        """Return the names of the judges that there are judgments of."""
        files = self.path.glob("judgments-*.jsonl")
        return sorted(file.stem.removeprefix("judgments-") for file in files)

    def output_journal(self) -> Journal:
        """Return the file of answers."""
        return Journal(self._outputs, identity=lambda row: row["question"])

    def judgment_journal(self, judge: str) -> Journal:
        """Return the file of a judge's judgments."""
        return Journal(self._judgments(judge), identity=lambda row: (row["question"], row["part"]))

    # -- What made them ----------------------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """Return what the files were made with.

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
            msg = "this is no manifest that this version can read: choose another --out."
            raise DatasetError(msg, path=path)
        return dict(manifest)

    def claim_outputs(self, made_with: Mapping[str, Mapping[str, str]], *, overwrite: bool) -> None:
        """Say what the answers are made with, or find that it is what made those which are there.

        Args:
            made_with: By field, its `fingerprint` and what a person calls it.
            overwrite: Discard what is there.

        Raises:
            ValueError: Something else made them.
        """
        self._claim("outputs", self._outputs, made_with, overwrite=overwrite)

    def claim_judgments(self, judge: str, made_with: Mapping[str, Mapping[str, str]], *, overwrite: bool) -> None:
        """Say what a judge's judgments are made with. See `claim_outputs`."""
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
    def _outputs(self) -> Path:
        return self.path / "outputs.jsonl"

    def _judgments(self, judge: str) -> Path:
        return self.path / f"judgments-{_checked(judge)}.jsonl"


def stored_systems(out: Path, benchmark: str) -> list[str]:
    """Return the names of the systems that have answers to a benchmark."""
    return sorted(file.parent.name for file in (out / benchmark).glob("*/outputs.jsonl"))


def in_order(rows: Sequence[Row], benchmark: Benchmark) -> list[Row]:
    """Return rows in the benchmark's order, whatever order they came in; those of questions it lacks come last."""
    place = {question.id: number for number, question in enumerate(benchmark.questions)}
    return sorted(rows, key=lambda row: (place.get(row["question"], len(place)), row["question"], row.get("part", "")))


def row_of(item: Answer | Judgment, **more: Any) -> Row:
    """Return an item as a line holds it, with `more` in front."""
    return {**more, **{field.name: getattr(item, field.name) for field in fields(item)}}


def _checked(name: str) -> str:
    if not _SAFE_NAME.fullmatch(name):
        msg = (
            f"{name!r} can't name a file: use letters, digits, '.', '-', '+' and '_', and begin with one of the first."
        )
        raise ValueError(msg)
    return name


def _item_of(kind: type[_Item], row: Row, path: Path) -> _Item:
    known = {field.name: row[field.name] for field in fields(kind) if field.name in row}
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
    try:
        return kind(**values)
    except TypeError as error:
        msg = f"the line of question {row.get('question')!r} is no {kind.__name__.lower()} ({error})."
        raise DatasetError(msg, path=path) from None


def _check_same(field: str, before: Mapping[str, str], now: Mapping[str, str], path: Path) -> None:
    if before == now:
        return
    # A hash tells a reader nothing but that it is another.
    parts = [part for part in dict.fromkeys([*before, *now]) if part != "fingerprint"]
    changes = [f"{part} {before.get(part)!r:.80} -> {now.get(part)!r:.80}" for part in parts]
    differs = [change for part, change in zip(parts, changes, strict=True) if before.get(part) != now.get(part)]
    how = "; ".join(differs) or f"{'; '.join(f'{part} {now.get(part)!r:.80}' for part in parts)}, configured otherwise"
    msg = (
        f"{str(path)!r} was made with another {field} ({how}): choose another --out or name, or discard what is there "
        "with --overwrite."
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
