.PHONY: help setup format lint type test test-fast test-one test-lowest test-heavy check build

RUN = uv run --extra all --group weights
# Side by side, one process per core; the tests of one file stay together.
SIDE_BY_SIDE = -n auto --dist loadfile

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

setup:  ## Install everything into .venv, and the pre-commit hooks.
	uv sync --all-extras --group dev --group weights
	uvx pre-commit install

format:  ## Format and sort imports.
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

lint:  ## Check the style.
	$(RUN) ruff check .
	$(RUN) ruff format --check .

type:  ## Check the types.
	$(RUN) mypy

test:  ## Run all tests, side by side.
	$(RUN) pytest $(SIDE_BY_SIDE)

test-fast:  ## Run the unit tests, side by side.
	$(RUN) pytest $(SIDE_BY_SIDE) tests/unit_tests

test-one:  ## Run one file or test: make test-one TEST=tests/unit_tests/test_graph.py
	@test -n "$(TEST)" || { echo "Say which: make test-one TEST=tests/unit_tests/test_graph.py"; exit 2; }
	$(RUN) pytest "$(TEST)"

test-lowest:  ## Run the unit tests with the lowest versions that pyproject.toml allows, in an environment of their own.
	$(RUN) --isolated --resolution lowest-direct pytest $(SIDE_BY_SIDE) tests/unit_tests

test-heavy:  ## Run the tests that need large packages: MLflow, and agents of other packages.
	$(RUN) --group mlflow --group ecosystem pytest \
		tests/integration_tests/observability/test_mlflow.py tests/integration_tests/test_side_by_side.py

check: lint type test  ## What continuous integration runs.

build:  ## Build the wheel and the source distribution into dist/.
	uv build
