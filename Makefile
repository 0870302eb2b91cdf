PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal
BENCHMARKS := $(filter-out __init__ __main__ report quality faults,$(basename $(notdir $(wildcard benchmarks/*.py))))
QUALITY := quality --parallel 2 --learning-rate 0.05
OPTIONS_online_peers := --compiled

.PHONY: demo test test-all test-faults check docs bench clean

demo: $(VENV)/.demo
	$(BIN)/kd demo

test: $(INSTALLED)
	$(PYTEST) -m "not slow" --durations 20

# What `make test` leaves out: every case of the laws, the code in the documentation, the examples, whole trainings.
test-all: $(INSTALLED)
	KD_LAWS=full $(PYTEST) tests/laws tests/oracles
	$(PYTEST) -m slow --durations 20

# All faults of every kind, where `make test` injects a sample: 7 to 20 minutes on two cores.
test-faults: bench-faults

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/bandit --quiet --recursive src
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: $(INSTALLED)
	$(BIN)/mkdocs serve

# Everything that the results page shows, on this machine; about an hour on two cores that do nothing else. A benchmark
# that is skipped here, for want of a GPU, leaves the figures of the machine that ran it.
bench: $(VENV)/.bench
	for name in $(BENCHMARKS); do $(MAKE) --no-print-directory bench-$$name || exit 1; done
	$(BIN)/python -m benchmarks $(QUALITY) --json > $(VENV)/quality.json
	tail -n 1 $(VENV)/quality.json | $(BIN)/python -m json.tool --indent 1 - docs/results/quality_fashion_mnist_cpu.json
	$(BIN)/python -m docs.generate.plots

bench-%: $(VENV)/.bench
	$(BIN)/python -m benchmarks $* $(OPTIONS_$*) --json > $(VENV)/$*.json
	tail -n 1 $(VENV)/$*.json | grep -q '"skipped"' || \
	  tail -n 1 $(VENV)/$*.json | $(BIN)/python -m json.tool --indent 1 - docs/results/$*.json

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[onnx,report]'
	touch $@

$(INSTALLED): $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(VENV)/.demo $@

$(VENV)/.bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) site build dist
