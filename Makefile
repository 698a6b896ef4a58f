.PHONY: help setup format lint type test test-fast test-one test-lowest test-heavy docs docs-serve check build

RUN = uv run --extra all --group weights
DOCS = uv run --isolated --only-group docs mkdocs
# Side by side, one process per core; the tests of one file stay together.
SIDE_BY_SIDE = -n auto --dist loadfile
# Other packages' own clients, some of which they never close; those of this package are watched by all other tests.
CLIENTS_OF_OTHERS = -W "ignore:unclosed <socket:ResourceWarning" -W "ignore:unclosed transport:ResourceWarning"

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

test-heavy:  ## Run the tests that need large packages: MLflow, agents and clients of other packages.
	$(RUN) --group mlflow --group ecosystem pytest $(CLIENTS_OF_OTHERS) \
		tests/integration_tests/observability/test_mlflow.py tests/integration_tests/test_side_by_side.py \
		tests/integration_tests/test_clients.py

docs:  ## Build the documentation site into docs/site; a warning is an error.
	NO_MKDOCS_2_WARNING=1 $(DOCS) build --strict -f docs/mkdocs.yml

docs-serve:  ## Show the documentation site while you write it.
	$(DOCS) serve -f docs/mkdocs.yml

check: lint type test  ## What continuous integration runs.

build:  ## Build the wheel and the source distribution into dist/.
	uv build
