"""Everything that the README, the docstrings and the examples show is run."""

import re
import runpy
from contextlib import ExitStack
from pathlib import Path

import pytest

import langchain_moa
from langchain_moa.server.app import create_app
from tests.anthropic_server import AnthropicServer
from tests.local_model import MISSING
from tests.openai_server import OpenAIServer
from tests.standard_model import answer
from tests.unit_tests.server.conftest import running

ROOT = Path(__file__).parents[2]
SNIPPET = re.compile(r"^( *)```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def snippets(path):
    """Return the Python blocks of a file, each with its line."""
    text = path.read_text()
    for found in SNIPPET.finditer(text):
        code = re.sub(rf"^{found[1]}", "", found[2], flags=re.MULTILINE)
        line = text[: found.start()].count("\n") + 1
        yield pytest.param(code, id=f"{path.name}:{line}")


PAGES = sorted((ROOT / "docs/pages").rglob("*.md"))
# The guides to observability are run with the packages that they are about, in `observability/`.
DOCUMENTED = [
    ROOT / "README.md",
    *(page for page in PAGES if page.parent.name != "observability"),
    *sorted(Path(langchain_moa.__file__).parent.rglob("*.py")),
]
SNIPPETS = [snippet for path in DOCUMENTED for snippet in snippets(path)]


def reply(body):
    """Answer as a model that calls the tools it has, one after the other."""
    results = sum(message["role"] == "tool" for message in body["messages"])
    tools = body.get("tools", [])
    if results < len(tools):
        return answer({**body, "messages": body["messages"][:1], "tools": tools[results:]})
    return answer({**body, "tools": []}) if tools else answer(body)


def reply_of_claude(body):
    """Answer as `reply` does."""
    results = str(body["messages"]).count("'tool_result'")
    if results == len(body["tools"]):
        return [{"type": "text", "text": "An umbrella."}]
    tool = body["tools"][results]
    arguments = {name: "rain" for name in tool["input_schema"]["properties"]}
    return [{"type": "tool_use", "id": f"toolu_{results}", "name": tool["name"], "input": arguments}]


@pytest.fixture
def providers(together, monkeypatch):
    """Stand in for Together, OpenAI and Anthropic."""
    server: OpenAIServer = together(reply)
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    with AnthropicServer(reply_of_claude) as anthropic:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", anthropic.url)
        for provider in ("OPENAI", "ANTHROPIC"):
            monkeypatch.setenv(f"{provider}_API_KEY", "test-key")
        yield server


def test_the_readme_has_snippets():
    assert len(SNIPPETS) >= 8


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs(code, providers):
    with ExitStack() as servers:
        if (address := "http://127.0.0.1:8000") in code:
            code = code.replace(address, str(servers.enter_context(running(create_app())).base_url))
        exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})
    assert providers.errors == []


# `cancelled` in quotes is a status, and with a dot a method.
BRITISH = re.compile(
    r"\b(?:behaviour|colour|favour|honour|neighbour|catalogue|licence|judgement|labelled|modelled|travelled|misspelt"
    r"|(?:normal|serial|recogn|organ|summar|optim|initial|custom|general|special|token|parallel|regular)is(?:e[ds]?|ing|ation))"
    r"|(?<![\"'`._\w])cancell(?:ed|ing)\b(?![\"'`(])",
    re.IGNORECASE,
)


def test_words_are_spelled_in_one_way():
    texts = [*DOCUMENTED, *PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "examples").glob("*.*")]
    found = {text.name: BRITISH.findall(text.read_text()) for text in texts}
    assert {name: words for name, words in found.items() if words} == {}


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example, providers, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if example.stem == "local" and MISSING:
        pytest.skip(MISSING)
    runpy.run_path(str(example), run_name="__main__")
    assert providers.errors == []
    assert bool(providers.requests) is (example.stem != "local")
    assert len(capsys.readouterr().out.splitlines()) >= 1


def test_the_line_ups_of_the_reference_are_all_there_are():
    from langchain_moa.lineups import LINEUPS

    reference = (ROOT / "docs/pages/reference/proposers.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", reference, re.MULTILINE) == list(LINEUPS)


def test_every_example_that_a_page_shows_is_there():
    shown = [Path(name) for page in PAGES for name in re.findall(r'--8<-- "(.*?)"', page.read_text())]
    assert len(shown) > 5
    assert all((ROOT / name).is_file() for name in shown)


WRITTEN = [
    *ROOT.glob("*.md"),
    *(page for folder in ("docs/pages", "examples", "tests") for page in (ROOT / folder).rglob("*.md")),
]


def headings(page):
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    return anchors | {anchor.strip("-") for anchor in anchors}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_a_heading_that_are_there(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        # The site has the notebooks of `examples` beside its pages.
        there = ROOT / "examples" / Path(path).name if path.endswith(".ipynb") else page.parent / path
        target = there if path else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link
