# Every target creates .venv when it is missing and installs what it needs; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := src tests benchmarks sample_data napari_plugin
DEMO := demo_run
# The tests of the napari plugin open windows: on a Linux machine without a screen, Xvfb is one.
XVFB := $(shell [ "$$(uname)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ] && command -v xvfb-run)
SCREEN := $(if $(XVFB),$(XVFB) -a -s "-screen 0 1600x1200x24",)

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format bench docs screenshots clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'

install: $(STAMP) ## create .venv and install the package, its napari plugin and its tools for development

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1), need Python 3.11 or newer: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && apt-get install -y -q python3-venv; \
		else echo "error: $(PYTHON) cannot make environments; install it first: sudo apt-get install python3-venv" >&2; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)

# torch comes first and by itself, so that pip takes one build of it (the plain index serves the CPU build).
$(STAMP): pyproject.toml napari_plugin/pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "torch>=2.13,<2.14"
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	$(BIN)/python -m pip install --quiet -e "napari_plugin[dev]"
	@touch $@

demo: $(STAMP) ## score the two sample vessels, try a decision, compare with their truth (under a minute)
	@rm -rf $(DEMO)
	@mkdir -p $(DEMO)
	$(BIN)/msc-vision run sample_data/t-75 --out $(DEMO)/t-75
	$(BIN)/msc-vision run sample_data/hyperstack-12 --out $(DEMO)/hyperstack-12
	$(BIN)/msc-vision decide $(DEMO)/t-75 --rules msc-expansion-default --trial --at 2025-03-10T17:00+01:00 > $(DEMO)/decision.json
	@$(BIN)/python -m msc_vision.cli.demo $(DEMO)/t-75=sample_data/t-75 $(DEMO)/hyperstack-12=sample_data/hyperstack-12

test: $(STAMP) ## run every test, on two processes
	$(SCREEN) $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP) ## ruff, mypy and the one-way import direction
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/ruff format --check $(wildcard $(SOURCES))
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff put the code in form
	$(BIN)/ruff format $(wildcard $(SOURCES))
	$(BIN)/ruff check --fix $(wildcard $(SOURCES))

bench: $(STAMP) ## measure accuracy, speed and memory
	$(BIN)/python -m benchmarks

docs: $(STAMP) ## write docs/features.md from the records in the code
	$(BIN)/python -m msc_vision.report.features > docs/features.md

screenshots: $(STAMP) ## draw the pictures of the napari plugin in docs/images/napari
	$(SCREEN) $(BIN)/python -m napari_plugin.screenshots docs/images/napari

clean: ## remove .venv, demo runs and caches
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +
