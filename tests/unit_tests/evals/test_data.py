"""Where the benchmarks' files come from."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from langchain_moa.evals.datasets.downloads import DIRECTORY, DataFile, fetch, read_text
from langchain_moa.exceptions import DatasetError

CONTENT = '{"question": "Grüß dich!"}\n'.encode()


@pytest.fixture
def publisher():
    """Serve `published`, behind a redirect as Hugging Face does, and record what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.requests.append(self.path)
            if self.path == "/file":
                self.send_response(302)
                self.send_header("Location", "/elsewhere")
            else:
                self.send_response(200 if self.path == "/elsewhere" else 404)
            self.end_headers()
            if self.path == "/elsewhere":
                self.wfile.write(server.published)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.published, server.requests = CONTENT, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.delenv(DIRECTORY, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "langchain-moa" / "evals"


@pytest.fixture
def directory(monkeypatch, tmp_path, cache):
    monkeypatch.setenv(DIRECTORY, str(tmp_path / "mine"))
    (tmp_path / "mine" / "quiz").mkdir(parents=True)
    return tmp_path / "mine"


def published_at(publisher, path="/file"):
    return DataFile(name="quiz/q.json", url=publisher.url + path, sha256=hashlib.sha256(CONTENT).hexdigest())


def test_a_file_is_fetched_once_and_kept(publisher, cache):
    path = fetch(published_at(publisher))
    assert path == cache / "quiz" / "q.json"
    assert read_text(path) == CONTENT.decode()
    assert fetch(published_at(publisher)) == path
    assert publisher.requests == ["/file", "/elsewhere"]
    assert list(path.parent.iterdir()) == [path]


def test_another_content_than_the_published_one_is_refused_and_not_kept(publisher, cache):
    publisher.published = b"an error page"
    with pytest.raises(DatasetError, match="Wrong checksum"):
        fetch(published_at(publisher))
    assert not cache.exists()


def test_a_file_that_changed_in_the_cache_is_refused(publisher, cache):
    path = fetch(published_at(publisher))
    path.write_bytes(CONTENT[:-5])
    with pytest.raises(DatasetError, match="delete it, and it is downloaded again") as raised:
        fetch(published_at(publisher))
    assert raised.value.path == path


@pytest.mark.parametrize("path", ["/gone", None])
def test_who_can_not_fetch_is_told_what_to_do(publisher, cache, path):
    file = (
        published_at(publisher, path) if path else DataFile(name="quiz/q.json", url="http://localhost:1/f", sha256="")
    )
    with pytest.raises(DatasetError) as raised:
        fetch(file)
    assert file.url in str(raised.value)
    assert f"save it as quiz/q.json in a directory, and set {DIRECTORY} to that directory" in str(raised.value)


def test_a_cache_that_can_not_be_written_is_named(publisher, cache, tmp_path):
    (tmp_path / "langchain-moa").write_text("in the way")
    with pytest.raises(DatasetError, match="The file can't be saved") as raised:
        fetch(published_at(publisher))
    assert raised.value.path == cache / "quiz" / "q.json"


@pytest.mark.parametrize(("name", "content"), [("q.json", CONTENT), ("q.json.gz", gzip.compress(CONTENT, mtime=0))])
def test_a_directory_of_ones_own_is_read_plain_or_packed_and_nothing_is_fetched(publisher, directory, name, content):
    (directory / "quiz" / name).write_bytes(content)
    path = fetch(published_at(publisher))
    assert path == directory / "quiz" / name
    assert read_text(path) == CONTENT.decode()
    assert publisher.requests == []


def test_a_file_missing_from_ones_own_directory_is_not_fetched_either(publisher, directory):
    with pytest.raises(DatasetError, match="The file does not exist") as raised:
        fetch(published_at(publisher))
    assert publisher.url in str(raised.value)
    assert publisher.requests == []


def test_another_file_in_ones_own_directory_is_refused(publisher, directory):
    (directory / "quiz" / "q.json").write_bytes(b"[]")
    with pytest.raises(DatasetError, match="replace it with the published file"):
        fetch(published_at(publisher))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.json", None),
        ("latin.json", "Gr\u00fc\u00dfe".encode("latin-1")),
        ("not_packed.json.gz", CONTENT),
        ("cut_off.json.gz", gzip.compress(CONTENT, mtime=0)[:-9]),
        ("damaged.json.gz", gzip.compress(CONTENT, mtime=0)[:12] + bytes(20)),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=name):
        read_text(tmp_path / name)
