.PHONY: help format lint type test check

RUN = uv run --extra all --group weights

help:  ## List the targets.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

format:  ## Format and sort imports.
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

lint:  ## Check the style.
	$(RUN) ruff check .
	$(RUN) ruff format --check .

type:  ## Check the types.
	$(RUN) mypy

test:  ## Run all tests.
	$(RUN) pytest

check: lint type test  ## What continuous integration runs.
