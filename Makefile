# `make test` and `make demo` do all their own set-up; `make help` lists the rest.
#   PYTHON       interpreter that creates the environment
#   VENV         environment to create or to use, e.g. VENV=$$CONDA_PREFIX
#   TORCH_INDEX  index for torch, e.g. the one for the CPU that PyTorch's page names
#   INSTALL      another installer, e.g. INSTALL='uv pip install --python .venv'
#   ARGS         passed on, e.g. make test ARGS='-k prompts -x'
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
ARGS ?=
RUN := $(VENV)/bin/python
INSTALL ?= $(RUN) -m pip install --disable-pip-version-check --progress-bar off
# One worker per core, four at most; a file's tests stay together and share fixtures.
# ARGS=-n0 runs them in one process.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
# Several threads per process only slow small models down.
export OMP_NUM_THREADS ?= 1
.DEFAULT_GOAL := help
.PHONY: help test test-all demo demo-seg docs lock check format clean always
# Two set-ups in one environment would get in each other's way.
.NOTPARALLEL:

# An environment is ready for a group of requirements when it holds the stamp of that
# group, named by a hash of all that was asked for and written last: a set-up that was
# broken off is done again. Without a Python that starts, no stamp counts.
ASKED := $(filter-out requirements/lock.txt,$(sort $(wildcard requirements/*.txt))) $(PIP_CONSTRAINT)
KEY := $(shell echo '$(CURDIR) $(TORCH_INDEX)' | cat - setup.py $(ASKED) | cksum | cut -d ' ' -f 1)
READY := $(VENV)/mmvpt-$(KEY)
$(READY)-%: $(if $(wildcard $(RUN)),,always)
	@fail() { echo "[setup] failed: $$*" >&2; exit 1; }; \
	recent() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; }; \
	has() { $(RUN) -c 'import sys, importlib.util as u; sys.exit(not any(map(u.find_spec, sys.argv[1:])))' "$$@"; }; \
	install() { \
	  echo "[setup] installing $$*"; \
	  $(INSTALL) $$hold "$$@" || fail "the reason stands above. No network, a proxy or a mirror: set HTTPS_PROXY or PIP_INDEX_URL. A full disk: VENV=/big/disk/venv TMPDIR=/big/disk. No build for this Python: PYTHON=python3.11 VENV=.venv-3.11. Then run the command again"; \
	}; \
	if [ ! -e $(RUN) ] || [ -e $(VENV)/mmvpt-creating ]; then \
	  command -v $(PYTHON) >/dev/null || fail "$(PYTHON) is not installed. Install Python 3.10 or newer, or name one: PYTHON=python3.11"; \
	  recent $(PYTHON) || fail "$(PYTHON) is `$(PYTHON) -V`, 3.10 or newer is needed. Name another one: PYTHON=python3.11"; \
	  [ -z "`ls -A $(VENV) 2>/dev/null`" ] || [ -e $(VENV)/mmvpt-created ] || \
	    fail "$(VENV) is no environment that runs, and is not empty. Remove it, or name another folder: VENV=..."; \
	  mkdir -p $(VENV) && rm -f $(VENV)/mmvpt-[0-9]* && touch $(VENV)/mmvpt-created $(VENV)/mmvpt-creating && \
	  $(PYTHON) -m venv $(VENV) && rm $(VENV)/mmvpt-creating || \
	    fail "the module venv does not work. On Debian and Ubuntu: apt install python3-venv. Any environment with pip serves as well: VENV=/path/to/it"; \
	fi; \
	recent $(RUN) || fail "$(RUN) is `$(RUN) -V`, 3.10 or newer is needed"; \
	if [ ! -e $(VENV)/mmvpt-created ]; then \
	  echo '[setup] $(VENV) was made by others: nothing in it is replaced'; \
	  $(RUN) -m pip list --format freeze >$(VENV)/mmvpt-held.txt || fail "$(RUN) has no pip. Run: $(RUN) -m ensurepip"; \
	  sed -i.all '/^mmvpt==/d' $(VENV)/mmvpt-held.txt; \
	  hold='-c $(VENV)/mmvpt-held.txt'; \
	fi; \
	[ "$$hold" ] && has torch && has torchvision || install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -r requirements/torch.txt; \
	$(RUN) -c 'import torch, torchvision' || \
	  fail 'torch and torchvision do not load together, probably since they come from different indexes. Install both from one: $(RUN) -m pip install --force-reinstall torch torchvision (--index-url ...)'; \
	mm='-r requirements/mminstall.txt'; \
	if [ "$$hold" ] && has mmengine mmcv mmpretrain mmseg; then mm=; fi; \
	install $$mm -r requirements/runtime.txt -r requirements/$*.txt; \
	install --no-deps -e .; \
	touch $@
always:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: $(READY)-tests ## install what tests need, run them
	$(RUN) -m pytest $(PARALLEL) $(ARGS)

test-all: $(READY)-sweep ## the tests of `make test` and the sweeps over every config
	$(RUN) -m pytest $(PARALLEL) -m 'sweep or not sweep' $(ARGS)

demo: $(READY)-runtime ## tune a small ViT on handwritten digits in every way, print a table
	$(RUN) tools/demo.py $(ARGS)

demo-seg: $(READY)-runtime ## segment scenes of digits with a small ViT, print a table, draw pictures
	$(RUN) tools/demo_seg.py $(ARGS)

docs: $(READY)-docs ## build the documentation site in docs/_build, warnings are errors
	$(RUN) -m sphinx -W -q -b html docs docs/_build

lock: $(READY)-sweep $(READY)-docs $(READY)-dev ## write requirements/lock.txt from this environment, once its tests pass
	$(RUN) -m pip install --quiet -r requirements/optional.txt
	$(RUN) requirements/lock.py

check: $(READY)-dev ## lint, formatting and types, changes nothing
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy mmvpt

format: $(READY)-dev ## format the code, apply safe lint fixes
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

clean: ## remove build products and caches, keep the environment and results
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find mmvpt configs tools tests -name __pycache__ -type d -prune -exec rm -rf {} +
