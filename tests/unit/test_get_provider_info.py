from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_provider_zcc.get_provider_info import get_provider_info
from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from airflow_provider_zcc.zoom.settings import DEFAULT_REQUESTS_PER_SECOND, DEFAULT_TIMEOUT
from tests.airflow_version import AIRFLOW


def airflow_schema(name: str) -> dict[str, Any]:
    return json.loads(Path(airflow.__file__).with_name(name).read_text())


def connection_type() -> dict[str, Any]:
    [declared] = get_provider_info()["connection-types"]
    return declared


def number(shown: Any) -> float | None:
    return None if shown is None else float(shown)


def test_airflow_accepts_the_provider_info():
    jsonschema.validate(get_provider_info(), airflow_schema("provider_info.schema.json"))


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="older schemas of Airflow do not list the keys of the form")
def test_airflow_knows_every_key_of_the_connection_type():
    schema = airflow_schema("provider.yaml.schema.json")["properties"]["connection-types"]
    jsonschema.validate([connection_type()], schema)
    assert set(connection_type()) <= set(schema["items"]["properties"])


def test_exactly_the_modules_of_the_package_are_named_and_import():
    info = get_provider_info()
    lists = [item["python-modules"] for kind in ("hooks", "operators", "sensors", "triggers") for item in info[kind]]
    named = [*chain(*lists), *(transfer["python-module"] for transfer in info["transfers"])]
    modules = [import_module(name) for name in named]
    package = Path(import_module("airflow_provider_zcc").__file__ or "").parent
    kinds = ("hooks", "operators", "sensors", "transfers", "triggers")
    files = chain(*(package.joinpath(kind).glob("[!_]*.py") for kind in kinds))
    assert sorted(module.__file__ or "" for module in modules) == sorted(map(str, files))


def test_the_connection_type_leads_to_the_hook():
    module, _, name = connection_type()["hook-class-name"].rpartition(".")
    assert getattr(import_module(module), name) is ZoomContactCenterHook
    assert connection_type()["connection-type"] == ZoomContactCenterHook.conn_type
    assert connection_type()["hook-name"] == ZoomContactCenterHook.hook_name


def own_fields(key: str) -> dict[str, Any]:
    """Return what is declared of each own field of the form."""
    return {name: field.get(key, field["schema"].get(key)) for name, field in connection_type()["conn-fields"].items()}


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="2.11 has no such service, and 3.0 calls FAB")
def test_the_form_of_airflow_3_shows_the_fields():
    connections = import_module("airflow.api_fastapi.core_api.services.ui.connections")
    [form] = [meta for meta in connections.HookMetaService.hook_meta_data() if meta.connection_type == "zcc"]
    behaviour = connection_type()["ui-field-behaviour"]
    shown = {name: field.title for name, field in form.standard_fields if field and not field.hidden}
    own = {name: field["schema"] for name, field in form.extra_fields.items()}
    assert shown == behaviour["relabeling"]
    assert {name: schema["title"] for name, schema in own.items()} == own_fields("label")
    assert {name: number(field["value"]) for name, field in form.extra_fields.items()} == own_fields("default")


def test_the_defaults_of_the_form_are_those_of_the_package():
    defaults = {"requests_per_second": DEFAULT_REQUESTS_PER_SECOND, "timeout": DEFAULT_TIMEOUT}
    assert own_fields("default") == {"account_id": None, "oauth_url": None} | defaults


def test_the_hook_gives_older_versions_the_same_standard_fields():
    behaviour = ZoomContactCenterHook.get_ui_field_behaviour()
    declared = connection_type()["ui-field-behaviour"]
    assert behaviour == {name.replace("-", "_"): value for name, value in declared.items()}
    jsonschema.validate(behaviour, airflow_schema("customized_form_field_behaviours.schema.json"))


def test_the_hook_gives_older_versions_the_same_own_fields(monkeypatch: pytest.MonkeyPatch):
    def form_field(label: str, default: str | None, **_: object) -> SimpleNamespace:
        return SimpleNamespace(label=label, default=default)

    # Airflow 3 installs neither package.
    for name, content in {
        "flask_appbuilder": {},
        "flask_appbuilder.fieldwidgets": {"BS3TextFieldWidget": object},
        "wtforms": {"StringField": form_field},
        "wtforms.validators": {"Optional": object},
    }.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**content))
    widgets = ZoomContactCenterHook.get_connection_form_widgets()
    assert {name: field.label for name, field in widgets.items()} == own_fields("label")
    assert {name: number(field.default) for name, field in widgets.items()} == own_fields("default")


def test_reading_the_provider_info_imports_nothing_but_itself():
    code = """
import sys
before = set(sys.modules)
import airflow_provider_zcc.get_provider_info
print({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
"""
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "{'airflow_provider_zcc'}"


def test_airflow_2_finds_the_links_of_the_operator_among_those_of_the_provider():
    links = [f"{type(link).__module__}.{type(link).__name__}" for link in EngagementsToS3Operator.operator_extra_links]
    assert get_provider_info()["extra-links"] == links
