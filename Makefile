# Two commands need no other set-up: `make demo` and `make test`. They want Python 3.11 or newer, and make.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-more test-slow test-cluster check docs gpu ui lock

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(INSTALLED)  ## run the demo sweep and write its report (about 3 minutes on 2 cores)
	@$(BIN)/rrm-sweep run sweeps/specs/demo.yaml
	@$(BIN)/rrm-analyze runs/demo
	@echo "compare in MLflow: make ui"

# One at a time where Ray runs: its workers starve beside other work.
TESTS := $(BIN)/python -m pytest
TOGETHER := -n 2 --dist loadfile --max-worker-restart=0

test: $(INSTALLED)  ## run all tests but the longest (at most 9 minutes on 2 cores)
	$(TESTS) $(TOGETHER) -m "not ray and not more and not slow and not cluster"
	$(TESTS) -m "ray and not more"

test-more: $(INSTALLED)  ## run the longer tests: real clusters, faults, S3, further models and laws (at most 30 minutes on 2 cores)
	$(TESTS) $(TOGETHER) -m "more and not ray"
	$(TESTS) -m "more and ray"

test-slow: $(INSTALLED)  ## nodes lost, drivers killed, a tracking server away, searches beside plain Optuna (20 to 30 minutes; best as root)
	$(TESTS) -m slow -s

test-cluster: $(INSTALLED)  ## docker/ built and brought up, workers killed and cut off (10 to 15 minutes; docker, or podman as root)
	$(TESTS) tests/docker -m cluster -s

check: $(INSTALLED)  ## style, types, directions of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)  ## write the tables of fields in docs/formats.md from the config classes
	$(BIN)/python -m docs.generate

gpu: $(INSTALLED)  ## measure an NVIDIA card, at most 9 minutes (benchmarks/README.md); GPU="--only speed --out gpu.json" for its options
	$(BIN)/python benchmarks/gpu.py $(GPU)

ui: $(INSTALLED)  ## open MLflow on the demo sweep; SWEEP=runs/other for another
	@$(BIN)/rrm-sweep ui $(or $(SWEEP),runs/demo)

lock:  ## pin what a fresh install of pyproject.toml gives into requirements.lock
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install -q torch==2.13.0 '.[dev]'
	.venv-lock/bin/pip freeze --all --exclude pip --exclude rrm-sweeps | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > requirements.lock
	rm -rf .venv-lock build

# Each step has a line before it; on a terminal pip shows its progress too.
PIP := $(BIN)/pip --disable-pip-version-check install --no-compile
QUIET_PIPE := $$([ -t 1 ] || echo -qq)

$(INSTALLED): requirements.lock pyproject.toml
	@echo "1 of 4: making .venv with $(PYTHON) ..."
	@$(PYTHON) -m venv .venv
	@echo "2 of 4: installing $$(grep -c == requirements.lock) packages into .venv (about 3 minutes, torch is the largest) ..."
	@$(PIP) $(QUIET_PIPE) -r requirements.lock
	@echo "3 of 4: compiling them on all cores (about half a minute) ..."
	@$(BIN)/python -m compileall -q -j 0 .venv/lib > /dev/null || true  # some packages carry files for other Pythons
	@echo "4 of 4: installing rrm-sweeps itself ..."
	@$(PIP) -qq --no-deps --no-build-isolation -e .
	@touch $@
