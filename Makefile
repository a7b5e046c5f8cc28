.DEFAULT_GOAL := help
.PHONY: help demo test lint bench soak env clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MINUTES ?= 10
STAMP := $(VENV)/installed

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## The main job on a real Kafka, with a worker killed in the middle (needs nothing but Python)
	$(BIN)/stream-triggers demo

test: $(STAMP) lint ## Everything CI runs: format, lint, types, import contracts, tests
	$(BIN)/pytest $(ARGS)

lint: $(STAMP) ## Format, lint, types and import contracts only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## Measure this machine; writes bench/results/latest.json
	$(BIN)/python -m bench $(ARGS)

soak: $(STAMP) ## Fault schedules in memory, then faults on a real Kafka, for MINUTES (10) altogether
	$(BIN)/python -m tests.simulation --minutes $$(( ($(MINUTES) + 1) / 2 )) $(if $(SEEDS),--seeds $(SEEDS))
	$(BIN)/python -m tests.faults --minutes $$(( $(MINUTES) / 2 ))

env: $(STAMP) ## Only set up the environment in .venv

$(STAMP): pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable '.[dev]'
	@touch $@

clean: ## Remove the environment and caches
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
