# `make test` and `make demo` do all their own set-up; `make help` lists the rest.
#   PYTHON       interpreter that creates the environment
#   VENV         environment to create or to use, e.g. VENV=$$CONDA_PREFIX
#   TORCH_INDEX  index for torch, e.g. the one for the CPU that PyTorch's page names
#   ARGS         passed on, e.g. make test ARGS='-k prompts -x'
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
ARGS ?=
RUN := $(VENV)/bin/python
# One worker per core, four at most; a file's tests stay together and share fixtures.
# ARGS=-n0 runs them in one process.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
# Several threads per process only slow small models down.
export OMP_NUM_THREADS ?= 1
.DEFAULT_GOAL := help
.PHONY: help test test-all demo demo-seg check format clean

define setup
	@command -v $(PYTHON) >/dev/null || { echo "[setup] failed: $(PYTHON) is not installed. Install Python 3.10 or newer, or name one: make $@ PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) tools/setup/bootstrap.py --venv '$(VENV)' --torch-index '$(TORCH_INDEX)'
endef

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: ## install what tests need, run them
	$(setup) tests
	$(RUN) -m pytest $(PARALLEL) $(ARGS)

test-all: ## the tests of `make test` and the sweeps over every config
	$(setup) tests
	$(RUN) -m pytest $(PARALLEL) -m 'sweep or not sweep' $(ARGS)

demo: ## tune a small ViT on handwritten digits in every way, print a table
	$(setup)
	$(RUN) tools/demo.py $(ARGS)

demo-seg: ## segment scenes of digits with a small ViT, print a table, draw pictures
	$(setup)
	$(RUN) tools/demo_seg.py $(ARGS)

check: ## lint, formatting and types, changes nothing
	$(setup) dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy mmvpt

format: ## format the code, apply safe lint fixes
	$(setup) dev
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

clean: ## remove build products and caches, keep the environment and results
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find mmvpt configs tools tests -name __pycache__ -type d -prune -exec rm -rf {} +
