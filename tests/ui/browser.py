"""
``make ui-test``: what a user does in Airflow's web page, done by a browser.

Looks at the coverage, fills in the connection form, saves it, presses Test, edits it, breaks it in the ways that
happen, triggers the daily Dag, and looks at its run, log and XCom. Each step fails if the page does not show what it
should.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import expect, sync_playwright

from tests.ui import coverage
from tests.ui.forms import DEFAULTS, PLACEHOLDERS, ConnectionPage, connection_page
from tests.ui.steps import SECONDS, WINDOW, shoot, step

DAG, TASK = "zcc_daily", "engagements_to_s3"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.ui.browser", description=__doc__)
    parser.add_argument("--images", type=Path, help="where to put screenshots; default: none are taken")
    images = parser.parse_args().images
    connection = json.loads(os.environ["ZCC_UI_CONNECTION"])
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser_path:
        sys.exit("No browser: install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(base_url=os.environ["ZCC_UI_AIRFLOW"], viewport=WINDOW)
        page.set_default_timeout(120 * SECONDS)
        expect.set_options(timeout=120 * SECONDS)
        form = connection_page(page, os.environ["ZCC_UI_PASSWORD"])
        form.log_in()
        if days := json.loads(os.environ["ZCC_UI_DAYS"]):
            coverage.look_at_the_coverage(page, days, images)
            coverage.look_at_other_lakes(page)
            coverage.look_at_hidden_gaps(page)
            coverage.look_at_two_years(page)
            coverage.look_without_permission(browser.new_page(base_url=os.environ["ZCC_UI_AIRFLOW"]))
        look_at_the_form(form, connection, images)
        if form.shows_dags_of_airflow_3:
            look_at_a_run(form, images)
        browser.close()


def look_at_the_form(form: ConnectionPage, connection: dict[str, Any], images: Path | None) -> None:
    """Fill in the form, save, test, edit, and break what users break."""
    extra = {
        "account_id": connection["extra"]["account_id"],
        "oauth_url": connection["extra"]["oauth_url"],
        "requests_per_second": "7.5",
    }
    standard = {name: connection[name] for name in ("host", "login", "password")}
    page = form.page
    form.add()
    suggested = form.placeholders()
    step(f"the empty form suggests what is declared: {suggested}", suggested == PLACEHOLDERS)
    step("and hides the secret while it is typed", form.hides_the_secret())
    declared = form.shows_the_declared_fields()
    step("it has the declared labels and help texts, and no field for schema and port", declared)
    proposed = {name: form.shown()[name] for name in DEFAULTS}
    step(f"a new connection begins with the defaults: {proposed}", proposed == DEFAULTS)
    form.fill(standard, {})
    shoot(page, images, "connection-form-standard", (960, 940), page.get_by_role("dialog"))
    form.fill({}, extra)
    shoot(page, images, "connection-form", (960, 1060), page.get_by_role("dialog"))
    form.save()
    saved = form.saved()
    step(f"what was filled in is saved: {saved}", saved == (standard["host"], standard["login"], DEFAULTS | extra))
    secret = standard["password"]
    step_of_test("", form.test(secret), "Zoom counts ")
    shoot(page, images, "connection-test", (1000, 420))

    form.edit()
    shown = form.shown()
    kept = {name: shown[name] for name in ("host", "login", "account_id", "requests_per_second")}
    expected = {**standard, **extra}
    step(f"the form shows again what was saved: {kept}", kept == {name: expected[name] for name in kept})
    step("and not the secret", connection["password"] not in form.source())
    form.fill({}, {"timeout": "12"})
    form.save()
    step_of_test("edited without touching the secret, ", form.test(secret), "Zoom counts ")
    step("and all the rest is kept", form.saved()[2] == extra | {"timeout": "12"})

    for changes, words in (
        (({"password": "not-the-secret"}, {}), "Invalid client_id or client_secret"),
        (({"password": connection["password"]}, {"account_id": "another"}), "account_id"),
        (({}, {"account_id": ""}), "lacks account_id (in extra)"),
        (({"login": ""}, {}), "lacks login (Client ID), account_id (in extra)"),
        (({"login": connection["login"], "host": "http://api.zoom.us/v2"}, extra), "host is not an https URL"),
        (({"host": standard["host"]}, extra), "Zoom counts "),
    ):
        form.edit()
        form.fill(*changes)
        form.save()
        secret = changes[0].get("password", secret)
        step_of_test(f"with {', '.join({**changes[0], **changes[1]})} changed, ", form.test(secret), words)


def step_of_test(before: str, message: str | None, words: str) -> None:
    """Print what Test reports, and end if it is something else, unless the page has no such button."""
    reported = "the page has no Test button" if message is None else f"Test reports: {message}"
    step(f"{before}{reported}", message is None or words in message)


def look_at_a_run(form: ConnectionPage, images: Path | None) -> None:
    """Trigger the daily Dag, and look at what a user looks at."""
    page, before = form.page, [run["dag_run_id"] for run in runs(form)]
    page.goto(f"/dags/{DAG}")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    run_id = triggered_run(form, before)
    step(f"the run {run_id} succeeds", bool(run_id))
    page.goto(f"/dags/{DAG}/runs/{run_id}/tasks/{TASK}")
    expect(page.get_by_text(" records, ").first).to_be_visible()
    step("the log reports what was written", condition=True)
    page.goto(f"/dags/{DAG}/runs/{run_id}/tasks/{TASK}/xcom")
    expect(page.get_by_text("s3://").first).to_be_visible()
    expand = page.get_by_label("Expand all").first
    if expand.count():
        expand.click()
    expect(page.get_by_text("duplicates_dropped").first).to_be_visible()
    step("the XCom is the URI and the summary", condition=True)
    shoot(page, images, "xcom", (1440, 900), page.get_by_role("table").last)
    page.goto(f"/dags/{DAG}/runs/{run_id}")
    expect(page.get_by_text("read_again").first).to_be_visible()
    shoot(page, images, "run", (1660, 720), page.get_by_role("table").last)


def runs(form: ConnectionPage) -> list[dict[str, Any]]:
    return [run for run in form.get(f"/api/v2/dags/{DAG}/dagRuns")["dag_runs"] if run["run_type"] == "manual"]


def triggered_run(form: ConnectionPage, before: list[str]) -> str:
    """Wait for the run that was triggered, and return its id if it succeeds."""
    for _ in range(300):
        for run in runs(form):
            if run["dag_run_id"] not in before and run["state"] in ("success", "failed"):
                return str(run["dag_run_id"]) if run["state"] == "success" else ""
        form.page.wait_for_timeout(SECONDS)
    return ""


if __name__ == "__main__":
    main()
