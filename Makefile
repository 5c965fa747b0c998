# `make` alone lists what there is. Everything works from a bare checkout.
.DEFAULT_GOAL := help
PYTHON_ := .venv/bin/python
ARGS ?=

.PHONY: help run test test-fast test-external lint format services environment environment-dev clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

run: environment  ## Start everything: services, database, demo, web, workers (PORT=8000 BIND=127.0.0.1 TAGGER_DEMO=1)
	@exec $(PYTHON_) -m tagger_site.launch $(ARGS)

test: environment-dev  ## Run every test (ARGS="-k flagged" for some)
	@sh scripts/chromium.sh
	@exec sh scripts/test.sh $(ARGS)

test-fast: environment-dev  ## Run the quick tests that need no browser, TensorFlow, worker or server of their own
	@exec sh scripts/test.sh --fast $(ARGS)

test-external: environment-dev  ## Run every test against Debian's postgresql and redis-server
	@sh scripts/chromium.sh
	@exec $(PYTHON_) scripts/with_external_servers.py sh scripts/test.sh $(ARGS)

lint: environment-dev  ## Style, types, templates, import contract, known vulnerabilities
	@sh scripts/lint.sh

format: environment-dev  ## Bring code and templates into their standard form
	@$(PYTHON_) -m ruff check --fix . ; $(PYTHON_) -m ruff format .
	@find templates -name '*.html' -print0 | xargs -0 .venv/bin/djade --target-version 5.2 || true

services: environment  ## Run the embedded servers alone, in the foreground
	@exec $(PYTHON_) -m tagger_site.embedded

environment:  # .venv with what the product needs
	@sh scripts/environment.sh run

environment-dev:  # .venv with what tests and linters need, too
	@sh scripts/environment.sh dev

clean:  ## Remove caches and the tests' data; your data in var/ stays
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis var/test
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
