# What a user types first and what a maintainer repeats. Everything runs from .venv, made on the first call.
#
# TORCH_INDEX: an index URL of PyTorch builds (CPU only, or another CUDA), for the machine's set-up. Empty: PyPI's build.

PYTHON ?= python3
TORCH_INDEX ?=
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Where a checkout has the library.
LIBRARY := PYTHONPATH=workflow
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES) --rerun-incomplete

.PHONY: demo test test-slurm test-long bench doctor lint lock docs clean setup

demo: $(READY)
	$(SNAKEMAKE) --configfile config/demo.yaml
	@$(LIBRARY) $(BIN)/python tools/stage_times.py logs/demo/benchmarks
	@echo "Report: results/demo/report.html"

# Two processes share the tests, by file; with a thread each they do not fight for two cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations=15 --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: $(READY) lint
	$(PYTEST) -m "not slow and not gpu"

# A real Slurm on this machine: root, and Debian's packages of .ci/packages-slurm.txt.
test-slurm: $(READY)
	$(BIN)/python -m pytest -m "not slow" --durations=15 tests/slurm

# The first where the machine can run a Slurm; elsewhere those tests skip with a reason.
test-long: $(READY)
	$(BIN)/python -m pytest -m "slow" --durations=15 tests/slurm
	$(PYTEST) -m "slow and not gpu"

doctor: $(READY)
	$(LIBRARY) $(BIN)/python -m dnatune doctor

bench: $(READY)
	$(SNAKEMAKE) benchmark --configfile config/benchmark.yaml

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(LIBRARY) $(BIN)/lint-imports --no-cache
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint --configfile config/demo.yaml

setup: $(READY)

$(READY): envs/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "dnatune needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --index-url "$(TORCH_INDEX)" "$$(grep '^torch==' envs/requirements.lock)")
	DS_BUILD_OPS=0 $(BIN)/python -m pip install -r envs/requirements.lock
	touch $@

# Resolves requirements.in in a fresh environment, so that the lock holds nothing that nobody asked for.
lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install -q -r envs/requirements.in
	{ echo "# Made by 'make lock' from requirements.in. CUDA libraries follow from torch's own pins."; \
	  $(VENV)-lock/bin/python -m pip freeze | grep -viE '^(nvidia|cuda|triton)' | sed 's/+cpu$$//'; } > envs/requirements.lock
	$(VENV)-lock/bin/python envs/make_conda.py
	rm -rf $(VENV)-lock

# The tables of config/README.md from the schemas, and the figures of docs/ from the demo.
docs: $(READY)
	$(BIN)/python docs/make_tables.py
	$(SNAKEMAKE) --configfile config/demo.yaml results/demo/compare/loss.svg
	mkdir -p docs/figures
	cp results/demo/compare/loss.svg docs/figures/
	$(LIBRARY) $(BIN)/python tools/stability.py --figure docs/figures/stability.svg

clean:
	rm -rf $(VENV)
