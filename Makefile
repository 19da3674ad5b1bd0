# make demo    the main job, end to end, against a simulated Zoom and a local S3 server (or real ones: see README.md)
# make test    all tests
# make lint    style, types, import rules
# make format  let ruff format the code
# make mutants which small faults in airflow_provider_zcc/zoom no test notices: an hour or two; MUTANTS='*.pacing.*' for a part
# make bench   this provider and others side by side, on the simulator; make profile: where our CPU time goes

PYTHON ?= python3
AIRFLOW ?= 3.3
VENV := .venv
BIN := $(VENV)/bin
BENCHMARKS := .venv-benchmarks
STAMP := $(VENV)/.installed-$(AIRFLOW)

# Airflow writes its database, configuration and logs here, and nowhere else.
export AIRFLOW_HOME := $(CURDIR)/.airflow
export AIRFLOW__CORE__LOAD_EXAMPLES := False
export PYTHONPATH := $(CURDIR)

.PHONY: demo test lint format mutants bench profile clean

demo: $(STAMP)
	@exec $(BIN)/python -m tests.demo

test: $(STAMP)
	@exec $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What an earlier run found out stands, unless MUTANTS names it.
mutants: $(STAMP)
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python \
		--constraint constraints/airflow-$(AIRFLOW).txt --constraint constraints/tools.txt mutmut
	$(BIN)/mutmut run $(MUTANTS)
	$(BIN)/mutmut results | sed '/: not checked$$/d'

$(STAMP): constraints/airflow-$(AIRFLOW).txt constraints/tools.txt pyproject.toml setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints/tools.txt uv
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python \
		--constraint constraints/airflow-$(AIRFLOW).txt --constraint constraints/tools.txt --editable '.[dev]'
	@touch $@

bench: $(STAMP) $(BENCHMARKS)/.installed
	@exec $(BIN)/python -m benchmarks $(BENCH_ARGS)

# dlt and Airflow ask for other versions of the same packages.
$(BENCHMARKS)/.installed: $(STAMP) constraints/benchmarks.txt
	$(PYTHON) -m venv --clear $(BENCHMARKS)
	$(BIN)/uv pip install --quiet --system-certs --python $(BENCHMARKS)/bin/python \
		--constraint constraints/benchmarks.txt 'dlt[filesystem]' s3fs matplotlib requests
	@touch $@

profile: $(STAMP)
	@exec $(BIN)/python -m benchmarks.profile

clean:
	rm -rf $(VENV) $(BENCHMARKS) mutants .airflow build dist *.egg-info
