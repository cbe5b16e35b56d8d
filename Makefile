# make run    the demo, until Ctrl-C; flags in ARGS: make run ARGS="--duration 20 --scenario flash-crash"
# make test   all tests, in the three modes below
# Both need Python 3.11 or later and nothing else; .venv is made from requirements.lock when it is missing or old.

ARGS ?=
TESTS ?= tests
PYTHON ?=
VENV_PYTHON := .venv/bin/python
CHECKED := shm pipeline tools bench tests .ci

# The modes of the tests share the two cores, and each prints its own closing line: one after the other.
.NOTPARALLEL:
.PHONY: run test test-jitless test-processes test-compiled test-bounds test-mistakes setup bench lint format types clean help

run: setup
	@exec $(VENV_PYTHON) tools/run.py $(ARGS)

test: test-jitless test-processes test-compiled

# The kernels as plain Python: what coverage can count, and what crash-point tests can stop between two stores.
test-jitless: setup
	@echo "== tests, mode 1 of 3: kernels as plain Python, with coverage"
	@NUMBA_DISABLE_JIT=1 $(VENV_PYTHON) -m pytest $(TESTS) -m "jitless and not mistakes" --cov -n 2 --dist worksteal

# The kernels as they trade, in processes of their own.
test-processes: setup
	@echo "== tests, mode 2 of 3: real processes"
	@$(VENV_PYTHON) -m tests.warm
	@$(VENV_PYTHON) -m pytest $(TESTS) -m processes -n 2 --dist loadfile

# Everything but those two modes' own, with the same kernels.
test-compiled: setup
	@echo "== tests, mode 3 of 3: compiled kernels"
	@$(VENV_PYTHON) -m tests.warm
	@$(VENV_PYTHON) -m pytest $(TESTS) -m "not processes and not mistakes" -n 2 --dist worksteal

# The same where a read past the end of an array fails the test. Compiling takes four minutes more: not a part of `make test`.
test-bounds: setup
	@echo "== tests: compiled kernels, bounds checked"
	@NUMBA_BOUNDSCHECK=1 $(VENV_PYTHON) -m tests.warm
	@NUMBA_BOUNDSCHECK=1 $(VENV_PYTHON) -m pytest $(TESTS) -m "not processes and not mistakes" -n 2 --dist worksteal

# What tests the tests: mistakes made in copies of the project, each of which must break a promise. Some two minutes.
test-mistakes: setup
	@NUMBA_DISABLE_JIT=1 $(VENV_PYTHON) -m pytest tests -m mistakes -n 2 --dist worksteal

setup:
	@PYTHON="$(PYTHON)" tools/setup.sh

bench: setup
	@exec $(VENV_PYTHON) -m bench $(ARGS)

lint: setup
	@$(VENV_PYTHON) -m ruff check $(CHECKED)
	@$(VENV_PYTHON) -m ruff format --check $(CHECKED)

format: setup
	@$(VENV_PYTHON) -m ruff check --fix $(CHECKED)
	@$(VENV_PYTHON) -m ruff format $(CHECKED)

types: setup
	@$(VENV_PYTHON) -m mypy $(CHECKED)

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage htmlcov build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	@sed -n '1,3s/^# //p' Makefile
	@echo "also: make setup, bench, lint, format, types, clean; test-jitless, test-processes, test-compiled, test-bounds, test-mistakes"
