# One command per intent; CI calls the same ones. Each makes the virtual environment first if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types contracts unit docs screenshots clean

$(VENV)/.base: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/.base  ## When should a teacher step in? Runs the gallery's first scenario and prints its table.
	$(BIN)/docendo run when-to-step-in --store sqlite:///demo.db

test: lint types contracts unit  ## Everything that CI checks.

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports --config pyproject.toml

# The browser of tests/browser: Debian's, installed where it is missing and may be. Elsewhere those tests are skipped.
$(VENV)/.chromium: $(VENV)/.dev
	command -v chromium || { command -v apt-get && apt-get update && apt-get install --yes chromium; } || \
		echo "No Chromium, and apt cannot install it: the tests of the viewer in a browser will be skipped."
	touch $@

unit: $(VENV)/.dev $(VENV)/.chromium
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -q

docs: $(VENV)/.dev  ## Runs every block of the documentation and writes the outputs anew.
	$(BIN)/python docs/regenerate.py --slow

screenshots: $(VENV)/.dev $(VENV)/.chromium  ## Makes the pictures of the viewer anew.
	$(BIN)/python docs/make_screenshots.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
