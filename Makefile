# Everything a developer or a reader runs. `make` alone lists the targets; each describes itself after its `##`.

PYTHON ?= python3
# Where the installed tools live; one environment for the demo, the checks and the tests.
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CODE := cdc drivers transforms schemas

.DEFAULT_GOAL := help
.PHONY: help check lint format test test-full demo demo-kafka bench bench-postgres bench-mysql bench-mongodb bench-kafka bench-growth bench-drivers bench-types lock clean needs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check: lint ## lint, and the unit tests: what to run before each commit
	$(BIN)/pytest --numprocesses=2 --dist=loadfile tests/unit

lint: .venv/dev.installed ## style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd .cache/src && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache $(CODE:%=commitlog/%)
	$(BIN)/pyright
	$(BIN)/lint-imports

format: .venv/dev.installed ## sort imports, format, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: .venv/dev.installed ## everything on real servers (PYTEST_ARGS='-k …' narrows it)
	$(BIN)/pytest --numprocesses=2 --dist=loadfile --durations=15 $(PYTEST_ARGS)

test-full: .venv/full.installed ## like test, with growth, several server versions and long pauses
	COMMITLOG_TEST_FULL=1 $(BIN)/pytest --durations=25 $(PYTEST_ARGS)

demo: .venv/demo.installed ## the whole way on a local PostgreSQL (DEMO_ARGS='--step' pauses between the acts, '--engine mysql' takes MySQL)
	$(BIN)/commitlog demo $(DEMO_ARGS)

demo-kafka: .venv/kafka.installed ## the same with the log on a local Kafka (needs Java 17 or later, and Maven)
	$(BIN)/commitlog demo --kafka $(DEMO_ARGS)

bench: bench-drivers bench-postgres ## both benches; they need a quiet machine and some minutes

bench-postgres: .venv/bench.installed ## rows/s, latency and memory of the worker beside Debezium (needs Java 17 or later, and a C compiler for its real speed)
	$(BIN)/python tests/bench/postgres.py $(BENCH_ARGS)

bench-mysql: .venv/bench.installed ## rows/s and memory of the worker beside Debezium on MySQL (needs Java 17 or later, and a C compiler for its real speed)
	$(BIN)/python tests/bench/mysql.py $(BENCH_ARGS)

bench-mongodb: .venv/bench.installed ## rows/s and memory of the worker beside Debezium on MongoDB (needs Java 17 or later, and a C compiler for its real speed)
	$(BIN)/python tests/bench/mongodb.py $(BENCH_ARGS)

bench-kafka: .venv/bench.installed ## rows/s, latency and memory with the log on Kafka, beside Debezium in Kafka Connect (needs Java 17 or later, and Maven)
	$(BIN)/python tests/bench/kafka.py $(BENCH_ARGS)

bench-growth: .venv/dev.installed ## rows/s and memory over transaction sizes, numbers of tables and lengths of the log
	$(BIN)/python tests/bench/growth.py $(BENCH_ARGS)

bench-drivers: .venv/dev.installed ## transactions/s of the wrapped drivers beside the plain ones
	$(BIN)/python tests/bench/drivers.py $(BENCH_ARGS)
	$(BIN)/python tests/bench/drivers_mysql.py $(BENCH_ARGS)
	$(BIN)/python tests/bench/drivers_mongodb.py $(BENCH_ARGS)

bench-types: .venv/dev.installed ## what a value of each type costs to decode
	$(BIN)/python tests/bench/types.py $(BENCH_ARGS)

# The locks name versions and hashes only, never an index: whichever index pip is set up with serves them.
# Each builds on the one before, so that all of them can be installed into one environment.
LOCK = printf 'setuptools>=77\n' | .cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-package commitlog-cdc --custom-compile-command 'make lock' $(UV_ARGS) pyproject.toml -

lock: needs ## renew the lock files (UV_ARGS='--upgrade' takes newer versions)
	test -x .cache/lock/bin/uv || { $(PYTHON) -m venv .cache/lock && .cache/lock/bin/pip install --quiet uv; }
	$(LOCK) --extra demo --output-file requirements.lock
	$(LOCK) --extra worker --extra postgres --extra mysql --extra mongodb --extra kafka --constraint requirements.lock --output-file requirements-worker.lock
	$(LOCK) --extra dev --constraint requirements.lock --constraint requirements-worker.lock --output-file requirements-dev.lock
	$(LOCK) --extra full --constraint requirements-dev.lock --output-file requirements-full.lock
	$(LOCK) --extra bench --constraint requirements-dev.lock --output-file requirements-bench.lock

clean: ## remove the environment and every cache
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	find $(CODE) tests -name __pycache__ -prune -exec rm -rf {} +

needs:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: $(PYTHON) is missing or older than 3.11" >&2; \
		echo "try: apt-get install python3 python3-venv, or make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: $(PYTHON) cannot make virtual environments" >&2; \
		echo "try: apt-get install python3-venv" >&2; exit 1; }

.venv/bin/python: | needs
	$(PYTHON) -m venv .venv

# The package is installed in place. The link under .cache/src gives the checkout the name `commitlog` for mypy,
# whatever the folder of the clone is called.
.venv/demo.installed: requirements.lock pyproject.toml $(wildcard cdc/native/*.[ch]) | .venv/bin/python
	$(PIP) install --require-hashes --requirement requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	mkdir -p .cache/src && ln -sfn ../.. .cache/src/commitlog
	touch $@

.venv/kafka.installed: requirements-worker.lock .venv/demo.installed
	$(PIP) install --require-hashes --requirement requirements-worker.lock
	touch $@

.venv/dev.installed: requirements-dev.lock .venv/demo.installed
	$(PIP) install --require-hashes --requirement requirements-dev.lock
	touch $@

.venv/full.installed: requirements-full.lock .venv/dev.installed
	$(PIP) install --require-hashes --requirement requirements-full.lock
	touch $@

.venv/bench.installed: requirements-bench.lock .venv/dev.installed
	$(PIP) install --require-hashes --requirement requirements-bench.lock
	touch $@
