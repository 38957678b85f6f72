# Two commands to know: `make demo`, `make test`. Everything else: `make help`.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
CODE := amends services shared tools
WORKERS ?= auto

.PHONY: help setup setup-dev demo up check test chaos simulate generated restraint train bench bench-quick lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

setup: .venv/.run ## .venv with what the product needs (then: .venv/bin/amends --help)

setup-dev: .venv/.dev ## .venv with what its tests need as well

demo: .venv/.run ## signed webhooks through the whole product on a moving clock; ends by itself
	@$(BIN)/amends demo

up: .venv/.run ## all services in one process on http://127.0.0.1:8000 (sandbox, key: sandbox)
	@$(BIN)/amends up --sandbox

check: .venv/.dev ## format, lint, types, import contracts, size limits, fast tests; under a minute
	@$(BIN)/ruff format --check --quiet . && echo "format     ok"
	@$(BIN)/ruff check --quiet . && echo "lint       ok"
	@$(BIN)/mypy --no-error-summary && echo "types      ok"
	@$(BIN)/lint-imports --no-cache >.venv/contracts.txt || { cat .venv/contracts.txt; exit 1; }; echo "contracts  ok"
	@$(BIN)/python tools/sizes.py $(CODE) && echo "sizes      ok"
	@$(BIN)/python -m pytest tests/unit tests/rules tests/marketplaces -n $(WORKERS) -m "not pg and not rabbit and not crash and not slow"

test: .venv/.dev ## everything, PostgreSQL and RabbitMQ for real: found, or started
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

chaos: .venv/.dev ## F1 in full: kill -9 of everything at random (ARGS="--stack apart --seed 2 --report")
	@$(BIN)/python -m tests.crash.chaos $(ARGS)

simulate: .venv/.dev ## 100,000 schedules of the services on a seeded event loop (ARGS="--schedules 2000 --jobs 2")
	@$(BIN)/python -m tests.simulation --schedules 100000 $(ARGS)

generated: .venv/.dev ## 200,000 generated cases through every playbook, judged (ARGS="--jobs 2 --report", "--seed 4711", "--bugs")
	@$(BIN)/python -m tests.generated --cases 200000 $(ARGS)

restraint: .venv/.dev ## a million triggers of messages: none beyond the caps, at night, twice or with a blank (ARGS="--triggers 20000")
	@$(BIN)/python -m tests.restraint --triggers 1000000 $(ARGS)

train: .venv-train/.done ## the classifier of texts anew from tests/data/messages*, with its figures on writers left out
	@.venv-train/bin/python -m tools.train

bench: .venv/.dev .venv-peers/.done ## cases per second, CPU, latency and memory beside the peers; half an hour on 2 quiet cores
	@$(BIN)/python -m bench $(ARGS)

bench-quick: .venv/.dev .venv-peers/.done ## the same, small: shows that it works, under three minutes
	@$(BIN)/python -m bench --quick $(ARGS)

lock: .venv/.dev ## requirements/*.txt anew from *.in: versions and hashes only (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv on the PATH" >&2; exit 2; }
	@cd requirements && for name in run dev peers train; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links --upgrade $$(case $$name in dev|train) echo run.in;; esac) $$name.in -o $$name.txt; done

clean: ## removes .venv and caches
	@rm -rf .venv .venv-peers .venv-train build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Stamps: rebuilt only when a lock or the project's own description changed.
.venv/.run: requirements/run.txt pyproject.toml | .venv/bin/python
	@echo "installing what amends needs (once)"
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --no-index -e .
	@touch $@

.venv/.dev: requirements/dev.txt .venv/.run
	@echo "installing what its tests need (once)"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

.venv-peers/.done: requirements/peers.txt
	@echo "installing what the bench's peers need (once)"
	@$(PYTHON) tools/venv.py .venv-peers
	@.venv-peers/bin/python -m pip --disable-pip-version-check --no-input -qq install --require-hashes -r requirements/peers.txt
	@touch $@

.venv-train/.done: requirements/train.txt
	@echo "installing what training needs (once)"
	@$(PYTHON) tools/venv.py .venv-train
	@.venv-train/bin/python -m pip --disable-pip-version-check --no-input -qq install --require-hashes -r requirements/train.txt
	@touch $@

.venv/bin/python:
	@$(PYTHON) tools/venv.py .venv
