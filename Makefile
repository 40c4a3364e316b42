# Needs make and Python 3.11 or newer; everything else is installed into .venv, once.

python := .venv/bin/python
lock := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
# No statement_timeout: a migration waits for nobody (lock_timeout) and may work long. The integers count epochs and one row.
squawk_exceptions := --exclude require-statement-timeout --exclude prefer-bigint-over-int
everything := --extra standalone --extra demo --extra bench --extra test --extra lint

.DEFAULT_GOAL := help
.PHONY: help up demo bench hardships test check long lint sbom contracts lock clean

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /\1 /p' $(firstword $(MAKEFILE_LIST)) | while read -r name text; do \
		printf '  make %-9s  %s\n' "$$name" "$$text"; done

up: ## start everything on this machine: embedded Postgres and Valkey, API, worker (ARGS="--help" lists options)
	@sh .ci/install standalone
	@exec $(python) -m standalone $(ARGS)

demo: ## watch a farm at work in the terminal
	@sh .ci/install standalone
	@exec $(python) -m demo $(ARGS)

bench: ## measure Botfarm beside the alternatives (ARGS="--quick" tries it out); needs wrk and etcd
	@sh .ci/install bench
	@exec $(python) -m benchmarks $(ARGS)

hardships: ## measure 1,000 event streams, a snapshot held open, 100,000 events while Redis is down; needs wrk
	@sh .ci/install bench
	$(python) -m benchmarks.hardships.streams
	$(python) -m benchmarks.hardships.held_snapshot
	$(python) -m benchmarks.hardships.redis_outage

test: ## run all tests on three processes, as they wait more than they work (ARGS="-k lease" picks some)
	@sh .ci/install dev
	@exec $(python) -m pytest -o testpaths=tests -n 3 --dist worksteal $(ARGS)

check: ## all that CI does: lint, types, import contracts, all tests on both kinds of servers, a short chaos run
	@exec .ci/run

long: ## 5 minutes of chaos instead of 8 s, 2,000 histories of the line instead of 200, 10 minutes of fuzzing instead of 1
	@sh .ci/install dev
	BOTFARM_CHAOS_SECONDS=$${BOTFARM_CHAOS_SECONDS:-300} $(python) -m pytest -o testpaths=tests -m chaos --timeout 0 $(ARGS)
	BOTFARM_HYPOTHESIS=long $(python) -m pytest tests/line/test_machine.py --timeout 0 $(ARGS)
	BOTFARM_FUZZ_SECONDS=$${BOTFARM_FUZZ_SECONDS:-600} $(python) -m pytest tests/fuzz --timeout 0 $(ARGS)

lint: ## check style, types, imports, dependencies, licences, advisories, contract, migrations, Dockerfile, compose file
	@sh .ci/install dev
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy
	.venv/bin/lint-imports --no-logo
	$(python) -m deptry . --no-ansi
	.venv/bin/hadolint Dockerfile
	$(python) -m check_jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(python) .ci/contracts.py --check
	$(python) .ci/licences.py
	$(python) .ci/audit.py
	@echo "squawk: the SQL of the migrations"
	@sql=$$($(python) .ci/migrations.py) && echo "$$sql" | .venv/bin/squawk --pg-version 14 --assume-in-transaction $(squawk_exceptions)

contracts: ## write docs/schemas and docs/asyncapi.yaml from domain/contracts
	@sh .ci/install dev
	$(python) .ci/contracts.py

sbom: ## write the bill of materials of the server as CycloneDX JSON to sbom.cdx.json
	@sh .ci/install dev
	$(python) .ci/sbom.py > sbom.cdx.json

lock: ## pin the requirements again with hashes (ARGS="--upgrade" takes newer versions)
	@sh .ci/install dev
	$(lock) $(ARGS) -o requirements/app.txt pyproject.toml
	$(lock) $(ARGS) -o requirements/standalone.txt -c requirements/app.txt --extra standalone --extra demo pyproject.toml
	$(lock) $(ARGS) -o requirements/test.txt -c requirements/standalone.txt --extra standalone --extra demo --extra test pyproject.toml
	$(lock) $(ARGS) -o requirements/dev.txt -c requirements/test.txt $(everything) pyproject.toml
	$(lock) $(ARGS) -o requirements/bench.txt -c requirements/dev.txt --extra standalone --extra demo --extra bench pyproject.toml

clean: ## remove .venv and caches; the farm's data in .botfarm stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
