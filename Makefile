# Each target makes the environment that it needs first. `make` alone lists the targets.

PYTHON ?= $(or $(shell for v in 3.11 3.12 3.10; do python$$v -c 0 2>/dev/null && echo python$$v && break; done),python3)
VENV ?= .venv
JOBS ?= 2
LOCKED ?=
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
# By file, so that the tests of a file share the service that its fixture started.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -rs

.PHONY: help run demo test test-fast chaos lint docs lock containers-test clean server dev
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables:"
	@echo "  PYTHON       interpreter, 3.10 to 3.12 (found: $(PYTHON))"
	@echo "  VENV         folder of the environment ($(VENV))"
	@echo "  TORCH_INDEX  extra package index for torch; empty for none. Unset: CPU builds on Linux without an NVIDIA GPU"
	@echo "  LOCKED       1: install the exact versions of requirements-dev.txt, checked by hash"
	@echo "  JOBS         test processes ($(JOBS));  ARGS  further arguments of pytest or of the program"

run: server ## start the whole service on http://127.0.0.1:8000
	@exec $(BIN)/skeleton-prompt serve $(ARGS)

demo: server ## tune on synthetic actions, predict unseen clips, draw the result; needs no data
	@exec $(BIN)/skeleton-prompt demo --out runs/demo.png $(ARGS)

test: dev ## run the tests; those that need data or a GPU are left out where there is none
	$(PYTEST) $(ARGS)

test-fast: dev ## run the tests that start no service and take no seconds of CPU
	$(PYTEST) -m "not services and not slow" $(ARGS)

chaos: dev ## run the tests that kill processes and break storage
	$(BIN)/python -m pytest tests/faults $(ARGS)

lint: dev ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: dev ## build the documentation into site/; a warning is an error
	$(BIN)/python tools/docs_site.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

lock: dev ## resolve the pinned, hashed requirements of the images and of development again
	$(BIN)/python docker/lock_requirements.py $(ARGS)

# Variables: ENGINE (docker or podman), COMPOSE (its compose command), BUILD_ARGS, LEAVE_OUT (services that cannot run here).
containers-test: dev ## build the images, run docker-compose.yml, tune and predict, kill parts
	$(BIN)/python docker/compose_e2e.py $(ARGS)

clean: ## remove the environment and everything generated, but not ./data
	rm -rf $(VENV) build dist runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

server: $(VENV)/.server-installed
dev: $(VENV)/.dev-installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
	  || { echo "Python 3.10, 3.11 or 3.12 is needed; $(PYTHON) is not one. Name one: make run PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# $(call install,EXTRAS): torch comes from TORCH_INDEX where that is set, else from the index that tools/torch_index.py finds.
define install
	@index="$(if $(filter undefined,$(origin TORCH_INDEX)),$$($(BIN)/python tools/torch_index.py),$(TORCH_INDEX))"; \
	  echo "Installing into $(VENV), once. To download: about 400 MB with the CPU build of torch, several GB with CUDA." >&2; \
	  echo "torch comes from $${index:-the configured package index}; override with TORCH_INDEX." >&2; \
	  $(PIP) $${index:+--extra-index-url "$$index"} -e '.[$(1)]'
endef

# A stamp file each, so that a second run installs nothing; a changed pyproject.toml installs again.
$(VENV)/.server-installed: pyproject.toml | $(BIN)/python
	$(call install,server)
	@touch $@

$(VENV)/.dev-installed: pyproject.toml $(if $(LOCKED),requirements-dev.txt) | $(BIN)/python
	$(if $(LOCKED),@$(PIP) --require-hashes -r requirements-dev.txt)
	$(call install,dev)
	@touch $(VENV)/.server-installed $@
