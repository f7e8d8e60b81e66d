# make demo: see it work.  make test: the wheel, tested.  make lint, make docs, make bench: what they say.
# PYTHON=python3.12 chooses an interpreter for a new .venv.

VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint ruff mypy pyright format docs bench clean

help:
	@echo "make demo    two sandboxes, a bridge and a published port on this machine's kernel"
	@echo "make test    build the wheel and test it; as root also on the real kernel, as root and by an ordinary user"
	@echo "make lint    ruff, mypy and pyright over the whole repository"
	@echo "make format  fold the code as ruff does"
	@echo "make docs    the documentation, in docs/_build/html"
	@echo "make bench   the benchmarks (root)"
	@echo "make clean   remove what the others made"

demo:
	@$(MAKE) --no-print-directory $(VENV)/.installed
	$(BIN)/python examples/demo.py

test:
	@scripts/install-packages
	@scripts/fetch-engines
	@scripts/fetch-dockerd
	@scripts/test-wheel

lint: ruff mypy pyright

ruff: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mypy: $(VENV)/.installed-dev
	$(BIN)/mypy

pyright: $(VENV)/.installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -q -W --keep-going -n -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench:
	@scripts/need-root "make bench"
	@$(MAKE) --no-print-directory $(VENV)/.installed
	@set -e; for each in benchmarks/bench_*.py; do echo "== $$each"; $(BIN)/python "$$each"; done

clean:
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	@echo "installing libnetwork_py into $(VENV)"
	@scripts/make-venv $(VENV) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml
	@echo "installing libnetwork_py and its development tools into $(VENV)"
	@scripts/make-venv $(VENV) --editable '.[dev]'
	@touch $@ $(VENV)/.installed
