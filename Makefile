# The commands of the project. Each makes the environment it needs first.
#
#   make run     the whole service on http://127.0.0.1:8000 (settings: SKELETON_PROMPT_*, see docs/settings.md)
#   make demo    teach synthetic actions, predict unseen clips, draw the result; needs no data
#   make test    the tests
#   make lint    ruff and mypy
#   make chaos   the tests that kill and break things
#   make containers-test   build the images, run all of docker-compose.yml, do the main job on it, kill parts (docker or podman)
#   make clean   remove the environment and everything generated, but not ./data
#
# Variables: PYTHON (3.10 to 3.12), VENV, and TORCH_INDEX, an extra package index for torch. On Linux the plain
# registry may carry torch with CUDA (gigabytes); the CPU build (about 200 MB) comes with
#   make run TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= $(or $(shell for v in 3.11 3.12 3.10; do python$$v -c 0 2>/dev/null && echo python$$v && break; done),python3)
VENV ?= .venv
TORCH_INDEX ?=
JOBS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: run demo test lint chaos containers-test clean server dev
.DEFAULT_GOAL := run

run: server
	@exec $(BIN)/skeleton-prompt serve

demo: server
	@exec $(BIN)/skeleton-prompt demo --out runs/demo.png

# By file, so that the tests of a file share the service that its fixture started.
test: dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

chaos: dev
	$(BIN)/python -m pytest tests/faults $(ARGS)

# Variables: ENGINE (docker or podman), COMPOSE (its compose command), BUILD_ARGS, LEAVE_OUT (services that cannot run here).
containers-test: dev
	$(BIN)/python docker/rehearse.py $(ARGS)

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

server: $(VENV)/.server-installed
dev: $(VENV)/.dev-installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
	  || { echo "Python 3.10, 3.11 or 3.12 is needed; $(PYTHON) is not one. Say which: make run PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# A stamp file each, so that a second run installs nothing; a changed pyproject.toml installs again.
$(VENV)/.server-installed: pyproject.toml | $(BIN)/python
	@echo "Installing the service into $(VENV): about 350 MB to download, 200 MB of it torch for the CPU. Once; takes a minute or two." >&2
	@$(PIP) -e '.[server]'
	@touch $@

$(VENV)/.dev-installed: pyproject.toml | $(BIN)/python
	@echo "Installing the service and its test tools into $(VENV): about 400 MB to download, 200 MB of it torch for the CPU." >&2
	@$(PIP) -e '.[dev]'
	@touch $(VENV)/.server-installed $@
