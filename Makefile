PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-faults dst soak lint format bench lock

help:  ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*##\(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: setup  ## the whole way offline: backtest, checks, replay, live worker on the simulator, report
	@$(BIN)/cashup demo $(ARGS)

up: setup  ## serve JupyterLab, the API and the dashboards until Ctrl-C
	@$(BIN)/cashup up $(ARGS)

test: setup  ## every test but the proofs by faults, a file to a process; ARGS="-k name" for some of them
	@$(BIN)/pytest -m "not faults" -n logical --maxprocesses 4 --dist loadfile $(ARGS)

test-faults: setup  ## the proofs by faults, and their table in docs/reliability.md; CASHUP_PROOF_SCALE=10 for ten times as many
	@CASHUP_PROOF_RESULTS=$(CURDIR)/docs/reliability.json $(BIN)/pytest -m faults -n logical --maxprocesses 2 \
		--dist worksteal $(ARGS); status=$$?; $(BIN)/python -m tests.faults.table; exit $$status

dst: setup  ## run SEED=n of the deterministic simulation again and print all that happens in it
	@$(BIN)/python -m tests.faults.simulation $(SEED) --trace

soak: setup  ## the whole stack for MINUTES=20 at RATE=2 orders a second and a fault a minute, by SEED=n
	@$(BIN)/python -m tests.soak $(MINUTES) $(if $(RATE),--rate $(RATE)) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: setup  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup  ## let ruff lay the code out
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup  ## measure, and write benchmarks/results and the table in docs/performance.md
	@$(BIN)/python -m benchmarks $(ARGS)

setup: .venv/.installed  ## install everything that is pinned into .venv

.venv/.installed: requirements.lock pyproject.toml
	@echo "Installing what requirements.lock pins into .venv (about a minute) ..." >&2
	@$(PYTHON) -c 'import sys; sys.exit("CashUp needs Python 3.11 or newer; make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@$(BIN)/uv pip install --quiet --require-hashes --no-deps -r requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@# Bytecode now and for what is imported: a package's own tests are not, and some are not even Python of this age.
	@$(BIN)/python -m compileall -q -j 0 -x '/tests?/' .venv/lib >/dev/null 2>&1 || true
	@touch $@

lock:  ## resolve pyproject.toml into requirements.lock again
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --generate-hashes --all-extras \
		--group build --group test --group lint --no-emit-index-url --no-annotate pyproject.toml -o requirements.lock
