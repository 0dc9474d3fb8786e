# Two commands: make demo, make test. Both make the environment first; the second call starts at once.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.made
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: env demo test check figures lock clean

env: $(STAMP)

# Torch comes first and by exact version, so that nothing after it pulls another build of it.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Trueloop needs Python 3.11 or newer, found $$($(PYTHON) --version). Run: make PYTHON=python3.11 env"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Making the environment in .venv, once: torch, then about a hundred packages. This takes a few minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o 'torch==[0-9.]*' pyproject.toml | head -1)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP)
	$(BIN)/trueloop demo --rounds 2 --seed 0 --workspace demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not distributed and not gpu"

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The figures Trueloop prints about itself; FULL=1 for the full counts.
figures: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/figures.py $(if $(FULL),--full)

# Needs uv; torch is left out on purpose, its wheel differs by platform.
lock:
	uv pip compile pyproject.toml --extra train --extra dev --extra postgres --universal --python-version 3.11 \
	  --generate-hashes --no-emit-package torch --no-emit-index-url --no-header --output-file requirements.lock

clean:
	rm -rf .venv demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache
