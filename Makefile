# `make demo` and `make test` need Python 3.11 or newer, make and a package index; they set up all else in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# RAPIDS 26.10 pins dask 2026.7.1 and pandas below 3.1; everybody tests with what the GPU path must use.
PINS := "dask==2026.7.1" "distributed==2026.7.1" "pandas<3.1"
STAMP := $(VENV)/.ready
EXTRAS := demo,dev,docs

# Without compiled files every start of Python compiles torch anew, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check docs format test-contract test-gpu bench-env clean

demo: $(STAMP)
	$(BIN)/imagecurate demo demo-output

test: check
	$(BIN)/python -m pytest -q -n auto --dist loadscope

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site; a test builds it, too.
docs: $(STAMP)
	$(BIN)/python -m sphinx -q -E -W --keep-going docs build/docs

# Asks the real GPU libraries, which import without a GPU and take 5 GB of disk, for every name that is used of them, and
# runs what of them runs on a CPU: DALI's operators and nvImageCodec.
test-contract:
	$(MAKE) .venv-contract/.ready VENV=.venv-contract EXTRAS=cuda13,demo,dev
	RAPIDS_NO_INITIALIZE=1 .venv-contract/bin/python -m pytest -q tests/contract tests/images/test_device_pictures.py

# On a machine with a GPU, with the extra for what its driver knows of CUDA.
CUDA ?= $(shell nvidia-smi 2>/dev/null | grep -q "CUDA Version: 12" && echo cuda12 || echo cuda13)
test-gpu: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(PINS) -e ".[$(CUDA),demo,dev]"
	$(BIN)/python -m pytest -q -m gpu

# Peers, each in an environment of its own: they contradict each other.  One that cannot be installed keeps no other out.
PEERS := $(patsubst benchmarks/peers/%.txt,.venv-peers/%/.ready,$(wildcard benchmarks/peers/*.txt))
bench-env: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(PINS) -e ".[bench]"
	-$(MAKE) --keep-going $(PEERS)

.venv-peers/%/.ready: benchmarks/peers/%.txt
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) $(@D)
	$(BIN)/uv pip install --quiet --python $(@D)/bin/python -r $<
	touch $@

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv resolves and installs in seconds what takes pip minutes.
$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(PINS) -e ".[$(EXTRAS)]"
	touch $@

clean:
	rm -rf $(VENV) .venv-contract .venv-peers demo-output build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
