# Two commands are enough: `make lab` and `make test`. Both build .venv on first use.
.DEFAULT_GOAL := help
.PHONY: help lab test lint format screenshots bench clean
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.sc-lab-installed
NEW_ENOUGH := import sys, venv; sys.exit(sys.version_info < (3, 11))
# The first interpreter that runs and is new enough; `make PYTHON=/path/to/python lab` overrides.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	if $$p -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo $$p; break; fi; done)
LAB_ARGS ?=
PYTEST_ARGS ?=
# The kernel of this environment, not one that the user has registered under the same name.
export JUPYTER_PREFER_ENV_PATH := 1

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z]+:.*##' Makefile

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null; then \
		echo "SC Lab needs Python 3.11 or newer and found none on PATH; install one, or run: make PYTHON=/path/to/python3.11 lab" >&2; exit 1; fi
	@if [ ! -x $(BIN)/python ]; then $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; fi
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[widgets,test]"
	@echo "compiling what is compiled once..."; $(BIN)/python -m sc_lab prepare || echo "it will be compiled at first use" >&2
	@touch $@

lab: $(STAMP) ## Open JupyterLab on the tour (LAB_ARGS="--no-browser" and the like are passed on)
	$(BIN)/python -m sc_lab open notebooks/00_tour.ipynb --run -- $(LAB_ARGS)

lint: $(STAMP) ## Style, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## All checks and all tests (PYTEST_ARGS is passed on)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

format: $(STAMP) ## Format the code in place
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

screenshots: $(STAMP) ## Make the pictures of the README anew (needs a Chromium)
	$(BIN)/python tools/screenshots.py

bench: $(STAMP) ## Measure; prints each figure beside its peers
	@set -e; for f in benchmarks/*.py; do case $$f in */_*) continue;; esac; \
		echo "== $$f"; $(BIN)/python $$f; done

clean: ## Remove the environment and every cache
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
