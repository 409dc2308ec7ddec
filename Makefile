# `make help` lists the targets. What a target needs is installed first, and only what is missing.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help demo test lint format bench lab-up lab-down prepare clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: prepare ## an empty host on a lab is planned, applied, checked, and comes back after a power cut (KEEP=1 keeps it)
	@$(PYTHON) scripts/demo.py $(if $(KEEP),--keep)

test: prepare ## everything: format, lint, types, imports, shell scripts, tests; as root also the tests on lab hosts
	@$(PYTHON) scripts/verify.py

lint: prepare ## what `make test` does before the tests
	@$(PYTHON) scripts/verify.py --static

format: prepare ## lay out the code, and mend what can be mended by itself
	@ruff format --quiet . && ruff check --fix .

bench: ## the figures: a plan against plain ssh, Ansible and pyinfra; start times and memory (needs a lab)
	@scripts/prepare bench
	@$(PYTHON) -m benchmarks

lab-up: prepare ## bring up the whole site on lab hosts, to try things (kbstate lab --help)
	@kbstate lab up

lab-down: prepare ## remove the lab
	@kbstate lab down

prepare:
	@scripts/prepare

clean: ## remove what was built here: the virtual environment, caches, reports
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
