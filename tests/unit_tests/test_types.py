"""What users write is clean for type checkers."""

import subprocess
import sys
from pathlib import Path

import pytest

SNIPPETS = Path(__file__).parent.parent / "typing" / "snippets.py"


def check(*command):
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=SNIPPETS.parent)


@pytest.mark.parametrize(
    "command",
    [
        # Without the repository's configuration, which has pydantic's plugin.
        ["mypy", "--strict", "--config-file=", "--cache-dir=/dev/null", "--follow-imports=silent"],
        ["pyright", "--pythonpath", sys.executable],
    ],
    ids=lambda command: command[0],
)
def test_snippets_of_users_are_clean(command):
    pytest.importorskip(command[0], reason=f"{command[0]} is not installed")
    result = check(*command, str(SNIPPETS))
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_wrong_option_is_seen(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from langchain_moa import ChatMoA\nChatMoA(rounds='three')\nChatMoA(propsers=[])\n")
    result = check("mypy", "--strict", "--config-file=", "--cache-dir=/dev/null", "--follow-imports=silent", str(wrong))
    assert [line.split(": ")[0].rpartition(":")[2] for line in result.stdout.splitlines()[:-1]] == ["2", "3"]
