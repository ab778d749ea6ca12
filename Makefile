# For a new user: `make demo`, then `make test`.  `make` alone lists all commands.

SHELL := /bin/bash
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV ?= .venv
PYTHON_BIN := $(VENV)/bin/python
MESON := $(VENV)/bin/meson
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=

PACKAGE_FILES := pyproject.toml meson.build meson.options $(wildcard csrc/*) \
  $(shell find src -name '__pycache__' -prune -o -type f -print)

# liburing before 2.3 lacks what we need; meson.build would refuse it.  Looked up when used: it may be installed first.
URING_OPTION = $(shell pkg-config --exists 'liburing < 2.3' && echo -During=disabled)
C_OPTIONS = -Dpython_extension=false -Dtests=enabled $(URING_OPTION)

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ----------------------------------------------------------------------------------------------- for everybody

.PHONY: demo
demo: $(VENV)/package $(VENV)/extra-demo ## install what is missing, write an array, read 1,000 crops, make a picture
	$(PYTHON_BIN) examples/demo.py $(DEMO_ARGS)

.PHONY: test
test: c-test asan python-test ## the whole test suite

.PHONY: install
install: $(VENV)/package ## build and install the packages into .venv

.PHONY: bench
bench: $(VENV)/package $(VENV)/extra-bench $(VENV)/extra-test ## the benchmarks (BENCH_ARGS=--quick for a smoke test)
	$(PYTHON_BIN) bench/run.py $(BENCH_ARGS)

.PHONY: bench-remote
bench-remote: $(VENV)/package $(VENV)/extra-bench ## the benchmark of remote reads, from servers on this machine
	@scripts/install_servers.sh $(PYTHON_BIN) || echo 'What wants these servers is left out.'
	$(PYTHON_BIN) bench/remote.py $(BENCH_ARGS)

.PHONY: clean
clean: ## remove .venv and everything that was built, the demo's and the benchmarks' data included
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

# ----------------------------------------------------------------------------------------------- tests

# A shell starts background jobs with SIGINT ignored, and then Ctrl-C would not stop what is to be stopped by it.
.PHONY: python-test
python-test: $(VENV)/package $(VENV)/extra-test ## the tests in Python (PYTEST_ARGS=...)
	@scripts/system_packages.sh tests || echo 'The tests that use what is missing are skipped.'
	@scripts/install_servers.sh $(PYTHON_BIN) || echo 'The tests that use these servers are skipped.'
	$$(env --default-signal=INT true 2> /dev/null && echo env --default-signal=INT) \
	$(PYTHON_BIN) -m pytest $(PYTEST_ARGS)

.PHONY: c-test
c-test: build/c/build.ninja ## the tests in C
	$(MESON) test -C build/c --print-errorlogs

.PHONY: asan
asan: build/asan/build.ninja ## the tests in C under the address and undefined-behaviour sanitizers
	ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1:allocator_may_return_null=1 \
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	$(MESON) test -C build/asan --print-errorlogs --timeout-multiplier 5

# The thread sanitizer's shadow memory has a fixed place, which a randomised address space may occupy.  RINGIO_TEST_TSAN
# leaves out what it cannot do: threads after fork().
.PHONY: tsan
tsan: build/tsan/build.ninja ## the tests in C under the thread sanitizer
	TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 RINGIO_TEST_TSAN=1 \
	$$(setarch -R true 2> /dev/null && echo setarch -R) \
	$(MESON) test -C build/tsan --no-suite one-thread --print-errorlogs --timeout-multiplier 10

# -fno-wrapv: with -fwrapv, which Python's flags bring in, UBSan sees no overflow.
build/asan/build.ninja: SANITIZE = address,undefined -Dc_args='-fno-wrapv -fno-omit-frame-pointer'
build/tsan/build.ninja: SANITIZE = thread -Dc_args=-fno-omit-frame-pointer
build/asan/build.ninja build/tsan/build.ninja: C_OPTIONS += --buildtype debugoptimized -Db_lundef=false \
  -Db_sanitize=$(SANITIZE)

build/%/build.ninja: $(VENV)/requirements
	rm -rf build/$*
	$(MESON) setup build/$* $(C_OPTIONS)

# ----------------------------------------------------------------------------------------------- style

.PHONY: lint
lint: $(VENV)/extra-dev $(VENV)/extra-test $(VENV)/extra-bench ## ruff and mypy --strict
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy --strict
	MYPYPATH=src:bench:examples:tests $(VENV)/bin/mypy --strict bench examples scripts tests/servers

.PHONY: format
format: $(VENV)/extra-dev ## let ruff put the Python files into shape
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

# ----------------------------------------------------------------------------------------------- installation

# Each file below is empty: its date says when the step was last done.

$(VENV)/created:
	@scripts/system_packages.sh
	@scripts/make_venv.sh $(VENV)
	@touch $@

$(VENV)/requirements: pyproject.toml $(VENV)/created
	@$(PYTHON_BIN) scripts/install.py requirements
	@touch $@

$(VENV)/extra-%: pyproject.toml $(VENV)/created
	@$(PYTHON_BIN) scripts/install.py requirements $*
	@touch $@

$(VENV)/package: $(PACKAGE_FILES) $(VENV)/requirements
	@scripts/system_packages.sh
	@$(PYTHON_BIN) scripts/install.py package $(URING_OPTION)
	@touch $@
