# One door for everything. `make study` and `make test` work on a machine that has nothing but
# Python 3.11 or 3.12 and make: they create .venv, install what they need once, and do their job.
# Set PYTHON=/path/to/python to choose the interpreter, ARGS="--quick" to pass flags to a sim.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1 && { echo $$p; break; }; done)
UV := $(shell command -v uv 2>/dev/null)
RECIPE := pyproject.toml constraints.txt
ARGS ?=

.PHONY: help study test extras hunt check lint bench sims weights notebooks record clean
.DEFAULT_GOAL := help

help: ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

study: $(VENV)/.installed ## the main job: SER over SNR and device count, table and figure
	$(BIN)/wirelesslab run ser_vs_snr_and_devices $(ARGS)

test: $(VENV)/.installed-dev ## every test, doctests included, a process for each core (at most 8)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile $(ARGS)

extras: $(VENV)/.installed-dev ## install what notebooks, Dask, learners, vision and tests need besides the core

hunt: $(VENV)/.installed-dev ## the property tests on examples that no run has tried
	$(BIN)/python -m pytest --hypothesis-profile hunt -m hypothesis $(ARGS)

lint: $(VENV)/.installed-dev ## format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## what a commit must pass: lint and test

bench: $(VENV)/.installed-dev ## the speed claims, as ratios in one run
	$(BIN)/python -m benchmarks $(ARGS)

sims: $(VENV)/.installed ## every sim at full size, into docs/results/
	$(BIN)/wirelesslab run ser_vs_snr_and_devices --out docs/results/ser_vs_snr_and_devices $(ARGS)
	$(BIN)/wirelesslab run ser_phase_map --out docs/results/ser_phase_map $(ARGS)
	$(BIN)/wirelesslab run mampnet_against_classical --out docs/results/mampnet_against_classical $(ARGS)
	$(BIN)/wirelesslab run mampnet_ablation --out docs/results/mampnet_ablation $(ARGS)
	$(BIN)/wirelesslab run mampnet_mismatch --out docs/results/mampnet_mismatch $(ARGS)
	$(BIN)/wirelesslab run mampnet_calibration --out docs/results/mampnet_calibration $(ARGS)
	for sim in queues_against_theory slice_isolation planning_and_operation failure_recovery growth twin_staleness \
			what_if_fidelity hybrid_models grant_free_in_the_network million_devices terngrad_accuracy_and_bytes \
			terngrad_over_the_network terngrad_convergence terngrad_killed_worker agents_against_rules agent_generalisation \
			worth_of_a_twin sparsity_speed models_travel ser_over_channels asynchronous roc mismatch pilot_design complexity \
			rare_classes few_shot_calibration; do \
		$(BIN)/wirelesslab run $$sim --out docs/results/$$sim $(ARGS) || exit 1; done

weights: $(VENV)/.installed ## train the shipped networks anew (about an hour and three quarters on one core)
	$(BIN)/wirelesslab run train_mampnet --out docs/results/train_mampnet/known
	$(BIN)/wirelesslab run train_mampnet --setting distribution --out docs/results/train_mampnet/distribution
	$(BIN)/wirelesslab run train_mampnet --setting one-cell --out docs/results/train_mampnet/one_cell
	$(BIN)/wirelesslab run train_mampnet --setting asynchronous --out docs/results/train_mampnet/asynchronous
	for kind in known distribution one_cell asynchronous; do for kept in npz json; do \
		cp docs/results/train_mampnet/$$kind/network.$$kept wirelesslab/mmtc/weights/$$kind.$$kept; done; done

notebooks: $(VENV)/.installed-dev ## execute the notebooks at full size, in place
	$(BIN)/jupyter execute --inplace notebooks/*.ipynb

record: $(VENV)/.installed-dev ## record the SER regression counts anew and show what changed
	$(BIN)/python -m tests.regression

clean: ## remove the environment and what tools left behind
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
ifneq ($(UV),)
	$(UV) venv --quiet $(if $(PYTHON),--python $(PYTHON),--python 3.12) $(VENV)
else
	@test -n "$(PYTHON)" || { echo "wirelesslab needs Python 3.11 or 3.12 and found neither: install one, or say make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: install its venv package (Debian: python3-venv)"; exit 1; }
endif

# The recipe files are the prerequisites: a second call installs nothing, a changed recipe installs again.
$(VENV)/.installed: $(RECIPE) | $(VENV)/bin/python
	$(call install,.)
	@touch $@

$(VENV)/.installed-dev: $(RECIPE) | $(VENV)/bin/python
	$(call install,.[dev])
	@touch $(VENV)/.installed $@

ifneq ($(UV),)
install = VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --constraint constraints.txt --editable '$(1)'
else
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '$(1)'
endif
