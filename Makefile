# Two commands: `make quickstart` (see Sweet Gradient at work) and `make test` (everything that CI runs).
PYTHON ?= python3
BIN := .venv/bin
# Without --no-compile, pip compiles the bytecode of 19,000 files on one core; a fifth of it is ever needed, and is kept when it is.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test types tests format docs clean

quickstart: .venv/installed-profile
	$(BIN)/sweetgrad profile quickstart.zarr --space nas-bench-201 --dataset digits --archs sample:200
	$(BIN)/sweetgrad intervals quickstart.zarr --plot quickstart.png
	$(BIN)/sweetgrad accuracy import quickstart.zarr --space nas-bench-201 --from digits-201
	$(BIN)/sweetgrad correlate quickstart.zarr --accuracy digits/test

test: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYTHONPATH=.imports $(BIN)/lint-imports --no-cache
	@$(MAKE) --no-print-directory --jobs 2 types tests

types: .venv/installed-test
	$(BIN)/mypy

tests: .venv/installed-test
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

format: .venv/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv site build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis quickstart.*

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v < (3, 15) and f"sweetgrad needs Python 3.11 to 3.14, $(PYTHON) is {v.major}.{v.minor}: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv

.venv/installed-profile: EXTRAS := profile,plot
.venv/installed-test: EXTRAS := test
.venv/installed-docs: EXTRAS := docs
.venv/installed-%: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing sweetgrad[$(EXTRAS)] into .venv (a few minutes the first time)"
	$(INSTALL) --editable ".[$(EXTRAS)]"
	@touch $@
