# make demo   environment + install + the main job, validated        make test   environment + the whole test suite
# make bench  throughput benchmarks     make docs  reference pages and JSON Schema     make screenshots  needs a Chromium
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types unit bench docs screenshots clean

demo: .venv/installed
	$(BIN)/prefloom build data/recipes/demo.yaml
	@dataset=$$($(BIN)/prefloom build data/recipes/demo.yaml --json | sed 's/.*"dataset": "\([^"]*\)".*/\1/'); \
	echo "$(BIN)/prefloom validate $$dataset"; $(BIN)/prefloom validate "$$dataset"

test: lint types unit

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	@mkdir -p .links/prefloom && for folder in data flows prompts schemas; do ln -sfn ../../$$folder .links/prefloom/$$folder; done
	$(BIN)/mypy -p prefloom

unit: .venv/installed
	$(BIN)/python -m pytest

bench: .venv/installed
	$(BIN)/python -m tests.benchmarks.throughput
	$(BIN)/python -m tests.benchmarks.seeing

screenshots: .venv/installed
	$(BIN)/python -m tests.screenshots screenshots

docs: .venv/installed
	$(BIN)/python -m prefloom.schemas.recipe > data/recipes/recipe.schema.json
	$(BIN)/python -m prefloom.flows.dataset.reference docs

.venv/installed: pyproject.toml
	@echo "installing into .venv: about a minute"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "prefloom needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv .links build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
