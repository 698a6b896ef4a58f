"""The benchmarks' own files: fetched once from a pinned address, checked, and kept in a cache."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from langchain_moa.exceptions import DatasetError

DIRECTORY = "LANGCHAIN_MOA_EVAL_DATA"
"""The environment variable that names a directory to take the files from; nothing is fetched then."""

_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file that someone else published, as it was on a certain day."""

    name: str
    """Its place in the cache and in the user's directory: `<benchmark>/<file>`."""

    url: str
    """Where it was published: an address that names a commit."""

    sha256: str
    """Of its content, unpacked."""


def fetch(file: DataFile) -> Path:
    """Return where a file is, after fetching it if it is not there yet.

    The places are the directory that `LANGCHAIN_MOA_EVAL_DATA` names, where a packed `<file>.gz` will do as well, or
    else the cache: `~/.cache/langchain-moa/evals`, or the same below `XDG_CACHE_HOME`.

    Returns:
        A file for `read_text`, with the published content.

    Raises:
        DatasetError: The named directory doesn't hold it, it can't be fetched, or its content is not the published one.
    """
    named = os.environ.get(DIRECTORY)
    path = _find(Path(named).expanduser(), file) if named else _cache() / file.name
    if not path.is_file():
        _download(file, path)
    elif (found := _sha256(_read(path))) != file.sha256:
        whose = "put the published file in its place" if named else "delete it, and it is fetched again"
        raise DatasetError(f"Its sha256 is {found}, not the published file's {file.sha256}; {whose}", path=path)
    return path


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, unpacked if its name ends in `.gz`.

    Raises:
        DatasetError: It is missing, or not such a file.
    """
    try:
        return _read(path).decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"It is not UTF-8 text: {error}", path=path) from error


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"It can't be read: {getattr(error, 'strerror', None) or error}", path=path) from error


def _find(directory: Path, file: DataFile) -> Path:
    plain = directory / file.name
    packed = plain.with_name(f"{plain.name}.gz")
    for path in (plain, packed):
        if path.is_file():
            return path
    raise DatasetError(f"There is no such file (nor a packed one); download it from {file.url}", path=plain)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "langchain-moa" / "evals"


def _download(file: DataFile, path: Path) -> None:
    import httpx

    offline = f"download it elsewhere, save it as {file.name} in a directory and name that in {DIRECTORY}"
    try:
        response = httpx.get(file.url, follow_redirects=True, timeout=_TIMEOUT).raise_for_status()
    except httpx.HTTPError as error:
        raise DatasetError(f"Could not fetch {file.url}: {error}; {offline}", path=path) from error
    if (found := _sha256(response.content)) != file.sha256:
        msg = f"What {file.url} sent has the sha256 {found}, not the published file's {file.sha256}; {offline}"
        raise DatasetError(msg, path=path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target: a move is atomic only within one file system.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder) / path.name
            part.write_bytes(response.content)
            part.replace(path)
    except OSError as error:
        raise DatasetError(f"It can't be kept: {error}; {offline}", path=path) from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
