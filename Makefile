# `make demo` and `make test` need Python 3.11 or newer, make and a package index; they set up all else in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# RAPIDS 26.10 pins dask 2026.7.1 and pandas below 3.1; everybody tests with what the GPU path must use.
PINS := "dask==2026.7.1" "distributed==2026.7.1" "pandas<3.1"
STAMP := $(VENV)/.ready

# Without compiled files every start of Python compiles torch anew, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check format clean

demo: $(STAMP)
	$(BIN)/imagecurate demo demo-output

test: check
	$(BIN)/python -m pytest -q -n auto --dist loadscope

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv resolves and installs in seconds what takes pip minutes.
$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(PINS) -e ".[demo,dev]"
	touch $@

clean:
	rm -rf $(VENV) demo-output build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
