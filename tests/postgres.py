"""A PostgreSQL server of its own for tests, on a Unix socket in a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def find_postgres() -> Path | None:
    """Return the directory of PostgreSQL's programs; Debian keeps them out of the path."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in versions), key=lambda bin: float(bin.parent.name), default=None)


@contextmanager
def postgres_server(programs: Path) -> Iterator[str]:
    """Start a server with an empty database, and stop it in the end.

    Yields:
        The address for `psycopg.connect`.
    """
    # PostgreSQL refuses to run as root. Its directory is not pytest's, which nobody else may enter, and a socket's path
    # must be short.
    owner = "postgres" if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="moa-pg-"))
    if owner:
        shutil.chown(directory, owner)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(directory / "data"), *arguments]
        # Not a pipe: the server would inherit it, and hold it open.
        with (directory / "log").open("a") as log:
            done = subprocess.run(command, user=owner, group=owner, cwd=directory, stdout=log, stderr=log, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{(directory / 'log').read_text()}")

    try:
        run("initdb", "--no-sync", "--auth=trust", "--username=moa", "--encoding=UTF8", "--locale=C")
        run("pg_ctl", "start", "-w", "-o", f"-F -c listen_addresses='' -c unix_socket_directories='{directory}'")
        try:
            yield f"postgresql:///postgres?host={directory}&user=moa"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(directory)
