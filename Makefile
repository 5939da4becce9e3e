# What people run here; every target sets itself up first (nothing to do: a few milliseconds).
.DEFAULT_GOAL := help
.PHONY: help setup s3server demo test long life check format simulate simulate-scale soak bench deb lock

RUN := . .venv/bin/activate &&
# A third of the time is waiting: three at once fill two CPUs; what takes long begins first
PYTEST ?= -n 3 --dist loadfile --no-loadscope-reorder
SEEDS ?= 1000
REQUESTS ?= 10000000

# What is temporary stays in the checkout too, that of Spark's Java included
TEMPORARY := $(CURDIR)/build/tmp
export TMPDIR := $(TEMPORARY)
export SPARK_LOCAL_DIRS := $(TEMPORARY)
export SPARK_LAUNCHER_OPTS += -XX:-UsePerfData
export SPARK_SUBMIT_OPTS += -XX:-UsePerfData -Djava.io.tmpdir=$(TEMPORARY)

# A short folder of its own for each run (paths of sockets are limited), kept when tests fail
tests = $(RUN) folder=$$(mktemp -d build/t.XXXX) && pytest --basetemp=$$folder $1 && rm -rf $$folder

help:
	@echo 'make demo      broker, partners, Spark, daemon and two kills in 90 s'
	@echo 'make test      all tests, a real broker included'
	@echo 'make long      tests of minutes: installed in systemd labs, kills at every step'
	@echo 'make life      whole lives in labs: upgraded, killed, rebooted, cut off; a fleet'
	@echo 'make check     lint, format, layers, types'
	@echo 'make format    mend what check finds, as far as tools can'
	@echo 'make simulate  the deciding core under random crashes: SEEDS=$(SEEDS) [SEED=first]'
	@echo 'make simulate-scale  a day of ten million requests: REQUESTS=$(REQUESTS)'
	@echo 'make soak      the tests that take longer than make test may'
	@echo 'make bench     against a plain asyncio consumer'
	@echo 'make deb       the Debian packages, into dist/'
	@echo 'make lock      pin the newest versions of everything'

setup:
	@mkdir -p $(TEMPORARY)
	@packaging/bootstrap

# Built once, minutes the first time; where there is no Go it says so, and its tests are skipped
s3server: setup
	@$(RUN) python -m tests.s3server >/dev/null

demo: setup
	@$(RUN) python -m reportd.demo

test: setup s3server
	@$(call tests,-m 'not (soak or long or life)' $(PYTEST))

long: setup s3server
	@$(call tests,-m 'long and not soak' -n 2 --dist loadfile)

life: setup
	@$(call tests,-m 'life and not soak' -n 2 --dist loadfile)

check: setup
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) lint-imports
	@$(RUN) mypy

format: setup
	@$(RUN) ruff check --fix --quiet . ; ruff format .

simulate: setup
	@$(RUN) python -m tests.simulation --seeds $(SEEDS) $(if $(SEED),--first $(SEED))

simulate-scale: setup
	@$(RUN) python -m tests.simulation.scale --requests $(REQUESTS)

soak: setup s3server
	@$(call tests,-m 'soak or life')
	@$(call tests,-m hypothesis --hypothesis-profile=search)

bench: setup
	@$(RUN) python -m bench

deb: setup
	@packaging/build-deb dist

LOCK := pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header

lock: setup
	@$(RUN) cd packaging && \
	printf 'setuptools\nwheel\n' | $(LOCK) --output-file requirements-build.txt - && \
	$(LOCK) --extra enqueue,test,bench,dev --output-file requirements-dev.txt ../setup.cfg && \
	$(LOCK) --constraint requirements-dev.txt --output-file requirements.txt ../setup.cfg && \
	printf 'pyspark\n' | $(LOCK) --constraint requirements-dev.txt --output-file requirements-enqueue.txt -
	@packaging/bootstrap && $(RUN) python packaging/lock_connector.py
