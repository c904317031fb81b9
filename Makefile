# `make help` lists what can be made. The environment is made once, in .venv, and again when pyproject.toml changes.
PYTHON ?= python3
TORCH_INDEX ?=# where to take torch from, e.g. https://download.pytorch.org/whl/cpu; everything else comes as usual
DATA ?=# a folder of real databases for `make demo`
ARGS ?=# more options for `make demo` and `make test`
JOBS ?= 2

BIN := .venv/bin
READY := .venv/.ready
TORCH := $(BIN)/pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
# One thread of torch and BLAS for each test process: the processes share the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo test fast check format clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON (3.11 or newer), TORCH_INDEX (another source of torch), DATA, ARGS, JOBS; see README.md"

setup: $(READY) ## the environment in .venv

demo: $(READY) ## the main job on simulated ECGs, or on real ones: make demo DATA=folder
	$(BIN)/ecgraft demo $(if $(DATA),--data "$(DATA)") $(ARGS)

test: $(READY) ## all tests
	$(PYTEST) $(ARGS)

fast: $(READY) ## the tests that take under a minute together
	$(PYTEST) -m "not slow" $(ARGS)

check: $(READY) ## format, lint, import floors, house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m pytest tests/test_floors.py tests/test_house.py

format: $(READY) ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and caches; what a demo wrote stays
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first: 2.13.0 is the version that a local CPU build has where pip knows of one, and once it is there pip
# leaves it alone. Elsewhere any version that pyproject.toml allows will do.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "ecgraft needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(TORCH) "torch==2.13.0" || $(TORCH) "torch>=2.8,<2.14"
	$(BIN)/pip install -e ".[dev]"
	@touch $@
