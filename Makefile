# Needs Python 3.11 or newer and make. Everything else goes into .venv, from the hashed lock.
.DEFAULT_GOAL := help
.PHONY: help demo up restart down status test test-all check chart containers bench rehearse faults storm simulate conditions fuzz wheel docs lock again
MAKEFLAGS += --no-print-directory
# Tests start hundreds of Python processes, which share the compiled bytecode.
unexport PYTHONDONTWRITEBYTECODE
SHELL := /bin/sh

# The first Python that runs (a pyenv shim may not), is new enough, and can create a virtualenv.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3.14 python3; do \
	$$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && { command -v $$python; break; }; done)

VENV := .venv
RUN := $(VENV)/bin/python
# Stamps, copies of the locks that .venv has installed: INSTALLED has everything, DEMO what demo and up need.
INSTALLED := $(VENV)/installed
DEMO := $(or $(wildcard $(INSTALLED)),$(VENV)/installed-devstack)
DEVSTACK := $(RUN) -m devstack

help: ## list these recipes
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		awk -F'|' '{ printf "%-17s %s\n", $$1, $$2 }'

demo: $(DEMO) ## replay the incident in the terminal; EXIT=1 exits at the end, with 0 only if all checks passed
	@$(DEVSTACK) demo $(if $(EXIT),--exit)

up: $(DEMO) ## start the stack in the background, or what is missing of it; RESET=1 deletes all data first
	@$(DEVSTACK) up $(if $(RESET),--reset)

restart: $(DEMO) ## stop one process of the stack and start it again; PROCESS=bridge
	@$(DEVSTACK) restart $(PROCESS)

down: $(DEMO) ## stop the stack; keep records, apps and ports, unless RESET=1
	@$(DEVSTACK) down $(if $(RESET),--reset)

status: $(DEMO) ## show what of the stack runs, and how to start what does not
	@$(DEVSTACK) status

test: $(INSTALLED) ## run the tests in parallel, with the services; ARGS="-k name" for some
	@$(DEVSTACK) run -- $(RUN) -m pytest -n auto $(ARGS)

SUITES := default chart containers clients rehearsal fuzz faults storm simulation conditions benchmarks
test-all: $(addprefix suite-,$(or $(SUITE),$(SUITES))) ## run every suite, before a release; SUITE="faults fuzz" for some

suite-default:
	@$(MAKE) test
suite-containers: containers
	@$(RUN) -m pytest tests/qa/containers -p no:randomly -s
suite-clients suite-rehearsal: suite-%: $(INSTALLED)
	@$(DEVSTACK) run -- $(RUN) -m pytest tests/qa/$*
suite-chart suite-fuzz suite-faults suite-storm suite-conditions: suite-%:
	@$(MAKE) $*
suite-simulation:
	@$(MAKE) simulate SEEDS=100000
suite-benchmarks:
	@$(MAKE) bench
suite-%:
	@echo "test-all: there is no suite $*: choose one of $(SUITES)" >&2; exit 2

check: $(INSTALLED) ## lint, format, types, import rules, migrations, deployment checks, compose file
	@$(RUN) -m devstack.check

chart: $(INSTALLED) ## lint and render the Helm chart and validate its objects; needs helm and kubernetes-validate
	@$(RUN) -m devstack.chart

containers: $(INSTALLED) ## run docker/compose.yaml with Docker or podman and send one update; DOWN=1, RESET=1, STANDINS=1, TRIAL=1
	@$(RUN) -m devstack.containers $(if $(DOWN),--down) $(if $(RESET),--reset) $(if $(STANDINS),--standins) $(if $(TRIAL),--trial)

bench: $(INSTALLED) ## measure drain, edge and spike; BENCH=edge for one; BENCH=fairness, contenders, mirrored, sizes, backlog; ARGS
	@for each in $(or $(BENCH),drain edge spike); do \
		[ $$each != contenders ] || export NOTIFY_EMBEDDED=0 NOTIFY_KAFKA=apache; \
		$(DEVSTACK) run -- $(RUN) -m tests.qa.benchmarks.$$each $(ARGS) || exit 1; done

rehearse: $(INSTALLED) ## measure the incident with a support person in Chromium; ARGS="--only skip" for one
	@$(DEVSTACK) run -- $(RUN) -m tests.qa.rehearsal $(ARGS)

faults: $(INSTALLED) ## test every fault on real services and write docs/reliability.md; ARGS="-k NAME" for one
	@NOTIFY_FAULTS=all $(RUN) -m pytest tests/qa/faults -p no:randomly -rs --no-header $(ARGS)

storm: $(INSTALLED) ## test random faults under full load; SEEDS="1 2", ARGS="-k embedded" for the embedded broker
	@NOTIFY_KAFKA=apache NOTIFY_STORM_SEEDS="$(or $(SEEDS),94 51)" $(RUN) -m pytest tests/qa/faults \
		-p no:randomly -s --no-header $(or $(ARGS),-k "storm and not embedded")

simulate: $(INSTALLED) ## simulate SEEDS=N schedules of the protocol on all cores; SEEDS=S STEPS=... replays one
	@$(RUN) -m tests.simulation $(or $(SEEDS),10000) $(if $(STEPS),--steps $(STEPS))

conditions: $(INSTALLED) ## remove each condition of the engine; a test must then fail; ARGS="FILE:LINE" for some
	@$(RUN) -m tests.simulation.conditions $(ARGS)

fuzz: $(INSTALLED) ## test INPUTS=N or SECONDS=S of hostile inputs, EXAMPLES=N of each route; SEED=S INPUT=N replays one
	@$(RUN) -m tests.qa.fuzz $(if $(INPUTS),--inputs $(INPUTS)) $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(SEED),--seed $(SEED)) $(if $(INPUT),--input $(INPUT))
	@$(if $(INPUT),:,NOTIFY_FUZZ_EXAMPLES=$(or $(EXAMPLES),20) NOTIFY_FUZZ_SEED=$(SEED) \
		$(DEVSTACK) run -- $(RUN) -m pytest tests/qa/fuzz/test_http.py -q -s -p no:randomly)

wheel: $(INSTALLED) ## build the wheel into dist/
	@$(RUN) -m pip wheel --no-deps --no-index --no-build-isolation --wheel-dir dist --quiet .

docs: $(INSTALLED) ## build the documentation as a site, in site/; a warning is an error
	@$(RUN) -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --nitpicky --conf-dir docs/sphinx . site

lock: $(INSTALLED) ## resolve pyproject.toml into requirements/; UPGRADE=1 takes the newest releases
	@$(RUN) -m devstack.lock $(if $(UPGRADE),--upgrade)

$(INSTALLED): requirements/dev.txt
$(VENV)/installed-devstack: requirements/devstack.txt
# Set up again if .venv's Python is gone, as after an upgrade of the system.
$(INSTALLED) $(VENV)/installed-devstack: $(if $(wildcard $(RUN)),,again)
	@python="$(PYTHON)"; \
	[ -n "$$python" ] || { echo "set-up: found no Python >= 3.11 with venv: install one" \
		"(on Debian also python3-venv), or name it: make PYTHON=/path/to/python" >&2; exit 1; }; \
	"$$python" -m devstack.install $(filter %.txt,$^) $@

again: ;
