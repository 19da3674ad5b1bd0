from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_provider_zcc.get_provider_info import get_provider_info
from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook
from airflow_provider_zcc.zoom.settings import DEFAULT_REQUESTS_PER_SECOND, DEFAULT_TIMEOUT
from tests.airflow_version import AIRFLOW

LABELS = {"login": "Client ID", "password": "Client Secret", "host": "API base URL"}
OWN_FIELDS = {
    "account_id": ("Account ID", "string"),
    "oauth_url": ("OAuth URL", "string"),
    "requests_per_second": ("Requests per second", "number"),
    "timeout": ("Timeout", "number"),
}
#: What a new connection begins with.
DEFAULTS = {
    "account_id": None,
    "oauth_url": None,
    "requests_per_second": DEFAULT_REQUESTS_PER_SECOND,
    "timeout": DEFAULT_TIMEOUT,
}


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
    lists = [item["python-modules"] for kind in ("hooks", "sensors", "triggers") for item in info[kind]]
    named = [*chain(*lists), *(transfer["python-module"] for transfer in info["transfers"])]
    modules = [import_module(name) for name in named]
    package = Path(import_module("airflow_provider_zcc").__file__ or "").parent
    files = chain(*(package.joinpath(kind).glob("[!_]*.py") for kind in ("hooks", "sensors", "transfers", "triggers")))
    assert sorted(module.__file__ or "" for module in modules) == sorted(map(str, files))


def test_the_connection_type_leads_to_the_hook():
    module, _, name = connection_type()["hook-class-name"].rpartition(".")
    assert getattr(import_module(module), name) is ZoomContactCenterHook
    assert connection_type()["connection-type"] == ZoomContactCenterHook.conn_type
    assert connection_type()["hook-name"] == ZoomContactCenterHook.hook_name


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="2.11 has no such service, and 3.0 calls FAB")
def test_the_form_of_airflow_3_shows_the_fields():
    connections = import_module("airflow.api_fastapi.core_api.services.ui.connections")
    [form] = [meta for meta in connections.HookMetaService.hook_meta_data() if meta.connection_type == "zcc"]
    standard = form.standard_fields
    assert form.hook_name == "Zoom Contact Center"
    assert {name: field.title for name, field in standard if field and not field.hidden} == LABELS
    assert {name for name, field in standard if field and field.hidden} == {"url_schema", "port"}
    # 3.1 has its form from the hook, whose fields are all text.
    assert {name: (field["schema"]["title"], field["schema"]["type"]) for name, field in form.extra_fields.items()} == {
        name: (label, [kind if AIRFLOW >= (3, 2) else "string", "null"]) for name, (label, kind) in OWN_FIELDS.items()
    }
    assert {name: number(field["value"]) for name, field in form.extra_fields.items()} == DEFAULTS


def test_the_hook_gives_older_versions_the_same_standard_fields():
    behaviour = ZoomContactCenterHook.get_ui_field_behaviour()
    declared = connection_type()["ui-field-behaviour"]
    assert behaviour == {name.replace("-", "_"): value for name, value in declared.items()}
    assert (behaviour["hidden_fields"], behaviour["relabeling"]) == (["schema", "port"], LABELS)
    jsonschema.validate(behaviour, airflow_schema("customized_form_field_behaviours.schema.json"))


def test_the_hook_gives_older_versions_the_same_own_fields(monkeypatch: pytest.MonkeyPatch):
    def module(name: str, **content: object) -> None:
        made = ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)

    def form_field(label: str, default: str | None, **_: object) -> SimpleNamespace:
        return SimpleNamespace(label=label, default=default)

    # Airflow 3 installs neither package.
    module("flask_appbuilder")
    module("flask_appbuilder.fieldwidgets", BS3TextFieldWidget=object)
    module("wtforms", StringField=form_field)
    module("wtforms.validators", Optional=object)
    widgets = ZoomContactCenterHook.get_connection_form_widgets()
    assert {name: field.label for name, field in widgets.items()} == {
        name: label for name, (label, _) in OWN_FIELDS.items()
    }
    assert {name: number(field.default) for name, field in widgets.items()} == DEFAULTS


def test_reading_the_provider_info_imports_nothing_but_itself():
    code = """
import sys
before = set(sys.modules)
import airflow_provider_zcc.get_provider_info
print({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
"""
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "{'airflow_provider_zcc'}"
