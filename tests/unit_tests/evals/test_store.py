import json
import subprocess
import sys

import pytest

from langchain_moa.evals.results.journal import Journal
from langchain_moa.evals.results.store import Store, stored_systems
from langchain_moa.evals.running.generate_answers import generate_answers
from langchain_moa.evals.systems import System
from langchain_moa.exceptions import DatasetError
from tests.fakes import ScriptedChatModel
from tests.unit_tests.evals.quiz import Quiz


def journal(path):
    return Journal(path, identity=lambda row: row["id"])


def test_a_row_is_in_the_file_as_soon_as_it_is_appended(tmp_path):
    with journal(tmp_path / "new" / "a.jsonl") as file:
        file.append({"id": 1, "text": "line\nbreak\u2028 Grüße \ud83d"})
        (row,) = journal(tmp_path / "new" / "a.jsonl").rows
    assert row == {"id": 1, "text": "line\nbreak\u2028 Grüße \ud83d"}


@pytest.mark.parametrize("cut_off", [b'{"id": 2, "te', b'{"id": 2}', "Grü".encode()[:-1]])
def test_a_last_line_that_was_cut_off_is_dropped_and_the_next_row_stands_alone(tmp_path, cut_off):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n' + cut_off)
    with journal(path) as file:
        assert file.rows == [{"id": 1}]
        file.append({"id": 3})
    assert path.read_bytes() == b'{"id": 1}\n{"id": 3}\n'


def test_of_two_rows_about_one_item_the_later_counts(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "error": "busy"}\n{"id": 1}\n')
    assert journal(path).rows == [{"id": 1}]


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b"", b"\xff\x00", b'{"id": []}'])
def test_a_damaged_line_is_named_left_out_and_moved_beside_the_file(tmp_path, line, caplog):
    path = tmp_path / "a.jsonl"
    before = b'{"id": 1}\n' + line + b'\n{"id": 3}\n'
    path.write_bytes(before)
    file = journal(path)
    assert file.rows == [{"id": 1}, {"id": 3}]
    assert f"{str(path)!r}, line 2 is damaged (" in caplog.text
    assert path.read_bytes() == before  # another process may be writing to it
    with file:
        file.append({"id": 4})
    assert path.read_bytes() == b'{"id": 1}\n{"id": 3}\n{"id": 4}\n'
    assert (tmp_path / "a.jsonl.damaged").read_bytes() == line + b"\n"


def test_a_rewritten_file_is_whole_and_leaves_nothing_beside_it(tmp_path):
    file = journal(tmp_path / "a.jsonl")
    file.rewrite([{"id": 2}, {"id": 1}])
    assert (tmp_path / "a.jsonl").read_text() == '{"id": 2}\n{"id": 1}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "-x", "Ünï", "a b"])
def test_a_name_that_is_no_folders_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="is not a valid file name"):
        Store(tmp_path, benchmark="quiz", system=name)


LOCKED = """
import sys
from pathlib import Path
from langchain_moa.evals.results.store import Store
with Store(Path(sys.argv[1]), benchmark="quiz", system="a").locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


async def test_two_processes_do_not_work_in_one_folder_and_a_killed_one_leaves_it_free(tmp_path):
    store, system = Store(tmp_path, benchmark="quiz", system="a"), System.of("a", ScriptedChatModel())
    command = [sys.executable, "-c", LOCKED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(ValueError, match=r"Another process is using '.*quiz/a'"):
            await generate_answers(Quiz(), system, store)
        other.kill()
    assert len(await generate_answers(Quiz(), system, store)) == 3


async def test_a_finished_run_changes_no_file(tmp_path):
    store, system = Store(tmp_path, benchmark="quiz", system="a"), System.of("a", ScriptedChatModel())
    await generate_answers(Quiz(), system, store)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.path.iterdir()}
    await generate_answers(Quiz(), system, store)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.path.iterdir()} == before


async def test_answers_come_back_as_they_were(tmp_path):
    store = Store(tmp_path, benchmark="quiz", system="a")
    answers = await generate_answers(Quiz(), System.of("a", ScriptedChatModel()), store)
    assert store.answers() == answers
    assert stored_systems(tmp_path, "quiz") == ["a"]


@pytest.mark.parametrize(
    "line", [{"question": "q1"}, {"question": "q1", "system": "a", "texts": [5]}, {"question": 1, "system": "a"}]
)
async def test_the_answer_of_a_line_of_another_format_is_asked_for_again(tmp_path, line, caplog):
    store = Store(tmp_path, benchmark="quiz", system="a")
    answers = await generate_answers(Quiz(), System.of("a", ScriptedChatModel()), store)
    path = store.path / "outputs.jsonl"
    _, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(line), *others, ""]))
    assert [answer.question for answer in store.answers()] == ["q2", "q3"]
    model = ScriptedChatModel()
    again = await generate_answers(Quiz(), System.of("a", model), store)
    assert len(model.seen) == 1
    assert [answer.texts for answer in again] == [answer.texts for answer in answers]
    assert (store.path / "outputs.jsonl.damaged").read_text() == f"{json.dumps(line)}\n"
    assert "is damaged" in caplog.text


def test_a_folder_that_is_no_systems_is_passed_over(tmp_path):
    for name in ("a b", "a"):
        (tmp_path / "quiz" / name).mkdir(parents=True)
        (tmp_path / "quiz" / name / "outputs.jsonl").write_text("")
    assert stored_systems(tmp_path, "quiz") == ["a"]


def test_a_manifest_of_another_version_is_refused(tmp_path):
    store = Store(tmp_path, benchmark="quiz", system="a")
    store.path.mkdir(parents=True)
    (store.path / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(DatasetError, match="the manifest is damaged or from another version"):
        store.manifest()
