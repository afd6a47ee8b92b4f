# Everything runs in .venv, which `make setup` builds from requirements.lock; the other targets call it.
# torch comes with its GPU libraries unless a package index of CPU builds is named:
#   make setup TORCH_INDEX=URL
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TORCH_INDEX ?=
# Tests that run at once.
WORKERS ?= 2

.PHONY: setup demo test lint format bench clean

setup: .venv/ready

.venv/ready: requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	touch .venv/ready

# A look at the whole bot in a minute or two, offline. Goes on where the last demo stopped.
demo: setup
	$(BIN)/python run_bot.py --demo --max-bars 300

test: setup
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build .pytest_cache .ruff_cache .mypy_cache .hypothesis
