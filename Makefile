# Two commands do all set-up: `make demo` and `make test`. The rest are their parts.
PREFIX ?= /usr/local
DESTDIR ?=
BUILD := .build/release
STAGE := $(CURDIR)/.build/stage
DEMO := .build/demo
VENV := .build/venv
PYTHON := $(VENV)/bin/python
CC := cc
STRICT := -std=c11 -O2 -Wall -Wextra -Werror
STAGED := PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig
VERSION := $(shell sed -n 's/^\#define TEMPER_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' include/temper.h | paste -sd.)

.PHONY: build install stage plugins demo test test-swift abi test-abi test-python bench format clean setup

build:
	.ci/install build
	swift build -c release --product temper --disable-local-rpath
	strip --strip-unneeded -o .build/libtemper.so.$(VERSION) $(BUILD)/libtemper.so

install: build
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	install -m 755 .build/libtemper.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/
	ln -sf libtemper.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libtemper.so.1
	ln -sf libtemper.so.1 $(DESTDIR)$(PREFIX)/lib/libtemper.so
	install -m 644 include/*.h $(DESTDIR)$(PREFIX)/include/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' Sources/Temper/temper.pc.in \
	  > $(DESTDIR)$(PREFIX)/lib/pkgconfig/temper.pc

# An installation inside .build, which demo and tests use like any user would.
stage:
	$(MAKE) install PREFIX=$(STAGE)

plugins: stage
	mkdir -p .build/plugins
	for source in examples/plugins/*.c; do \
	  $(CC) $(STRICT) -fPIC -shared $$($(STAGED) pkg-config --cflags temper) $$source \
	    -o .build/plugins/$$(basename $$source .c).so -lm || exit 1; done

setup:
	.ci/install python $(VENV)

demo: stage plugins setup
	mkdir -p $(DEMO)
	$(CC) $(STRICT) examples/c/demo.c $$($(STAGED) pkg-config --cflags --libs temper) -lm \
	  -Wl,-rpath,$(STAGE)/lib -o $(DEMO)/demo
	$(DEMO)/demo examples/data/digits.bin .build/plugins/focal_generalized.so $(DEMO)
	TEMPER_LIBRARY=$(STAGE)/lib/libtemper.so $(PYTHON) -m pip install --quiet ./bindings/python
	$(PYTHON) examples/python/demo.py examples/data/digits.bin .build/plugins/focal_generalized.so $(DEMO)

test: test-swift test-abi test-python

test-swift:
	.ci/install build
	swift format lint --strict --recursive Package.swift Sources Tests
	swift test

abi test-abi: stage plugins
	Tests/ABI/gate

test-python: stage plugins setup
	.ci/install oracles $(VENV)
	TEMPER_LIBRARY=$(STAGE)/lib/libtemper.so $(PYTHON) -m pip install --quiet ./bindings/python
	$(PYTHON) -m pytest -q -n 2 --dist loadfile Tests/Python

bench: stage setup
	.ci/install oracles $(VENV)
	TEMPER_LIBRARY=$(STAGE)/lib/libtemper.so $(PYTHON) -m pip install --quiet ./bindings/python
	$(PYTHON) Tests/Benchmarks/run.py

format:
	swift format --in-place --recursive Package.swift Sources Tests

clean:
	rm -rf .build
