# The two commands of the README, and what developers use.
.PHONY: help demo up down unit test check bench bench-peers bench-report dashboards lock format
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PEERS := .venv-peers
# Tests wait more than they work, so more of them run at once than there are cores; a worker that is done takes
# tests from the others.
SIDE_BY_SIDE := -n 4 --dist worksteal
# Compiled files are kept, whatever the environment asks: else each process of a test compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

help: ## what each target does
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: $(INSTALLED) ## everything from nothing: starts the stack, sends IMs, shows their way, checks the counts
	@$(PYTHON) -m deploy.local demo $(if $(CHAT),--chat "$(CHAT)") $(if $(SIP),--sip)

up: $(INSTALLED) ## the same stack in the foreground, until Ctrl-C
	@$(PYTHON) -m deploy.local up $(if $(SIP),--sip)

down: $(INSTALLED) ## clean up what a kill left
	@$(PYTHON) -m deploy.local down

unit: $(INSTALLED) ## the tests that need no neighbour: seconds
	@$(PYTHON) -m pytest -q -n 3 --dist worksteal tests/unit

test: $(INSTALLED) ## all tests
	@$(PYTHON) -m deploy.local install
	@$(PYTHON) -m pytest $(SIDE_BY_SIDE) tests/unit tests/integration
	@$(PYTHON) -m pytest -n 3 --dist loadscope --no-loadscope-reorder tests/chaos tests/e2e tests/sip tests/xmpp

check: $(INSTALLED) ## lint, format, types, imports
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

bench: $(INSTALLED) ## how fast, beside the limits measured in the same run
	@$(PYTHON) -m deploy.local install
	@$(PYTHON) -m benchmarks $(ASK)

bench-report: $(INSTALLED) ## what was measured, into docs/performance.md
	@$(PYTHON) -m benchmarks.report

bench-peers: $(INSTALLED) $(PEERS)/.installed ## beside other ways to archive: XMPP servers, common consumers
	@$(PYTHON) -m deploy.local install
	@$(PYTHON) -m benchmarks.peers

dashboards: $(INSTALLED) ## Grafana's, made anew from deploy/grafana
	@$(PYTHON) -m deploy.grafana

format: $(INSTALLED) ## the code, formatted
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

lock: $(INSTALLED) ## the lock files, made anew from the pyproject files
	@$(COMPILE) --group dev services/*/pyproject.toml pyproject.toml --output-file requirements.lock
	@for service in frontend archiving admin-api; do \
	    $(COMPILE) --constraint requirements.lock services/$$service/pyproject.toml \
	        --output-file services/$$service/requirements.lock; done
	@$(COMPILE) --group peers --output-file benchmarks/peers/requirements.lock

$(PEERS)/.installed: benchmarks/peers/requirements.lock benchmarks/peers/install.sh
	@benchmarks/peers/install.sh $(PEERS)
	@touch $@

$(INSTALLED): requirements.lock deploy/local/install.sh
	@deploy/local/install.sh $(VENV)
	@touch $@
