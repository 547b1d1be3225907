# What a user types first and what a maintainer repeats. Everything runs from .venv, made on the first call.
#
# TORCH_INDEX: an index URL of PyTorch builds (CPU only, or another CUDA), for the machine's set-up. Empty: PyPI's build.

PYTHON ?= python3
TORCH_INDEX ?=
CORES ?= all
CONFIG ?= config/config.yaml
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SITE := $(VENV)-site
CHECKS := $(VENV)-checks
NEW_ENOUGH := $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "dnatune needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)

.DEFAULT_GOAL := help
.PHONY: help demo demo-base cost test test-slurm test-long test-faults bench doctor lint audit lock tables docs site image sif clean setup

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

demo: $(READY) ## run the whole chain on simulated promoters, without a GPU, to results/demo/report.html
	$(SNAKEMAKE) --configfile config/demo.yaml
	@$(BIN)/python tools/stage_times.py logs/demo/benchmarks
	@echo "Report: results/demo/report.html"

demo-base: $(READY) ## make the base model of the demo anew, in config/demo-base
	$(SNAKEMAKE) --configfile config/demo-base.yaml -- results/demo-base/download/models/tiny
	cp $(addprefix results/demo-base/download/models/tiny/,config.json generation_config.json pretraining.json tokenizer.json tokenizer_config.json) results/demo-base/download/models/tiny/model.safetensors config/demo-base

cost: $(READY) ## say what the configuration of CONFIG (config/config.yaml) costs: jobs, hours, disk space
	$(BIN)/python -m dnatune cost --configfile $(CONFIG)

# Two processes share the tests, by file; with a thread each they do not fight for two cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations=15 --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: $(READY) lint ## run the linters, the unit tests and the workflow's tests
	$(PYTEST) -m "not slow and not gpu"

# A real Slurm on this machine: root, and Debian's packages of .ci/packages-slurm.txt.
test-slurm: $(READY) ## run the tests on a real Slurm, started on this machine (needs root)
	$(BIN)/python -m pytest -m "not slow" --durations=15 tests/slurm

# The first where the machine can run a Slurm, and those of the image where root has debootstrap
# (.ci/packages-container.txt); elsewhere those tests skip with a reason.
test-long: $(READY) ## run the tests that are too long for every change
	$(BIN)/python -m pytest -m "slow" --durations=15 tests/slurm
	$(PYTEST) -m "slow and not gpu"

test-faults: $(READY) ## run the tests of faults, the long ones too, and print the table of docs/reliability.md
	$(BIN)/python -m pytest -m "fault" tests/slurm
	$(PYTEST) -m "fault"

doctor: $(READY) ## say what will work on this machine or cluster, and write a site file
	$(BIN)/python -m dnatune doctor

bench: $(READY) ## time the original recipe, common practice and dnatune's own
	$(SNAKEMAKE) benchmark --configfile config/benchmark.yaml

lint: $(READY) $(CHECKS)/.ready ## check style, the rooms' floors, the workflow, and what a release needs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=workflow $(BIN)/lint-imports --no-cache
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint --configfile config/demo.yaml
	$(CHECKS)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(CHECKS)/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(CHECKS)/bin/zizmor --offline --quiet --persona pedantic .github/workflows

audit: $(READY) ## look the locked packages up in the database of known vulnerabilities (needs pypi.org)
	$(BIN)/python tools/audit.py envs/requirements.lock --environment $(VENV)-audit
	$(BIN)/python tools/audit.py envs/site.lock --environment $(VENV)-audit
	$(BIN)/python tools/audit.py envs/checks.lock --environment $(VENV)-audit

setup: $(READY) ## install the pinned environment into .venv

$(READY): envs/requirements.lock
	@$(NEW_ENOUGH)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --index-url "$(TORCH_INDEX)" "$$(grep '^torch==' envs/requirements.lock)")
	DS_BUILD_OPS=0 $(BIN)/python -m pip install -r envs/requirements.lock
	@# `python -m dnatune` finds the library of this checkout.
	echo '$(CURDIR)/workflow' > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dnatune.pth"
	touch $@

# Resolves what is asked for in a fresh environment, so that a lock holds nothing that nobody asked for.
define resolve
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install -q -r envs/$(1).in
	{ echo "# Made by 'make lock' from $(1).in.$(2)"; \
	  $(VENV)-lock/bin/python -m pip freeze | grep -viE '^(nvidia|cuda|triton)' | sed 's/+cpu$$//'; } > envs/$(1).lock
	rm -rf $(VENV)-lock
endef

lock: ## resolve the pins anew
	$(call resolve,requirements, CUDA libraries follow from torch's own pins.)
	$(call resolve,site)
	$(call resolve,checks)
	$(PYTHON) tools/make_conda.py

# The tables of config/README.md and the schemas for editors from the models of settings, and the figures of docs/ from
# the demo.
tables: $(READY) ## make the tables of the documentation and the schemas from the code
	$(BIN)/python docs/make_tables.py

docs: tables ## make the tables and, with a run of the demo, the figures of the documentation
	$(SNAKEMAKE) --configfile config/demo.yaml -- results/demo/report.html
	mkdir -p docs/figures
	cp results/demo/compare/figures/loss.svg docs/figures/
	$(BIN)/python tools/stability.py --figure docs/figures/stability.svg

site: $(SITE)/.ready ## build the documentation's website into build/site; a broken link ends it
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict

# An environment of its own for programs that nothing here imports: $(VENV)-site from envs/site.lock, for example.
$(VENV)-%/.ready: envs/%.lock
	@$(NEW_ENOUGH)
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -r $<
	touch $@

# Images for sites on which jobs run in containers (docs/container.md). Docker's command may be there without its daemon.
image: ## build the image dnatune:latest with docker or podman
	@for tool in docker podman; do $$tool info >/dev/null 2>&1 && exec $$tool build --tag dnatune \
	  --build-arg TORCH_INDEX="$(TORCH_INDEX)" --file envs/container/Dockerfile .; done; \
	  echo "neither docker nor podman works on this machine: install one, start Docker's daemon, or use make sif" >&2; exit 1

sif: ## build the image build/dnatune.sif with apptainer
	@mkdir -p build
	@for tool in apptainer singularity; do command -v $$tool >/dev/null && exec $$tool build --force \
	  --build-arg TORCH_INDEX="$(TORCH_INDEX)" build/dnatune.sif envs/container/dnatune.def; done; \
	  echo "neither apptainer nor singularity is on PATH: load its module, or build elsewhere (docs/container.md)" >&2; exit 1

clean: ## remove .venv
	rm -rf $(VENV) $(VENV)-audit $(SITE) $(CHECKS)
