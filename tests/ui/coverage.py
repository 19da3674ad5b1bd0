"""The page "Zoom coverage", of the lake that ``make ui`` has made, and of lakes that are made up here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import FrameLocator, Page, Route, expect

from tests.ui.steps import SECONDS, log_in, shoot, step

#: Theme and size of the window, and the picture that is taken.
LOOKS = (
    ("dark", (430, 820), ""),
    ("dark", (1440, 660), "coverage-dark"),
    ("light", (430, 820), "coverage-narrow"),
    ("light", (1440, 660), "coverage-light"),
)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
ROWS = "body => [...body.rows].map(row => [...row.cells].map(cell => cell.innerText))"


def look_at_the_coverage(page: Page, days: Mapping[str, int], images: Path | None) -> None:
    """Compare the page with the engagements that each day in S3 has, use it, and follow a link."""
    page.get_by_role("link", name="Zoom coverage").click()
    view, (first, *_, last) = loaded(page), sorted(map(date.fromisoformat, days))
    verdict = view.locator(".verdict h2").inner_text()
    step(f"the page is in the navigation, and begins with: {verdict}", verdict.startswith("1 day is missing: "))
    every = {str(first + n * DAY) for n in range((last - first).days + 1)}
    marked = [view.locator(f".calendar .cell.{kind}").count() for kind in ("missing", "untracked", "changed")]
    step("the calendar has one cell for each day", len(labels(view)) == len(every))
    step(f"days missing, overwritten by hand, and changed later: {marked}", marked[:2] == [1, 1] and marked[2] > 0)
    view.get_by_text("As a table").click()
    table = {date_of(cells[0]): cells[2] for cells in view.locator("tbody").evaluate(ROWS)}
    truth = {day: f"{days[day]:,}" if day in days else "" for day in every}
    step("the table has the same numbers as the manifests", table == truth)
    for theme, window, name in LOOKS:
        page.evaluate(f"localStorage.setItem('theme', '{theme}')")
        page.set_viewport_size({"width": window[0], "height": window[1]})
        page.reload()
        expect(loaded(page).locator("html.dark .lake" if theme == "dark" else "html:not(.dark) .lake")).to_be_visible()
        fits = view.locator("html").evaluate("html => html.scrollWidth <= html.clientWidth")
        step(f"{theme}, {window[0]} pixels wide: as Airflow is, without scrolling sideways", fits)
        if name:
            shoot(page, images, name, window)
    selected, detail = view.locator(".calendar [aria-pressed=true]"), view.get_by_role("complementary")
    expect(detail).to_contain_text("missing")
    selected.press("End")
    expect(detail).to_contain_text(f"{last}T00:00:00")
    selected.press("ArrowUp")
    expect(detail).to_contain_text(f"{last - 7 * DAY}T00:00:00")
    step("keys select days", selected.evaluate("cell => cell === document.activeElement"))
    run = detail.get_by_role("link")
    dag = run.inner_text().split(",")[0]
    run.click()
    page.wait_for_url(re.compile(f"/dags/{dag}/runs/.+/tasks/"))
    expect(page.get_by_text("success").locator("visible=true").first).to_be_visible()
    step("a link leads to the run in Airflow", condition=True)


def look_at_other_lakes(page: Page) -> None:
    """Show events of hours, of local days, hostile ones, and none."""
    page.on("dialog", lambda _: step("no script of an event runs", condition=False))
    first = datetime(2026, 10, 24, tzinfo=UTC)
    view = show(page, [event(first + n * HOUR, HOUR, records=0 if n % 24 < 6 else n) for n in range(60) if n != 30])
    expect(view.locator(".verdict")).to_contain_text("1 hour is missing: 25 Oct 2026, 06:00 UTC")
    empty = view.locator(".calendar .level-0").count()
    step(f"an hourly lake has cells of hours, {empty} of them without engagements", empty == 18)

    # Midnights in Berlin around the end of daylight saving, written in UTC as a scheduled run has them.
    midnights = [datetime(2026, 10, day, hour, tzinfo=UTC) for day, hour in ((23, 22), (24, 22), (25, 23), (26, 23))]
    view = show(page, [event(start, end - start) for start, end in pairwise(midnights)])
    expect(view.locator(".verdict")).to_contain_text("Nothing is missing up to 26 Oct 2026")
    dates = [label.split(":")[0] for label in labels(view)]
    step(f"local days have their own dates: {dates}", dates == ["24 Oct 2026", "25 Oct 2026", "26 Oct 2026"])

    days = [event(first + n * DAY, uri=f"s3://{MARKUP}/{n}", source_dag_id=MARKUP) for n in range(3)]
    extras = [{**days[0]["extra"], name: value} for name in ("start", "end", "records") for value in (MARKUP, {})]
    broken = [{**days[0], "id": number, "extra": extra} for number, extra in enumerate([None, *extras])]
    view = show(page, days + broken, asset=MARKUP)
    expect(view.locator(".source strong")).to_have_text(MARKUP)
    expect(view.get_by_role("complementary")).to_contain_text(MARKUP)
    added = view.locator("img, script:not([src='coverage.js'])").count()
    step("markup in names, URIs and values is text", added == 0 and len(labels(view)) == 3)

    expect(show(page, []).locator("main")).to_contain_text('outlets=[Asset("zoom_engagements")]')
    step("without events, the page names the line that makes them", condition=True)
    page.unroute_all()


def look_at_hidden_gaps(page: Page) -> None:
    """Show gaps that the events alone do not show, and reports of checks."""
    first = datetime(2026, 10, 24, tzinfo=UTC)
    days = [event(first + n * DAY) for n in range(5)]
    button = {**days[0], "id": 1, "timestamp": (first + 9 * DAY).isoformat(), "extra": {}}
    expect(show(page, [*days, button]).locator(".verdict")).to_contain_text("Nothing is missing up to 28 Oct 2026")
    step("a newest event that is not the operator's does not hide the others", condition=True)

    view = show(page, [event(first + n * DAY, uri="s3://my-lake/all.jsonl") for n in range(5)])
    expect(view.locator(".verdict")).to_contain_text("4 days are missing: 24 Oct 2026 to 27 Oct 2026")
    step("days whose object another day has overwritten are missing", condition=True)

    deleted = {**{name: days[2]["extra"][name] for name in ("start", "end")}, "status": "missing"}
    found = {"missing": 1, "short": 0, "untracked": 0, "to_read": [deleted]}
    view = show(page, days, report=found)
    expect(view.locator(".verdict")).to_contain_text("1 day is missing: 26 Oct 2026")
    expect(view.locator(".facts div", has_text="Missing").locator("dd")).to_have_text("1")
    step("an object that a check did not find is missing, in words and numbers", condition=True)

    expect(show(page, days, report={**found, "missing": 2}).locator(".verdict")).to_contain_text("1 gap that")
    expect(show(page, days, report={**found, "to_read": []}).locator(".verdict.bad")).to_contain_text("1 gap that")
    step("gaps that a check found and no cell shows are counted", condition=True)

    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - DAY
    expect(show(page, [event(yesterday)]).locator(".verdict.good")).to_contain_text("Nothing is missing up to")
    view = show(page, [event(yesterday)], report="{'a':")
    expect(view.locator(".verdict:not(.good)")).to_contain_text("could not be read")
    step("a report that cannot be read is not taken for a good one", condition=True)
    page.unroute_all()


def look_at_two_years(page: Page) -> None:
    """Add days to the lake as real events, each read three times, and print what it takes to load them."""
    first = datetime(2020, 1, 1, tzinfo=UTC)
    days = [event(first + n * DAY, uri=f"s3://my-lake/two-years/{n}")["extra"] for n in range(731)]
    [lake] = page.request.get("/api/v2/assets?name_pattern=zoom_engagements").json()["assets"]
    for extra in days * 3:
        assert page.request.post("/api/v2/assets/events", data={"asset_id": lake["id"], "extra": extra}).ok
    page.goto("/zcc-coverage/")
    page.wait_for_selector(".lake")
    milliseconds, sizes = page.evaluate(
        "[performance.now(), performance.getEntriesByType('resource').map(entry => entry.transferSize)]"
    )
    cells = page.locator(".lake", has_text="two-years").locator(".calendar .cell").count()
    took = f"{len(sizes)} requests, {sum(sizes) / 1e6:.1f} MB, {milliseconds / 1000:.1f} s"
    step(f"{len(days)} more days, each read three times: {took}", cells == len(days))


def look_without_permission(page: Page) -> None:
    """Open the page as a user who may not read assets."""
    log_in(page, "nobody", os.environ["ZCC_UI_PASSWORD_OF_NOBODY"])
    page.wait_for_timeout(3 * SECONDS)
    page.goto("/zcc-coverage/")
    seen = page.get_by_role("alert").inner_text()
    nothing_else = page.locator("body").inner_text().split() == ["Zoom", "coverage", *seen.split()]
    step(f"a user without permission sees: {seen}", "may not read assets" in seen and nothing_else)


def loaded(page: Page) -> FrameLocator:
    """Wait until the page shows something."""
    view = page.frame_locator("iframe")
    expect(view.locator("main > *").first).to_be_visible()
    return view


def labels(view: FrameLocator) -> list[str]:
    """Return the labels of the calendar's cells."""
    return view.locator(".calendar .cell").evaluate_all("cells => cells.map(cell => cell.ariaLabel)")


def date_of(name: str) -> str:
    """Return the ISO date of a day's name, as in 9 Sept 2026."""
    return str(datetime.strptime(name.replace("Sept", "Sep"), "%d %b %Y").date())  # noqa: DTZ007


def event(start: datetime, length: timedelta = DAY, **values: Any) -> dict[str, Any]:
    """Make an asset event; values are those of the event or of its extra."""
    known = {"uri": f"s3://my-lake/{start:%Y-%m-%dT%H}.jsonl", "records": 7, "reported": None}
    extra = {**known, "start": start.isoformat(), "end": (start + length).isoformat(), **values}
    source = {"source_dag_id": "a_dag", "source_run_id": "a_run", "source_task_id": "a_task", "source_map_index": -1}
    return {"id": id(extra), "timestamp": start.isoformat(), **source, **values, "extra": extra}


def show(page: Page, events: list[dict[str, Any]], asset: str = "made_up", report: Any = None) -> FrameLocator:
    """Open the page with an API that returns these events, and this report of a check later than they are."""
    assets = [{"id": 1, "name": asset, "last_asset_event": {"id": 1}, "producing_tasks": [{}], "aliases": []}]
    newest = sorted(events, key=lambda entry: entry["timestamp"], reverse=True)
    check = {"dag_id": "a_dag", "run_id": "a_run", "task_id": "check", "map_index": -1}
    checks = [{**check, "timestamp": newest[0]["extra"]["end"]}] if report else []
    lists = {"assets": assets, "events": newest, "xcomEntries": checks}
    names = {"assets": "assets", "events": "asset_events", "xcomEntries": "xcom_entries"}

    def respond(route: Route) -> None:
        url = urlsplit(route.request.url)
        last = url.path.rpartition("/")[2]
        limit = int(parse_qs(url.query).get("limit", ["0"])[0])
        entries = {names[last]: lists[last][:limit], "total_entries": len(lists[last])} if last in names else {}
        route.fulfill(body=json.dumps(entries or {"value": report}))

    page.unroute_all()
    page.route(re.compile("/api/v2/(assets|.*/xcomEntries)"), respond)
    page.goto("/plugin/zcc-coverage")
    return loaded(page)
