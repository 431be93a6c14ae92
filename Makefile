# make demo    the chat on http://localhost:6969
# make test    everything that CI runs
# See CONTRIBUTING.md for the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Found by meson and ninja too, which call each other by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test test-c test-python test-versions lint soak mutations compliance bench fuzz format house screenshot clean

demo: $(VENV)/installed
	@$(BIN)/python examples/chat/app.py

test: $(VENV)/tests-installed
	@$(BIN)/python tests/run_all.py

# ---- parts of `make test`, for one at a time ----

test-c: $(VENV)/tests-installed
	@$(BIN)/python tests/run_all.py core

test-python: $(VENV)/tests-installed
	@$(BIN)/python tests/run_all.py python

test-versions: $(VENV)/tests-installed
	@$(BIN)/python tests/run_all.py versions

lint: $(VENV)/tests-installed
	@$(BIN)/python tests/run_all.py lint

# ---- the long forms ----

soak: $(VENV)/tests-installed
	FWS_SOAK_ROUNDS=200000 FWS_HOSTILE_SECONDS=1800 FWS_RELOADS=100 FWS_FLOOD_PAIRS=5 \
	  FWS_THROWN_STEP=1 $(BIN)/pytest -s -o timeout=7200 tests/soak tests/servers/test_gunicorn.py \
	  tests/python/test_thrown_in.py
	FWS_STRESS_SECONDS=600 $(BIN)/python tests/run_all.py stress
	$(BIN)/python tests/core/mutations.py

mutations: $(VENV)/tests-installed
	$(BIN)/python tests/core/mutations.py

compliance: $(VENV)/tests-installed
	$(BIN)/python tests/compliance/autobahn.py

bench: $(VENV)/tests-installed
	$(BIN)/python bench/run.py --json build/bench.json

fuzz: $(VENV)/tests-installed
	$(BIN)/python fuzz/run.py

# ---- upkeep ----

format: $(VENV)/tests-installed
	$(BIN)/python tests/lint/stubs.py
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i core/*.h core/*/*.[ch] binding/*.[ch] tests/core/*.[ch] bench/*.[ch] bench/*/*.[ch] fuzz/*.c

house: $(VENV)/tests-installed
	$(BIN)/python tests/lint/draw.py

screenshot: $(VENV)/tests-installed
	rm -f docs/demo.png
	$(BIN)/pytest tests/browser -k demo

clean:
	rm -rf build $(VENV) .cache

# ---- the environment ----

SOURCES := meson.build meson_options.txt pyproject.toml \
           $(shell find core binding src -type f -not -path '*/__pycache__/*')

$(VENV)/bin/python:
	@echo "making the virtual environment $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "needs Python 3.10 or later")'
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "The venv module is missing: apt-get install python3-venv python3-dev"; rm -rf $(VENV); exit 1; }

# `pip install .`, again whenever a source has changed; the build folder is kept, so that only what
# has changed is compiled.
$(VENV)/installed: $(VENV)/bin/python $(SOURCES)
	@command -v cc >/dev/null || { echo "A C compiler is missing: apt-get install gcc libc6-dev"; exit 1; }
	@printf '#include <stdio.h>\n#include <zlib.h>\n' | cc -E - >/dev/null || \
	  { echo "Headers are missing: apt-get install libc6-dev zlib1g-dev"; exit 1; }
	@$(BIN)/python -c 'import os, sysconfig as s, sys; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h") and "Python.h is missing: apt-get install python3-dev")'
	@echo "building and installing flask-websockets into $(VENV) ..."
	@$(BIN)/pip install -q --disable-pip-version-check --config-settings=build-dir=build/wheel .
	@touch $@

$(VENV)/tests-installed: $(VENV)/installed requirements-dev.txt tests/system_packages.py
	@echo "installing what the tests need into $(VENV) ..."
	@$(BIN)/pip install -q --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python tests/system_packages.py
	@touch $@
