"""The connection form of Airflow's web page, as a browser sees it: of Airflow 3, and of 2.11."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Locator, Page, expect

from airflow_provider_zcc.get_provider_info import get_provider_info
from tests.ui.steps import SECONDS, log_in

CONNECTION_ID = "zoom_by_hand"
[_DECLARED] = get_provider_info()["connection-types"]
_FIELDS = _DECLARED["conn-fields"]
PLACEHOLDERS: dict[str, str] = _DECLARED["ui-field-behaviour"]["placeholders"]
#: Labels and help texts of all fields.
TEXTS = {
    *_DECLARED["ui-field-behaviour"]["relabeling"].values(),
    *(field[kind] for field in _FIELDS.values() for kind in ("label", "description")),
}
DEFAULTS = {name: str(field["schema"]["default"]) for name, field in _FIELDS.items() if "default" in field["schema"]}
EXTRA_PREFIX = "extra__zcc__"
#: Up to 3.3.2, Airflow 3.3 takes a port that is not set for another one than the one it stored: apache/airflow#73298.
PORT_REJECTED = "The host or port to test differs"


def connection_page(page: Page, password: str) -> ConnectionPage:
    """Find out which Airflow this is."""
    is_3 = page.request.get("/api/v2/monitor/health").ok
    return (ConnectionPage if is_3 else ConnectionPageOf2)(page, password)


class ConnectionPage:
    """Adds, edits and tests one connection in Airflow 3, where Test is in the list and tests what is saved."""

    shows_dags_of_airflow_3 = True

    def __init__(self, page: Page, password: str) -> None:
        self.page = page
        self._password = password
        self._headers: dict[str, str] = {}

    def log_in(self) -> None:
        log_in(self.page, "admin", self._password)
        self.page.get_by_role("link", name="Dags").first.wait_for()
        login = {"username": "admin", "password": self._password}
        token = self.page.request.post("/auth/token", data=login).json()["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}

    def add(self) -> None:
        """Open the empty form, and choose the connection type."""
        self.page.goto("/connections")
        self.page.get_by_role("button", name="Add Connection").click()
        self._dialog.locator("[name=connection_id]").fill(CONNECTION_ID)
        kind = self._dialog.get_by_role("combobox").first
        kind.fill("Zoom Contact Center")
        kind.press("Enter")
        self._dialog.locator("[name=login]").wait_for()

    def edit(self) -> None:
        """Open the form of the saved connection."""
        self.page.goto("/connections")
        self._row.get_by_role("button", name="Edit Connection").click()
        self._dialog.locator("[name=login]").wait_for()

    def fill(self, standard: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        """Type values into fields, by name."""
        for section, prefix, values in (("Standard Fields", "", standard), ("Extra Fields", "element_", extra)):
            if values:
                self._open(section)
            for name, value in values.items():
                field = self._dialog.locator(f"[name={prefix}{name}]")
                field.fill(str(value))
                field.blur()

    def save(self) -> None:
        self._dialog.get_by_role("button", name="Save").click()
        self._dialog.wait_for(state="hidden")

    def test(self, secret: str) -> str | None:  # noqa: ARG002
        """Press Test, and return the message that the page shows; None if it has no such button, as in Airflow 3.0."""
        self.page.goto("/connections")
        self._row.get_by_role("button").first.wait_for()
        if not self._row.get_by_role("button", name="Test Connection").count():
            return None
        text = self._press_test()
        if text.startswith(PORT_REJECTED):
            self.page.request.patch(
                f"/api/v2/connections/{CONNECTION_ID}?update_mask=port",
                data={"connection_id": CONNECTION_ID, "conn_type": "zcc", "port": 0},
                headers=self._headers,
            )
            self.page.goto("/connections")
            text = self._press_test()
        return text

    def _open(self, section: str) -> None:
        head = self._dialog.get_by_role("button", name=section, exact=True)
        if head.get_attribute("aria-expanded") != "true":
            head.click()

    def _press_test(self) -> str:
        with self.page.expect_response("**/api/v2/connections/test") as response:
            self._row.get_by_role("button", name="Test Connection").click()
        result = response.value.json()
        if "message" in result:
            expect(self.page.get_by_text(result["message"])).to_be_visible()
        return str(result.get("message") or result.get("detail"))

    def shown(self) -> dict[str, str]:
        """Return what the fields show, by name."""
        fields = self._dialog.locator("input[name], textarea[name]").all()
        return {str(field.get_attribute("name")).removeprefix("element_"): field.input_value() for field in fields}

    def shows_the_declared_fields(self) -> bool:
        """Return whether the form has each declared label and help text, and no field that was to be hidden."""
        text = self._dialog.inner_text()
        self._open("Extra Fields")
        self._dialog.locator("[name=element_account_id]").wait_for()
        text += self._dialog.inner_text()
        names = self.shown()
        return all(words in text for words in TEXTS) and not {"schema", "port"} & set(names)

    def standard_field(self, name: str) -> Locator:
        """Find a field that every connection has."""
        return self._dialog.locator(f"[name={name}]")

    def saved(self) -> tuple[str, str, dict[str, str]]:
        """Return host, login and extra, as Airflow stored them."""
        stored = self.get(f"/api/v2/connections/{CONNECTION_ID}")
        return stored["host"], stored["login"], _filled_in(stored["extra"])

    @property
    def _dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    @property
    def _row(self) -> Locator:
        return self.page.get_by_role("row").filter(has_text=CONNECTION_ID)

    def placeholders(self) -> dict[str, str | None]:
        """Return what the standard fields suggest, by name."""
        return {name: self.standard_field(name).get_attribute("placeholder") for name in PLACEHOLDERS}

    def hides_the_secret(self) -> bool:
        """Return whether what is typed as Client Secret cannot be read from the screen."""
        return self.standard_field("password").get_attribute("type") == "password"

    def get(self, path: str) -> Any:
        """Call Airflow's API as the same user."""
        return self.page.request.get(path, headers=self._headers, timeout=120 * SECONDS).json()

    def source(self) -> str:
        """Return all that the page holds, values of fields included."""
        values = [field.input_value() for field in self.page.locator("input, textarea").all()]
        return "\n".join([self.page.content(), *values])


class ConnectionPageOf2(ConnectionPage):
    """One page for all fields; Test is on it, and tests what the fields hold."""

    shows_dags_of_airflow_3 = False

    def log_in(self) -> None:
        self.page.goto("/login/")
        self.page.locator("#username").fill("admin")
        self.page.locator("#password").fill(self._password)
        self.page.locator("input[type=submit]").click()
        self.page.get_by_role("link", name="DAGs").first.wait_for()

    def add(self) -> None:
        self.page.goto("/connection/add")
        self.page.locator("#conn_id").fill(CONNECTION_ID)
        self.page.locator("#conn_type").select_option("zcc", force=True)

    def edit(self) -> None:
        self.page.goto("/connection/list/")
        row = self.page.get_by_role("row").filter(has_text=CONNECTION_ID)
        self.page.goto(str(row.locator("a[href*='/connection/edit/']").first.get_attribute("href")))

    def fill(self, standard: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
        for prefix, values in (("", standard), (EXTRA_PREFIX, extra)):
            for name, value in values.items():
                self.page.locator(f"#{prefix}{name}").fill(str(value))

    def save(self) -> None:
        self.page.locator("#model_form button[type=submit]").click()
        expect(self.page.locator("#model_form")).to_have_count(0)

    def test(self, secret: str) -> str:
        self.edit()
        # The page tests what is typed, and does not show what is saved.
        self.page.locator("#password").fill(secret)
        with self.page.expect_response("**/api/v1/connections/test") as response:
            self.page.locator("#test-connection").click()
        result = response.value.json()
        expect(self.page.get_by_text(result["message"])).to_be_visible()
        return str(result["message"])

    def shown(self) -> dict[str, str]:
        fields = self.page.locator("#model_form input[id]").all()
        return {
            str(field.get_attribute("id")).removeprefix(EXTRA_PREFIX): field.input_value()
            for field in fields
            if field.is_visible()
        }

    def shows_the_declared_fields(self) -> bool:
        text = self.page.locator("#model_form").inner_text()
        return all(words in text for words in TEXTS) and not {"schema", "port"} & set(self.shown())

    def standard_field(self, name: str) -> Locator:
        return self.page.locator(f"#{name}")

    def saved(self) -> tuple[str, str, dict[str, str]]:
        stored = self.get(f"/api/v1/connections/{CONNECTION_ID}")
        return stored["host"], stored["login"], _filled_in(stored["extra"])


def _filled_in(extra: str) -> dict[str, str]:
    # Up to 3.1 a number is saved as the text that was typed, and a field that was left empty may be null.
    return {name: str(value) for name, value in json.loads(extra).items() if value is not None}
