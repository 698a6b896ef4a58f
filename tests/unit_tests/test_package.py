"""The package as a whole: its public names, what importing it costs, and who imports whom."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import langchain_moa
from langchain_moa import evals

PACKAGE = Path(langchain_moa.__file__).parent
EXTRAS = (
    "typer",
    "rich",
    "prompt_toolkit",
    "xllamacpp",
    "numpy",
    "scipy",
    "statsmodels",
    "sklearn",
    "plotly",
    "langdetect",
    "nltk",
    "punkt",
    "starlette",
    "uvicorn",
    "prometheus_client",
    "langchain",
    "genai_prices",
)


@pytest.mark.parametrize("module", [langchain_moa, evals], ids=lambda module: module.__name__)
def test_the_public_names_are_there(module):
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_public_names_are_sorted():
    assert langchain_moa.__all__ == sorted(langchain_moa.__all__)


def test_the_version_is_the_packages():
    assert langchain_moa.__version__ == version("langchain-moa")


def loaded_by(statement):
    """Return the names of the packages that an import loads."""
    code = f"import sys, {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_it_loads_no_extra_and_no_provider():
    base = loaded_by("langchain_core.language_models, langgraph.graph, pydantic")
    assert not {*EXTRAS, "langchain_together", "openai"} & (loaded_by("langchain_moa") - base)


def test_importing_the_evaluations_and_answering_loads_no_statistics():
    loaded = loaded_by(
        "langchain_moa.evals, langchain_moa.evals.benchmarks.loading, langchain_moa.evals.running.generate_answers"
    )
    assert not {"numpy", "scipy", "statsmodels", "pandas", "sklearn", "plotly"} & loaded


def imports_of(module):
    """Return the names of our modules that a module imports, anywhere in it."""
    tree = ast.parse(module.read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {node.module for node in nodes if node.module.startswith("langchain_moa")}


# From the ground up: a module or folder may import from its own tier's name and from those before it.
TIERS = (
    "exceptions",
    "display",
    "prices",
    "_messages",
    "answer_keys",
    "proposers",
    "lineups",
    "options",
    "_runtime",
    "state",
    "local",
    "_models",
    "_aggregation",
    "_nodes",
    "graph",
    "chat_models",
    "gates",
    "registration",
    "middleware",
)


EVALS = sorted((PACKAGE / "evals").rglob("*.py"))


@pytest.mark.parametrize("module", EVALS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_evaluations_know_of_no_mixture(module):
    outside = {name for name in imports_of(module) if not name.startswith("langchain_moa.evals")}
    assert outside <= {"langchain_moa.answer_keys", "langchain_moa.exceptions", "langchain_moa.prices"}


@pytest.mark.parametrize("tier", TIERS)
def test_imports_point_to_the_ground(tier):
    allowed = {f"langchain_moa.{name}" for name in TIERS[: TIERS.index(tier) + 1]}
    files = sorted((PACKAGE / tier).rglob("*.py")) or [PACKAGE / f"{tier}.py"]
    imported = {".".join(name.split(".")[:2]) for path in files for name in imports_of(path)}
    assert imported <= allowed


def test_nothing_imports_the_command_line():
    own = (PACKAGE / "cli", PACKAGE / "__main__.py")
    outside = [path for path in PACKAGE.rglob("*.py") if not {path, *path.parents} & set(own)]
    assert not any(name.startswith("langchain_moa.cli") for path in outside for name in imports_of(path))


# Folder by folder, from the ground up: each may import from those before it, and from the modules beside the folders.
FLOORS = {
    "evals": ("datasets", "statistics", "results", "graders", "benchmarks", "running", "report"),
    "cli": ("terminal", "evaluation", "commands"),
    "server": ("middleware", "page", "responses_api"),
}


@pytest.mark.parametrize(("package", "folder"), [(name, folder) for name in FLOORS for folder in FLOORS[name]])
def test_folders_import_only_from_the_floors_below(package, folder):
    above = FLOORS[package][FLOORS[package].index(folder) + 1 :]
    imported = {name for path in (PACKAGE / package / folder).rglob("*.py") for name in imports_of(path)}
    assert not {name for name in imported if name.startswith(tuple(f"langchain_moa.{package}.{one}" for one in above))}


def test_every_folder_has_a_floor():
    for package, floors in FLOORS.items():
        folders = {path.parent.name for path in (PACKAGE / package).glob("*/__init__.py")}
        assert folders == set(floors)


def test_the_server_knows_no_evaluations():
    imported = {name for path in (PACKAGE / "server").rglob("*.py") for name in imports_of(path)}
    assert not any(name.startswith("langchain_moa.evals") for name in imported)
