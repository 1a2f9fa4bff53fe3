# On a fresh machine `make demo` and `make test` set everything up in .venv first; a second call installs nothing.

PYTHON ?= python3
TORCH ?=
ARGS ?=

BIN := .venv/bin
STAMP := .venv/installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
UV := $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt

.PHONY: help demo test test-all test-ray test-live check docs build clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     set up, then train, score and evaluate on a small synthetic world"
	@echo "make test     set up, then run the tests         (make test ARGS='-k smoothing')"
	@echo "make test-all set up, then run the long tests as well"
	@echo "make test-ray set up with Ray, then run the tests of the engine for many machines"
	@echo "make test-live set up, then run the tests with an RTSP server and a broker, which need GStreamer and mosquitto"
	@echo "make check    set up, then format, lint and types"
	@echo "make docs     set up, then build the documentation in site/"
	@echo "make build    set up, then make the sdist and the wheel in dist/"
	@echo "make clean    remove the environment and the tools' caches"
	@echo
	@echo "PYTHON=python3.12   the interpreter for a new environment: 3.11, 3.12 or 3.13"
	@echo "TORCH=cpu           for a new environment: torch without CUDA, a much smaller download"

demo: $(STAMP)
	$(BIN)/mulde demo $(ARGS)

# The tests' arrays are small: two processes of one thread each take half the time of one that has two.
test test-all: export OMP_NUM_THREADS ?= 1
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m '' $(ARGS)

# Apart, because Ray is an extra of 240 MB and its tests start clusters.
test-ray: export OMP_NUM_THREADS ?= 1
test-ray: $(STAMP)
	$(BIN)/python -c 'import ray' 2>/dev/null || $(UV) -e ".[ray]" || $(PIP) -e ".[ray]"
	$(BIN)/python -m pytest tests/ray $(ARGS)

# Apart, because they need packages of the system, named in the files of tests/live: skipped without.
test-live: export OMP_NUM_THREADS ?= 1
test-live: $(STAMP)
	$(BIN)/python -m pytest tests/live $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(STAMP)
	$(BIN)/mkdocs build --strict --quiet
	@echo "the documentation: site/index.html"

# The wheel is made from the sdist, so that what lies in the checkout but is not handed out cannot get into it.
build: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --quiet --no-isolation
	$(BIN)/twine check --strict dist/*

# The environment is made anew and the stamp comes last, so nothing of an interrupted installation is left in use.
# uv takes a third of pip's time; pip is there for machines whose package index only pip has been told of.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
		echo "mulde needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." \
			"Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments." \
			"Try (Debian, Ubuntu): apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(PIP) uv
ifeq ($(TORCH),)
	$(UV) -e ".[openvino,dev]" || $(PIP) -e ".[openvino,dev]"
else
	$(UV) --torch-backend=$(TORCH) -e ".[openvino,dev]"
endif
	@touch $@

clean:
	rm -rf .venv build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
