# Everything that Rookery's README and CI need. `make help` lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
GAMES  ?= samples/games.pgn.zst
RUN    ?= runs/$(firstword $(subst ., ,$(notdir $(firstword $(GAMES)))))
ARGS   ?=
PUZZLES   ?=
POSITIONS ?=
MEASURE   ?= --nodes 200 --games 200 --play search

export PATH := $(PATH):/usr/games:/usr/sbin

.PHONY: help setup stockfish chromium nats run hour test torture lint format bench reference screenshots clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: stockfish $(VENV)/ready ## make the virtual environment and install Stockfish

run: setup ## train on the bundled games, or on GAMES="a.pgn b.pgn.zst"; RUN=dir, ARGS="--nodes 200"
	@$(BIN)/rookery up $(GAMES) --run $(RUN) $(ARGS)

hour: setup ## train on GAMES, train the baselines, measure on PUZZLES and POSITIONS: an hour on two cores
	@$(BIN)/rookery up $(GAMES) --run $(RUN) --settings recipes/one-hour.toml $(ARGS)
	@$(BIN)/rookery baselines $(RUN)
	@$(BIN)/rookery evaluate $(RUN) $(PUZZLES:%=--puzzles %) $(POSITIONS:%=--positions %) $(MEASURE)

test: setup chromium nats ## run all tests
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

torture: setup ## faults, floods and strangers against a real fleet; ARGS="PART... --seed N --short"
	@$(BIN)/python -m tests.torture $(ARGS)

lint: $(VENV)/ready ## check format, style, types and the architecture
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_architecture.py

format: $(VENV)/ready ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup ## measure the speed table, into build/bench.json
	@$(BIN)/python -m benchmarks

reference: setup ## build docs/commands.md and the man page from the commands' helps
	@$(BIN)/python -m deploy.reference

screenshots: setup ## take the pictures in docs/images, of a run that is made for it: a few minutes
	@$(BIN)/python -m deploy.screenshots --to docs/images

clean: ## remove the environment and what was built
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Rookery needs Python 3.11 or later; try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "can't make a virtual environment; on Debian type: sudo apt-get install python3-venv"; exit 1; }
	@echo "installing Python packages into $(VENV) (PyTorch among them: this takes a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

stockfish:
	@command -v stockfish >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Stockfish"; \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq stockfish) >/dev/null; \
	else \
	  echo "Stockfish is not installed. Type: sudo apt-get install stockfish   (macOS: brew install stockfish)"; \
	  echo "then the same make command again. Another build: make run ARGS='--engine /path/to/stockfish'"; \
	  exit 1; \
	fi

chromium:
	@command -v chromium >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Chromium, for the tests of the dashboard's page"; \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium) \
	    >/dev/null && exit 0; \
	fi; \
	echo "no Chromium: the tests of the dashboard's page are skipped (Debian: sudo apt-get install chromium)"

nats:
	@command -v nats-server >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing nats-server, for runs and tests on NATS"; \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nats-server) \
	    >/dev/null && exit 0; \
	fi; \
	echo "no nats-server: the tests of runs on NATS are skipped (Debian: sudo apt-get install nats-server)"
