"""What users copy out of a text works."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
from airflow.models import Connection
from airflow.providers.common.compat.sdk import conf

from airflow_provider_zcc.hooks.zoom_contact_center import settings_from
from tests.airflow_process import EXAMPLE_DAGS
from tests.documentation.texts import ROOT, TEXTS, python_samples

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 3.1 and older
    from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

SAMPLES = python_samples()
CONNECTIONS = re.findall(
    r"^ *(AIRFLOW_CONN_ZCC_DEFAULT='[^']+')", "\n".join(text.read_text() for text in TEXTS), re.MULTILINE
)


@pytest.mark.parametrize("sample", [sample for _, sample in SAMPLES], ids=[name for name, _ in SAMPLES])
def test_airflow_loads_every_sample(sample: str, tmp_path: Path) -> None:
    # Airflow passes over files that name neither it nor a Dag.
    (tmp_path / "sample.py").write_text(f"{sample}\n# airflow dag\n")
    bag = DagBag(tmp_path)
    assert bag.import_errors == {}
    assert len(bag.dags) == sample.count("with DAG(")


def test_airflow_loads_every_example_without_connections() -> None:
    bag = DagBag(EXAMPLE_DAGS)
    assert bag.import_errors == {}
    assert bag.dags.keys() == {path.stem for path in EXAMPLE_DAGS.glob("*.py")}
    for dag in bag.dags.values():
        assert dag.doc_md == ast.get_docstring(ast.parse(Path(dag.fileloc).read_text()), clean=False)
        assert dag.dag_display_name != dag.dag_id
        assert dag.tags
        assert {task.owner for task in dag.tasks} == {conf.get("operators", "default_owner")}


@pytest.mark.parametrize("variable", CONNECTIONS)
def test_every_connection_in_an_environment_variable_is_a_whole_one(variable: str) -> None:
    [value] = shlex.split(variable)
    value = value.partition("=")[2]
    given = {"uri": value} if value.startswith("zcc:") else json.loads(value)
    settings = settings_from(Connection(conn_id="zcc_default", **given))
    assert settings.requests_per_second == 20
    assert settings.credentials.account_id == "ACCOUNT_ID"


def test_the_connection_for_zoom_gov_is_a_whole_one() -> None:
    [sample] = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "connection.md").read_text(), re.DOTALL)
    settings = settings_from(Connection(conn_id="zcc_default", **json.loads(sample)))
    assert settings.api_url == "https://api.zoomgov.com/v2"
    assert settings.credentials.oauth_url == "https://zoomgov.com/oauth/token"
