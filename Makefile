# `make quickstart` and `make test` set up all that they need; everything else is for those who carry on.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export INSTRUCTFORGE_DATA ?=
# Two processes with one thread each: what trains in the tests is too small for more.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: quickstart quickstart-zh test bars check lint bench docs notebook clean help

help:
	@echo "make quickstart   set up, then build, train, decode, score and report on the data that is shipped"
	@echo "make test         set up, then run every test but those of the next line"
	@echo "make bars         the tests that take minutes each: training until a figure is reached, more kills"
	@echo "make check        linters, types and the fast tests (under 2 minutes)"
	@echo "make bench        benchmarks; results go to benchmarks/results"
	@echo "make docs         write the generated parts of docs/ anew"

quickstart: $(STAMP)
	$(BIN)/instructforge quickstart

quickstart-zh: $(STAMP)
	$(BIN)/instructforge quickstart --language zh

test: $(STAMP)
	$(PYTEST) -m "not bar" --durations=15

bars: $(STAMP)
	$(PYTEST) -m bar --durations=0

check: $(STAMP) lint
	$(PYTEST) -m "not slow and not bar"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy $(wildcard plugins/*/instructforge_*)

bench: $(STAMP) $(VENV)-peers/.installed
	INSTRUCTFORGE_PEERS=$(CURDIR)/$(VENV)-peers/bin/python $(BIN)/python -m benchmarks

$(VENV)-peers/.installed: benchmarks/peers.txt
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --requirement benchmarks/peers.txt
	$(VENV)-peers/bin/python -m pip install --quiet --no-deps --ignore-requires-python promptsource==0.2.3
	@touch $@

docs: $(STAMP)
	$(BIN)/python docs/generate.py

$(STAMP): pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else "InstructForge needs Python 3.11 to 3.13; this is %d.%d. Name another one: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' $(foreach p,$(wildcard plugins/*/),--editable $(p))
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
