# The names of the workflow; `make` lists them. Everything happens in .venv, made by scripts/setup.sh.

BIN := .venv/bin
# Generated files of a test run; the stages' times are among them.
BUILD := build
export STAGE_LOG := $(BUILD)/stages.txt

LINT := $(BIN)/ruff check .
TYPES := $(BIN)/mypy
IMPORTS := $(BIN)/lint-imports --no-logo
# Colour is asked for here because the stage wrapper stands between pytest and the terminal.
PYTEST := $(BIN)/pytest $(shell [ -t 1 ] && echo --color=yes)
# Two processes share the tests, file by file: what a file builds is built by one of them. Single tests want none of this.
# The files in their order: those with few tests are not the short ones, and would come last.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup run test lint types imports cosim-units synthesis mutation formal nightly bench bench-parent docs train clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1|/' | while IFS='|' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

setup: ## Debian packages and .venv with everything but training
	@scripts/setup.sh all

run: ## set up the simulator alone and run the default workload
	@scripts/setup.sh core
	@$(BIN)/archsim run workloads/spikingformer.yaml

test: ## set up everything; lint, types, import rules, tests
	@mkdir -p $(BUILD) && rm -f $(STAGE_LOG)
	@scripts/stage.sh setup scripts/setup.sh all
	@scripts/stage.sh lint $(LINT)
	@scripts/stage.sh types $(TYPES)
	@scripts/stage.sh imports $(IMPORTS)
	@scripts/stage.sh --last tests $(PYTEST) $(WORKERS) $(ARGS)

lint: setup ## style and likely bugs (ruff)
	@$(LINT)

types: setup ## static types, strict on contracts and mapping (mypy)
	@$(TYPES)

imports: setup ## rules between the layers (import-linter)
	@$(IMPORTS)

cosim-units: setup ## mass co-simulation of every unit: both models against the Verilog
	@$(BIN)/python -m tests.rtl.mass

synthesis: setup ## area and frequency of every unit in standard cells and on an ECP5; the small chip placed and routed
	@$(BIN)/python -m rtl.synthesis
	@$(BIN)/python -m rtl.synthesis --chip small --top --place

mutation: setup ## is every wrong version of contracts and hardware noticed? (ARGS="--sample 200")
	@$(BIN)/python -m scripts.mutate $(ARGS)

formal: setup ## formal proofs: queues, arbiter, crossbar, deadlock, streams of every unit (ARGS="--only NAME")
	@$(BIN)/python -m rtl.formal --out reports/formal.md $(ARGS)

nightly: setup ## all of that and the pool at full length, results under reports/nightly (ARGS="formal cosim-pool")
	@scripts/nightly.sh $(ARGS)

bench: setup ## paired benchmarks beside PyTorch and the Verilog (ARGS="--only forward")
	@scripts/setup.sh train
	@$(BIN)/python -m benchmarks $(ARGS)

bench-parent: setup ## is this tree slower than the commit before it? (ARGS="COMMIT --bound 1.1")
	@$(BIN)/python -m benchmarks.parent $(ARGS)

docs: setup ## write docs/units and the outputs in README.md from the code
	@$(BIN)/python -m scripts.document

train: ## install torch, train the workload's network, write its artefact
	@scripts/setup.sh train
	@$(BIN)/python -m workloads.training.spikingformer

clean: ## remove generated files and caches, keep .venv
	@rm -rf $(BUILD) dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find archsim benchmarks rtl mapping cosim workloads tests scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
