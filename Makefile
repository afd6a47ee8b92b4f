# Everything runs in .venv. `make setup` installs there what running needs, `make setup-dev` what tests, lint, benchmarks
# and training need besides; each target calls the one that it needs.
# torch comes with its GPU libraries unless an index of CPU builds is named, from which torch alone is taken:
#   make setup-dev TORCH_INDEX=URL
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
TORCH_INDEX ?=
# Tests that run at once: many of them wait for a process or a clock.
WORKERS ?= 3

.PHONY: setup setup-dev demo test fuzz lint format commands bench audit lock clean

setup: .venv/ready

setup-dev: .venv/ready-dev

.venv/ready: requirements.lock
	$(PYTHON) -m venv .venv
	$(PIP) install --require-hashes --requirement requirements.lock
	touch .venv/ready

.venv/ready-dev: .venv/ready requirements-dev.lock requirements-torch.lock
	$(PIP) install --require-hashes --requirement requirements-dev.lock
	$(PIP) install --requirement requirements-torch.lock $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	touch .venv/ready-dev

# A look at the whole bot in a minute or two, offline. Goes on where the last demo stopped.
demo: setup
	$(BIN)/python run_bot.py --demo --max-bars 300

test: setup-dev
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# What anybody may hand the bot, damaged and crafted, for longer than the few seconds of each fuzzer in `make test`.
SECONDS ?= 60
SEED ?= 1
fuzz: setup-dev
	FUZZ_SECONDS=$(SECONDS) FUZZ_SEED=$(SEED) $(BIN)/python -m pytest tests/fuzz --capture=no

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests
	$(BIN)/lint-imports --no-cache
	$(BIN)/vulture
	$(BIN)/python -m docs.commands --check

format: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The page docs/commands.md, from the parsers.
commands: setup
	$(BIN)/python -m docs.commands

bench: setup-dev
	$(BIN)/python -m benchmarks

# Known vulnerabilities of what the locks name; asks a database on the network.
audit: setup-dev
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements-dev.lock

# Versions and hashes for what pyproject.toml asks; LOCK_FLAGS=--upgrade moves to the newest. What torch needs is locked
# by name beside the development tools, since torch itself cannot be.
LOCK := build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --custom-compile-command "make lock" $(LOCK_FLAGS)
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --disable-pip-version-check uv
	$(LOCK) pyproject.toml --output-file requirements.lock
	printf 'filelock\nfsspec\njinja2\nnetworkx\nsympy\n' | \
		$(LOCK) pyproject.toml - --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf .venv build .pytest_cache .ruff_cache .mypy_cache .hypothesis
