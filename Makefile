# run: all of Névé on this machine, until Ctrl-C. test: about 27 minutes on 2 cores; test-long: what is longer. bench, lint, image.
# neve-send.pyz: dist/neve-send.pyz, the sender for machines that have Python and nothing else.
# NEVE_HOME (default ./.neve), NEVE_PORT (default 8000) and DOCKER_HOST are respected.

PYTHON ?= python3
BIN := .venv/bin
# What decides whether the environment is up to date; the package itself is installed in place.
SOURCES := pyproject.toml constraints.txt
# Compiled while installing, on all cores, so that the first start is as quick as the second.
INSTALL := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt
# Our own as well: where Python may write none (PYTHONDONTWRITEBYTECODE), each of an instance's processes would compile it anew.
COMPILE := $(BIN)/python -m compileall -q archiver extensions

.PHONY: run test test-long bench lint image neve-send.pyz

run: .venv/installed
	@exec $(BIN)/neve-run --build-image

test: .venv/installed-dev
	tests/prepare.sh
	$(COMPILE)
	$(BIN)/python -m pytest -n 3 --no-loadscope-reorder -m "not long" $(PYTEST_ARGS)

test-long: .venv/installed-dev
	tests/prepare.sh
	$(BIN)/python -m pytest -m long $(PYTEST_ARGS)

bench: .venv/installed-dev
	$(BIN)/python tests/bench/start.py
	$(BIN)/python tests/bench/claims.py
	$(BIN)/python tests/bench/copies.py
	$(BIN)/python tests/bench/reception.py
	$(BIN)/python tests/bench/inbox.py 100000
	$(BIN)/python tests/bench/catalog.py
	$(BIN)/python tests/bench/reading.py
	$(BIN)/python tests/bench/mounts.py
	$(BIN)/python tests/bench/spawn.py

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

image: .venv/installed
	images/singleuser/build.sh

neve-send.pyz: .venv/installed
	$(BIN)/python images/neve-send/build.py

.venv/bin/uv:
	@echo "making .venv and installing: a minute or two, the first time only"
	@$(PYTHON) -c 'import sys; sys.exit("Névé needs Python 3.11 or newer; set PYTHON=… to one.") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .venv || { echo "python3 -m venv does not work here (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv

.venv/installed: $(SOURCES) | .venv/bin/uv
	@$(INSTALL) -e '.[archiver,hub,notebook]'
	@$(COMPILE)
	@touch $@

.venv/installed-dev: $(SOURCES) | .venv/bin/uv
	@$(INSTALL) -e '.[archiver,hub,notebook,dev]'
	@$(COMPILE)
	@touch $@ .venv/installed
