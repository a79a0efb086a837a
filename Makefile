# make install, demo, test, bench, wheel: each sets up what it needs by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# One thread a test process, two processes: deterministic and as fast as two cores allow.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
SOURCES := CMakeLists.txt setup.py pyproject.toml constraints.txt lomt_kernels/__init__.py \
	$(shell find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu')

.PHONY: install demo test bench wheel lint types arrows ctest pytest interpreter

install: $(VENV)/.installed

# Without isolation, so that a second build compiles only what has changed.
$(VENV)/.installed: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt 'setuptools>=77' cmake ninja pybind11
	$(PIP) install --quiet -c constraints.txt --no-build-isolation -e '.[test]'
	touch $@

demo: install
	$(BIN)/lomt run --out runs/demo

test: lint types arrows ctest pytest interpreter

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

arrows: install
	$(BIN)/lint-imports

ctest: install
	$(BIN)/cmake -G Ninja -S . -B build/ctest -DLOMT_KERNELS_BUILD=cpu -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
		-DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir) > build/ctest.log
	$(BIN)/cmake --build build/ctest --target tests >> build/ctest.log
	$(BIN)/ctest --test-dir build/ctest --output-on-failure

pytest: install
	$(TEST_ENV) $(BIN)/pytest -n 2

# Triton's interpreter is chosen before triton is imported, so these tests have a process of their own.
interpreter: install
	$(TEST_ENV) TRITON_INTERPRET=1 $(BIN)/pytest -n 2 tests/kernels -m interpreter

bench: install
	$(BIN)/python -m benchmarks.kernels

wheel: install
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python tests/install/try_wheel.py dist
