# make demo    the main job, end to end, with a simulated Zoom and a local S3 server; with real ones, if AIRFLOW_CONN_ZCC_DEFAULT,
#              AIRFLOW_CONN_AWS_DEFAULT and AIRFLOW_VAR_ZCC_BUCKET are set
# make test    all tests, on all cores; PYTEST_ARGS="-n0 -x tests/unit": one after the other, or a few
# make matrix  the tests that concern Airflow, with the built wheel, on every Airflow and Python (JOBS=2: two at a time);
#              make matrix-cell AIRFLOW=3.1 PYTHON=python3.13: on one of them; RECORD=1 records the table of intervals,
#              RESULTS=docs/versions.md the table of versions
# make ui      Airflow's web page, with a simulated Zoom, an S3 server, connections, example Dags and, on 3.1 and newer,
#              three months of data ready
# make ui-test a browser uses that page (needs chromium); IMAGES=docs/images renews the screenshots
# make celery-demo   a month, on Airflow's CeleryExecutor, while one of two workers is killed
# make triggers      a hundred deferred sensors in one triggerer, and whether one starves another: some minutes
# make month   31 nights of late listings, edits and outages with 4,000 engagements a day: what keeping the lake right costs
# make conformance   what is only believed of Zoom, checked with the connection in AIRFLOW_CONN_ZCC_DEFAULT: see CONTRIBUTING.md
# make lint    style, types, import rules
# make format  format the code with ruff
# make pictures  the README's pictures: the flow, and what make demo prints
# make docs    the documentation, as a site in build/docs
# make build   the wheel and the source distribution, checked, in dist; the long description as an index renders it is
#              build/long-description.html
# make release-check TAG=v0.1.0   whether this commit may be released with this tag
# make hooks   run style and types before each git commit
# make mutants which small faults in airflow_provider_zcc/zoom no test finds: an hour or two; MUTANTS='*.rate_limiter.*': a part
# make bench   this provider and others side by side, on the simulator; make profile: where our CPU time goes;
#              make parse-time: how long a Dag file that imports the operator takes to parse, and another

PYTHON ?= python3
AIRFLOW ?= 3.3
VENV := .venv
BIN := $(VENV)/bin
# Airflow 3.0 shows a connection's own fields only with this.
FORM := $(if $(filter 3.0,$(AIRFLOW)),apache-airflow-providers-fab)
BENCHMARKS := .venv-benchmarks
CELERY := .venv-celery
BROWSER := .venv-browser
PARSE_TIME := .venv-parse-time
STAMP := $(VENV)/.installed-$(AIRFLOW)
MATRIX := .matrix/uv/bin

# Airflow writes its database, configuration and logs here, and nowhere else.
export AIRFLOW_HOME := $(CURDIR)/.airflow
export AIRFLOW__CORE__LOAD_EXAMPLES := False
export PYTHONPATH := $(CURDIR)
# Each process would compile Airflow anew, which takes longer than to import it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo pictures ui ui-test celery-demo month triggers conformance test matrix matrix-cell lint format docs build hooks mutants bench parse-time profile clean

demo: $(STAMP)
	@AIRFLOW__LOGGING__LOGGING_LEVEL=WARNING exec $(BIN)/python -m tests.demo

pictures: $(STAMP)
	@$(MAKE) --silent demo | $(BIN)/python -m docs.pictures

# A file's tests share a server. Files are taken in order, so those that wait for Airflow come early. Since many tests
# wait rather than compute, there is one worker more than cores.
test: $(STAMP)
	@exec $(BIN)/python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

ui: $(STAMP)
	@exec $(BIN)/python -m tests.ui

ui-test: $(STAMP) $(BROWSER)/.installed
	@exec $(BIN)/python -m tests.ui $(BROWSER)/bin/python -m tests.ui.browser $(if $(IMAGES),--images $(IMAGES))

$(BROWSER)/.installed: $(STAMP) constraints/browser.txt
	$(PYTHON) -m venv --clear $(BROWSER)
	$(BIN)/uv pip install --quiet --system-certs --python $(BROWSER)/bin/python \
		--constraint constraints/browser.txt playwright
	@touch $@

matrix: $(MATRIX)/uv
	@exec $(MATRIX)/python -m tests.matrix $(if $(JOBS),--jobs $(JOBS)) $(if $(RECORD),--record) \
		$(if $(RESULTS),--results $(RESULTS))

matrix-cell: $(MATRIX)/uv
	@exec $(MATRIX)/python -m tests.matrix --airflow $(or $(CELLS),$(AIRFLOW)) $(if $(JOBS),--jobs $(JOBS)) \
		$(if $(filter command environment,$(firstword $(origin PYTHON))),--python $(notdir $(PYTHON))) $(if $(RECORD),--record) \
		$(if $(RESULTS),--results $(RESULTS))

$(MATRIX)/uv: constraints/tools.txt
	python3 -m venv --clear $(dir $(MATRIX))
	$(MATRIX)/python -m pip install --quiet --disable-pip-version-check --constraint $< uv
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Results of earlier runs are kept, unless MUTANTS names them.
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
		--constraint constraints/airflow-$(AIRFLOW).txt --constraint constraints/tools.txt --editable '.[dev]' $(FORM)
	@touch $@

docs: $(STAMP)-docs
	rm -rf build/docs build/doctrees
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --doctree-dir build/doctrees docs build/docs
	@echo "build/docs/index.html"

# The links of the long description are followed in the site.
build/docs/index.html:
	$(MAKE) docs

build: $(STAMP)-release build/docs/index.html
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m tests.distribution dist build/docs

.PHONY: release-check
release-check: $(STAMP)
	@exec $(BIN)/python -m tests.release '$(TAG)'

hooks: $(STAMP)-release
	$(BIN)/pre-commit install

# Extras of the project that not every contributor needs.
$(STAMP)-docs $(STAMP)-release: $(STAMP)-%: $(STAMP) constraints/%.txt
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python \
		--constraint constraints/airflow-$(AIRFLOW).txt --constraint constraints/tools.txt \
		--constraint constraints/$*.txt --editable '.[$*]'
	@touch $@

celery-demo: $(CELERY)/.installed
	@exec $(CELERY)/bin/python -m benchmarks.celery_demo

$(CELERY)/.installed: $(STAMP) constraints/airflow-3.3.txt constraints/celery.txt
	$(PYTHON) -m venv --clear $(CELERY)
	$(BIN)/uv pip install --quiet --system-certs --python $(CELERY)/bin/python \
		--constraint constraints/airflow-3.3.txt --constraint constraints/tools.txt --constraint constraints/celery.txt \
		--editable '.[dev]' apache-airflow-providers-celery asyncpg psycopg2-binary
	@touch $@

month: $(STAMP)
	@ENGAGEMENTS_A_DAY=4000 exec $(BIN)/python -m pytest -q -n0 tests/lake/test_month.py

triggers: $(STAMP)
	@exec $(BIN)/python -m benchmarks.hundred_triggers

conformance: $(STAMP)
	@exec $(BIN)/python -m tests.conformance $(if $(PAGE_TOKEN),--page-token)

bench: $(STAMP) $(BENCHMARKS)/.installed
	@exec $(BIN)/python -m benchmarks $(BENCH_ARGS)

# These tools and Airflow require different versions of the same packages.
$(BENCHMARKS)/.installed: $(STAMP) constraints/benchmarks.txt
	$(PYTHON) -m venv --clear $(BENCHMARKS)
	$(BIN)/uv pip install --quiet --system-certs --python $(BENCHMARKS)/bin/python \
		--constraint constraints/benchmarks.txt airbyte-cdk boto3 'dlt[filesystem]' matplotlib requests s3fs singer-sdk
	@touch $@

# The other operator needs a provider of its own.
$(PARSE_TIME)/.installed: $(STAMP) constraints/parse-time.txt
	$(PYTHON) -m venv --clear $(PARSE_TIME)
	$(BIN)/uv pip install --quiet --system-certs --python $(PARSE_TIME)/bin/python --constraint constraints/airflow-3.3.txt \
		--constraint constraints/parse-time.txt --editable . apache-airflow-providers-salesforce
	@touch $@

parse-time: $(PARSE_TIME)/.installed
	@exec $(PARSE_TIME)/bin/python -m benchmarks.parse_time

profile: $(STAMP)
	@exec $(BIN)/python -m benchmarks.profile

clean:
	rm -rf $(VENV) $(BENCHMARKS) $(CELERY) $(BROWSER) $(PARSE_TIME) .matrix mutants .airflow build dist *.egg-info
