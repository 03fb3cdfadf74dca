# make chat    serve the chat and print its address
# make check   see in a minute what a change has broken: style, types, a sample of the tests
# make test    run all the tests, three at a time for each core
#              (ARGS="-k close" runs some of them, WORKERS=0 one after the other)
# make lint    check style and types, those of the compiled core too
# make coverage      measure what the tests reach, of the compiled core too
# make mutants       remove one guard at a time, and see that the tests notice
# make fuzz          fuzz with sanitizers, and compare with others  (SECONDS=600 a target, CASES=1000000)
# make sanitize      run tests of the core with sanitizers  (ARGS="tests/test_tls.py")
# make faults        break what is around the server  (ARGS="t11 --engine epoll")
# make autobahn, make bench, make clean
# make test-peers    run applications of other frameworks under us and under uvicorn, and compare
# make docs-check    run the programs of the pages, and the configurations of nginx and HAProxy
# make bench-peers   install the servers that the benchmarks compare with
#
# Everything is made in .venv; PYTHON chooses the interpreter that it is made from.

PYTHON ?= python3
VENV := .venv
# How many processes run tests, unless WORKERS says it, three for each core: half of the time a test
# waits, for a process or a deadline. Each of them collects all tests, which takes 5 s.
workers = $(or $(WORKERS),$(shell echo $$((3 * $$(getconf _NPROCESSORS_ONLN)))))
DIST := --dist loadfile --no-loadscope-reorder
BUILD := $(VENV)/build
PYTEST := $(VENV)/bin/python -m pytest -o cache_dir=$(VENV)/pytest-cache
# What fails beside other tests is judged again, alone, as a neighbour may have been too loud.
JUDGE_AGAIN := $(VENV)/bin/python tests/judge_again.py $(VENV)/pytest-cache
PIP_INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

# Options of the build, as SETUP="-Doptimization=0", which compiles in a third of the time.
SETUP ?=

# Of fuzzing: a build beside the ordinary one, seconds for each target, cases of the comparison.
SANITIZED := $(VENV)/sanitized
SECONDS ?= 600
CASES ?= 1000000

# Each of the processes would compile all the tests for itself.
unexport PYTHONDONTWRITEBYTECODE

# Meson finds cython, meson and ninja on the PATH.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# The servers on Python to compare with, and what `make bench` runs.
PEERS := $(basename $(notdir $(wildcard benchmarks/peers/requirements/*.txt)))
BENCHMARKS := echo.py 'echo.py --tls' 'echo.py --deflate' memory.py broadcast.py handshakes.py \
	client.py fan_in.py listeners.py growth.py two_cores.py http1.py topics.py streams.py hosts.py cluster.py

# With the folders, whose time says that a file came or went.
SOURCES := meson.build $(shell find src ! -name __pycache__ ! -name '*.pyc')
CORE := $(subst /,.,$(patsubst src/%.pyx,%,$(sort $(shell find src -name '*.pyx'))))
ifneq ($(shell uname -s),Linux)
CORE := $(filter-out sockwave.core.io.epoll.% sockwave.core.tls.epoll_socket sockwave.core.tls.stamped_socket sockwave.loadgen.%,$(CORE))
endif

.PHONY: help chat check test lint coverage mutants fuzz sanitize faults test-peers docs-check autobahn bench bench-peers clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

chat: $(VENV)/install.stamp
	@$(VENV)/bin/python -m sockwave chat $(ARGS)

check: $(VENV)/install.stamp $(VENV)/test.stamp $(VENV)/lint.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict src
	$(PYTEST) --numprocesses $(workers) $(DIST) --sample $(ARGS) || \
		{ [ $$? = 1 ] && $(JUDGE_AGAIN) --sample $(ARGS); }

# A file's tests stay together, as they share servers; the files are taken in order, which begins
# with those that take long (tests/conftest.py), not with those of many tests. What compares times
# has the machine to itself. Each of the two may find nothing to run (5), as long as the other does.
test: $(VENV)/install.stamp $(VENV)/test.stamp
	@status=5; \
	run() { \
		$(PYTEST) "$$@" $(ARGS); one=$$?; \
		case $$status:$$one in 5:* | 0:[!5]*) status=$$one ;; esac; \
	}; \
	run --numprocesses $(workers) $(DIST) -m 'not alone'; \
	if [ $$status = 1 ]; then $(JUDGE_AGAIN) -m 'not alone' $(ARGS); status=$$?; fi; \
	run -m alone; \
	exit $$status

lint: $(VENV)/install.stamp $(VENV)/lint.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict src
	MYPYPATH=src $(VENV)/bin/stubtest --ignore-disjoint-bases \
		--allowlist .ci/stubtest-allowlist.txt $(CORE)
	$(VENV)/bin/cython-lint src/sockwave

faults: $(VENV)/install.stamp $(VENV)/test.stamp
	PYTHONPATH=tests $(VENV)/bin/python -m faults $(ARGS)

# Compiled apart, to be counted, and not optimised.
coverage: $(VENV)/build.stamp $(VENV)/test.stamp $(VENV)/coverage.stamp
	$(VENV)/bin/python tests/measure/run.py $(ARGS)

mutants: $(VENV)/install.stamp $(VENV)/test.stamp
	$(VENV)/bin/python tests/mutants/run.py $(ARGS)

fuzz: $(SANITIZED)/stamp $(VENV)/test.stamp
	PYTHONPATH=$(SANITIZED):tests $(VENV)/bin/python -m fuzz run --seconds $(SECONDS) $(ARGS)
	PYTHONPATH=tests $(VENV)/bin/python -m fuzz.differential --cases $(CASES) --seconds 3600

sanitize: ARGS ?= $(patsubst %,tests/test_%.py,reader writer protocol_rfc6455 protocol_hixie \
	events async_listeners receive broadcast application_errors peer_errors listener_endings \
	lifecycle streams slow compression fuzz)
sanitize: $(SANITIZED)/stamp $(VENV)/test.stamp
	PYTHONPATH=$(SANITIZED):tests $(VENV)/bin/python -m fuzz suite $(ARGS)

# With nginx (and its module stream) and HAProxy, where they are.
docs-check: $(VENV)/install.stamp $(VENV)/test.stamp
	$(PYTEST) --numprocesses 2 tests/test_documentation.py tests/proxies $(ARGS)

# Applications of other frameworks, under us and under uvicorn, which live in an environment of their own.
test-peers: $(VENV)/install.stamp $(VENV)/test.stamp $(VENV)-peers/install.stamp
	SOCKWAVE_PEERS_PYTHON=$(abspath $(VENV)-peers)/bin/python $(PYTEST) \
		--numprocesses 2 --dist worksteal tests/asgi/peers tests/faults/test_brokers.py $(ARGS)

autobahn: $(VENV)/install.stamp $(VENV)/test.stamp
	$(VENV)/bin/python tests/autobahn/run.py --all
	$(VENV)/bin/python tests/autobahn/run.py --all --client
	$(VENV)/bin/python tests/autobahn/run.py --all --sync-client

# A few short runs of each question; ARGS="--runs 1 --peers sockwave,floor" makes it shorter.
bench: $(VENV)/install.stamp $(VENV)/bench.stamp
	@status=0; for script in $(BENCHMARKS); do \
		$(VENV)/bin/python benchmarks/$$script --quick $(ARGS) || status=1; done; \
	$(VENV)/bin/python benchmarks/slow.py --rounds 1 --messages 100 || status=1; exit $$status

bench-peers: benchmarks/.peers/node.stamp $(PEERS:%=benchmarks/.peers/%/install.stamp)

# The versions are those of the lock files; nothing of npm's runs while it is installed. What cannot
# be installed here is said, and left out of the tables.
benchmarks/.peers/node.stamp: benchmarks/peers/package.json benchmarks/peers/package-lock.json
	@mkdir -p $(@D)
	@cp $^ $(@D)
	@echo 'Installing ws for Node.js ...'
	@npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund && touch $@ || \
		echo 'ws: not installed' >&2

benchmarks/.peers/%/install.stamp: benchmarks/peers/requirements/%.txt $(VENV)/venv.stamp
	@echo 'Installing $* ...'
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< && \
		touch $@ || { rm -rf $(@D); echo '$*: not installed' >&2; }

# What cannot be installed is said; the tests of it are skipped, where that is allowed.
$(VENV)-peers/requirements.stamp: tests/asgi/peers/requirements.txt $(VENV)/venv.stamp
	@echo 'Installing the frameworks to test with ...'
	@$(PYTHON) -m venv --clear $(@D)
	@install() { $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--only-binary :all: "$$@"; }; \
	install --requirement $< || install --requirement $< || \
		grep -v '^#' $< | while read -r one; do \
			install "$$one" || echo "$$one: not installed" >&2; \
		done
	@touch $@

# The same build, in a wheel.
$(VENV)-peers/install.stamp: $(VENV)-peers/requirements.stamp $(VENV)/install.stamp
	@rm -rf $(VENV)/wheels
	@$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-build-isolation \
		--no-deps --config-settings=build-dir=$(BUILD) --wheel-dir $(VENV)/wheels .
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--force-reinstall $(VENV)/wheels/*.whl
	@touch $@

$(VENV)/venv.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'sockwave needs Python 3.11 or later, and "$(PYTHON)" is not that.' \
			'Say which one is: make PYTHON=python3.13 $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PYTHON) -c 'import os, sysconfig; \
		raise SystemExit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || { \
		echo 'sockwave is compiled, and "$(PYTHON)" comes without its C headers (Python.h).' \
			'Debian and Ubuntu have them in python3-dev.' >&2; exit 1; }
	@command -v $${CC:-cc} >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || { \
		echo 'sockwave is compiled, and there is no C compiler here (cc, gcc or clang).' >&2; exit 1; }
	@echo 'Making $(VENV) ...'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP_INSTALL) --upgrade 'pip>=25.1' # the first that knows dependency groups
	@touch $@

# The build folder stays, so that only what changed is compiled again.
$(VENV)/install.stamp: $(VENV)/build.stamp $(SOURCES)
	@echo 'Installing sockwave (the first time compiles all of its core) ...'
	@$(PIP_INSTALL) --no-build-isolation --config-settings=build-dir=$(BUILD) \
		$(addprefix --config-settings=setup-args=,$(SETUP)) .
	@touch $@

$(SANITIZED)/stamp: $(VENV)/install.stamp $(VENV)/fuzz.stamp meson.options \
		$(addprefix tests/fuzz/,meson.build exact_transport.pyx ignorelist.txt)
	@command -v clang >/dev/null || { \
		echo 'make fuzz needs clang, for its sanitizers and coverage; Debian and Ubuntu have it in' \
			'clang, and the names in what it reports in llvm.' >&2; exit 1; }
	@echo 'Building sockwave with sanitizers ...'
	@CC=clang $(PIP_INSTALL) --no-build-isolation --no-deps --upgrade --target $(SANITIZED) \
		--config-settings=build-dir=$(SANITIZED)-build --config-settings=setup-args=-Dfuzz=true \
		$(addprefix --config-settings=setup-args=,$(SETUP)) .
	@touch $@

$(VENV)/%.stamp: pyproject.toml $(VENV)/venv.stamp
	@echo 'Installing what $* needs ...'
	@$(PIP_INSTALL) --group $*
	@touch $@

clean:
	rm -rf $(VENV) .venv-* benchmarks/.peers build dist wheelhouse .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
