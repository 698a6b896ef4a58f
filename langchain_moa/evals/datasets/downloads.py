"""Benchmark files that are downloaded once from a pinned URL, verified, and cached."""

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
"""Environment variable with a directory to read the files from instead of downloading them."""

_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A published file at a fixed revision."""

    name: str
    """Relative path in the cache and in the user's directory: `<benchmark>/<file>`."""

    url: str
    """Download URL, pinned to a commit."""

    sha256: str
    """SHA-256 of the uncompressed content."""


def fetch(file: DataFile) -> Path:
    """Return the path of a file, downloading it if necessary.

    If `LANGCHAIN_MOA_EVAL_DATA` is set, the file is read from that directory (as `<file>` or `<file>.gz`) and nothing
    is downloaded. Otherwise it is cached in `~/.cache/langchain-moa/evals`, or below `XDG_CACHE_HOME`.

    Returns:
        The path of a file for `read_text`, whose checksum was verified.

    Raises:
        DatasetError: The file is missing from the directory, can't be downloaded, or has the wrong checksum.
    """
    named = os.environ.get(DIRECTORY)
    path = _find(Path(named).expanduser(), file) if named else _cache() / file.name
    if not path.is_file():
        _download(file, path)
    elif (found := _sha256(_read(path))) != file.sha256:
        whose = "replace it with the published file" if named else "delete it, and it is downloaded again"
        raise DatasetError(f"Wrong checksum: sha256 is {found}, expected {file.sha256}; {whose}", path=path)
    return path


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, decompressed if its name ends in `.gz`.

    Raises:
        DatasetError: The file is missing or not valid UTF-8.
    """
    try:
        return _read(path).decode()
    except UnicodeDecodeError as error:
        raise DatasetError(f"The file is not UTF-8 text: {error}", path=path) from error


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"The file can't be read: {getattr(error, 'strerror', None) or error}", path=path) from error


def _find(directory: Path, file: DataFile) -> Path:
    plain = directory / file.name
    packed = plain.with_name(f"{plain.name}.gz")
    for path in (plain, packed):
        if path.is_file():
            return path
    raise DatasetError(f"The file does not exist (nor with .gz); download it from {file.url}", path=plain)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "langchain-moa" / "evals"


def _download(file: DataFile, path: Path) -> None:
    import httpx

    offline = f"download it elsewhere, save it as {file.name} in a directory, and set {DIRECTORY} to that directory"
    try:
        response = httpx.get(file.url, follow_redirects=True, timeout=_TIMEOUT).raise_for_status()
    except httpx.HTTPError as error:
        raise DatasetError(f"Could not download {file.url}: {error}; {offline}", path=path) from error
    if (found := _sha256(response.content)) != file.sha256:
        msg = f"Wrong checksum: sha256 of {file.url} is {found}, expected {file.sha256}; {offline}"
        raise DatasetError(msg, path=path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target: a move is atomic only within one file system.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder) / path.name
            part.write_bytes(response.content)
            part.replace(path)
    except OSError as error:
        raise DatasetError(f"The file can't be saved: {error}; {offline}", path=path) from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
