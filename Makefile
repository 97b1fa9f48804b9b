# Runs from a checkout on a machine with Python (3.11 or newer) and make; `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
WORKERS ?= 2
ARGS ?=
PYTEST_ARGS ?=

PYTEST := $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile
SCRIPTS := $(wildcard *.sh */*.sh */*/*.sh) .ci/run

# A software view sets these, and its packages would then hide the pinned ones.
unexport PYTHONPATH
unexport PYTHONHOME

# Two targets must not install into one environment at the same time.
.NOTPARALLEL:

.PHONY: help run test test-slow bench lint ruff format mypy shellcheck docs \
	docker/requirements.txt clean

help:
	@echo 'make run        run the pipeline:             make run ARGS="--config config.yaml"'
	@echo 'make test       run the tests:                make test PYTEST_ARGS="-k masses"'
	@echo 'make test-slow  run the tests marked slow'
	@echo 'make bench      measure speed and memory:     make bench ARGS=--quick'
	@echo 'make lint       check style, types and shell scripts'
	@echo 'make docs       write the parts of docs/ that are made of the sources'
	@echo 'make docker/requirements.txt  write the packages of the container anew'
	@echo 'make clean      remove $(VENV) and caches, never results'
	@echo
	@echo 'The first call makes $(VENV) with PYTHON ($(PYTHON)) and the versions of constraints.txt.'
	@echo 'Another interpreter:  make clean run PYTHON=python3.12'

run: $(VENV)/.installed-run
	$(VENV)/bin/python main.py $(ARGS)

test: $(VENV)/.installed-test
	$(PYTEST) $(PYTEST_ARGS)

# pytest exits with 5 when nothing was collected: fine here, as no test need be slow.
test-slow: $(VENV)/.installed-test
	@status=0; $(VENV)/bin/python -m pytest -m slow --collect-only -qq $(PYTEST_ARGS) >/dev/null || status=$$?; \
	if [ $$status -eq 5 ]; then echo 'There are no slow tests.'; \
	else set -x; $(PYTEST) -m slow $(PYTEST_ARGS); fi

# Ten minutes on a machine that does nothing else; ends with an error if an aim is not met.
bench: $(VENV)/.installed-test
	$(VENV)/bin/python -m benchmarks $(ARGS)

lint: ruff format mypy shellcheck

ruff: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .

format: $(VENV)/.installed-dev
	$(VENV)/bin/ruff format --check .

mypy: $(VENV)/.installed-dev
	$(VENV)/bin/mypy

shellcheck:
	@if command -v shellcheck >/dev/null; then set -x; shellcheck $(SCRIPTS); \
	else echo 'shellcheck is not installed: the shell scripts were not checked.'; fi

docs: $(VENV)/.installed-run
	$(VENV)/bin/python docs/generate.py

# XRootD's client has to be built for each machine, and is optional.
docker/requirements.txt:
	{ echo '# Made of constraints.txt: make $@'; grep -v '^xrootd==' constraints.txt; } > $@

clean:
	rm -rf $(VENV) *.egg-info build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of packages, so pip runs only after these two files have changed.
$(VENV)/.installed-test: EXTRA := [test]
$(VENV)/.installed-dev: EXTRA := [dev]
$(VENV)/.installed-run $(VENV)/.installed-test $(VENV)/.installed-dev: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null \
		|| { echo 'No $(PYTHON) on this machine: install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1): name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo '$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt-get install python3-venv)' >&2; exit 1; }
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo 'Installing the packages of constraints.txt into $(VENV) ...'
	@$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.$(EXTRA)'
	@touch $@
