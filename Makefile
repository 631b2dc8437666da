# What one does here. Everything that is missing on the machine is installed first, and named.

PREFIX ?= /usr/local
PYTHON := .venv/bin/python

.PHONY: help demo test test-vm lint format bench build install clean

help:
	@echo 'make demo      run a container, from nothing: see kaa at work (root)'
	@echo 'make test      run the tests (root); ARGS="-k name" and the like are for pytest'
	@echo 'make test-vm   run those that want cgroup v2 and systemd, in a virtual machine (root)'
	@echo 'make lint      ruff, mypy --strict, the warnings of three C compilers, cppcheck'
	@echo 'make format    let ruff format the Python code'
	@echo 'make bench     measure kaa beside runc and crun (root)'
	@echo 'make build     a wheel and a source distribution, in dist/'
	@echo 'make install   the command kaa, below PREFIX=/usr/local'
	@echo 'make clean     remove what all these made in this directory'

demo:
	@sh scripts/demo.sh

test:
	@sh scripts/setup.sh test
	@$(PYTHON) -m pytest $(ARGS)

test-vm:
	@sh scripts/setup.sh demo
	@sh tests/vm/test.sh $(ARGS)

lint:
	@sh scripts/setup.sh test
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	mkdir -p build/lint
	set -e; for cc in gcc clang aarch64-linux-gnu-gcc; do \
	    $(PYTHON) src/kaa/init/build.py --cc $$cc --out build/lint; \
	    CFLAGS=-Werror $(PYTHON) src/kaa/init/launcher.py --cc $$cc build/lint/kaa; \
	done
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
	    --inline-suppr src/kaa/init/*.c

format:
	@sh scripts/setup.sh test
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

bench:
	@sh scripts/setup.sh test
	@$(PYTHON) benchmarks/bench.py $(ARGS)

build:
	@sh scripts/setup.sh build
	$(PYTHON) -m hatchling build --directory dist

install:
	@sh scripts/setup.sh build
	"$$(sh scripts/setup.sh python)" -m venv $(PREFIX)/lib/kaa
	$(PREFIX)/lib/kaa/bin/python -m pip install --quiet .
	mkdir -p $(PREFIX)/bin $(PREFIX)/share
	ln -sf ../lib/kaa/bin/kaa $(PREFIX)/bin/kaa
	cp -R $(PREFIX)/lib/kaa/share/. $(PREFIX)/share
	$(PREFIX)/bin/kaa --version

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	rm -f src/kaa/init/kaa-init src/kaa/init/calls.h
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
