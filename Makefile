# make demo and make test need Python 3.11, 3.12 or 3.13 and make; they create .venv and reuse it.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: help install demo test test-full mutants lint results docs clean

help:
	@echo "make demo       train LeNet-5 on real digits, export it, let a fresh process read PNG files"
	@echo "make test       the test suite, on small inputs"
	@echo "make test-full  everything, at full size; needs the data sets"
	@echo "make mutants    mutation testing: changes in a sample of places, each to be noticed by a test; takes hours"
	@echo "make lint       ruff: format and rules"
	@echo "make docs       the Python API, in site/"
	@echo "make results RUNS='runs/…'  add finished runs to results.csv, README's table and the models' pages"

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "error: $(PYTHON) is not Python 3.11, 3.12 or 3.13; call make PYTHON=python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,serve]'
	@touch $@

install: $(INSTALLED)

demo: $(INSTALLED)
	@$(BIN)/python docs/demo.py

# For two cores: a third worker computes while the others wait for processes.
test: $(INSTALLED) lint
	$(BIN)/python -m pytest -n 3 --dist worksteal -m 'not full'

test-full: $(INSTALLED) lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

mutants: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[dev,serve,mutants]'
	$(BIN)/python tests/mutants.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

results: $(INSTALLED)
	$(BIN)/python -m zoo.report $(RUNS)

docs: $(INSTALLED)
	$(BIN)/python -W ignore -m pdoc --output-directory site zoo

clean:
	rm -rf .venv build dist site .pytest_cache .ruff_cache
