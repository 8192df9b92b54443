# MedGAN. `make demo` and `make test` do all the set-up themselves.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
PORT ?= 8000
STUDIES ?= studies
# Processes that run tests, each with one thread.
WORKERS ?= 2
# One thread a process: two busy processes on few cores slow each other down tenfold.
export OMP_NUM_THREADS ?= 1
export PYTHONUTF8 = 1

.PHONY: help env demo serve test lint format bench clean
.DEFAULT_GOAL := help

help:  ## What can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

env: $(READY)  ## Set up .venv (about five minutes, 9 GB); nothing to do when it is up to date

$(READY): pyproject.toml constraints.txt tools/check_machine.py
	@$(PYTHON) tools/check_machine.py
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing MONAI Label, torch, Slicer's core and the tools into $(VENV); this takes about five minutes."
	@$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[demo,dev]"
	@$(PY) tools/check_machine.py --libraries
	@touch $(READY)

demo: env  ## The whole loop on real MR: segment, correct, submit, retrain; writes demo/report.html
	$(PY) -m demo

serve: env  ## Start the server: make serve STUDIES=folder PORT=8000
	$(PY) -m monailabel_app serve --studies $(STUDIES) --port $(PORT)

test: env  ## All tests
	$(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile

lint: env  ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: env  ## Mend what ruff can mend
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: env  ## Measure what takes minutes, of docs/measured.md (needs MEDGAN_DATA)
	$(PY) -m benchmarks

clean:  ## Remove what was made, but not .venv
	rm -rf demo/out demo/report.html .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
