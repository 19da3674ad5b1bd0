"""The page "Zoom coverage" as a plugin: what Airflow's API server serves, and what other processes import."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import distributions, entry_points

import pytest

from tests.airflow_version import AIRFLOW

HAS_PAGES = AIRFLOW >= (3, 1)


def load_plugin():
    [entry_point] = {each for each in entry_points(group="airflow.plugins") if each.name == "zcc_coverage"}
    return entry_point.load()()


def test_python_finds_the_package_once():
    # Airflow's tasks load no further plugin once they have found one twice.
    assert len(list(distributions(name="airflow-provider-zcc"))) == 1


@pytest.mark.skipif(HAS_PAGES, reason="the page is there")
def test_older_versions_of_airflow_get_no_page():
    assert load_plugin().fastapi_apps == []


@pytest.mark.skipif(not HAS_PAGES, reason="Airflow has pages of plugins since 3.1")
@pytest.mark.parametrize(("file", "kind"), [("", "text/html"), ("coverage.js", "javascript"), ("coverage.css", "css")])
def test_airflow_serves_a_page_that_loads_nothing_from_elsewhere(file, kind):
    plugin = load_plugin()
    [app], [view] = plugin.fastapi_apps, plugin.external_views
    import_module("airflow.api_fastapi.core_api.datamodels.plugins").ExternalViewResponse.model_validate(view)
    main = import_module("fastapi").FastAPI()
    main.mount(app["url_prefix"], app["app"])
    response = import_module("starlette.testclient").TestClient(main).get(f"/{view['href']}{file}")
    assert (response.status_code, kind in response.headers["content-type"]) == (200, True)
    assert "://" not in response.text
    policy = dict(part.split(maxsplit=1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}


def test_to_load_plugins_imports_nothing_that_serves_the_page():
    code = """
import sys
from airflow.providers.common.compat.sdk import AirflowPlugin
before = {*sys.modules, "airflow_provider_zcc"}
from airflow_provider_zcc.plugins.coverage import CoveragePlugin
plugin = CoveragePlugin()
print(plugin.macros, plugin.listeners, *sorted({*sys.modules} - before))
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    package = "airflow_provider_zcc.plugins"
    assert printed.splitlines()[-1] == f"[] [] {package} {package}.coverage"
