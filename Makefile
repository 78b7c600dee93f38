# The two commands of the README, and what developers use.
.PHONY: demo up down test check bench bench-peers bench-report dashboards lock format
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PEERS := .venv-peers

demo: $(INSTALLED) ## everything from nothing: starts the stack, sends IMs, shows their way, checks the counts
	@$(PYTHON) -m deploy.local demo $(if $(CHAT),--chat "$(CHAT)") $(if $(SIP),--sip)

up: $(INSTALLED) ## the same stack in the foreground, until Ctrl-C
	@$(PYTHON) -m deploy.local up $(if $(SIP),--sip)

down: $(INSTALLED) ## clean up what a kill left
	@$(PYTHON) -m deploy.local down

test: $(INSTALLED) ## all tests
	@$(PYTHON) -m deploy.local install
	@$(PYTHON) -m pytest -n 2 --dist loadscope tests/unit tests/integration
	@$(PYTHON) -m pytest tests/e2e tests/sip tests/xmpp tests/chaos

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

format: $(INSTALLED)
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
