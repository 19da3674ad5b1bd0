"""What a browser does in each test of a page."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Locator, Page, ViewportSize

SECONDS = 1_000
WINDOW: ViewportSize = {"width": 1440, "height": 820}


def log_in(page: Page, user: str, password: str) -> None:
    """Fill in the login form of Airflow 3."""
    page.goto("/")
    page.locator("input[name=username]").fill(user)
    page.locator("input[name=password]").fill(password)
    page.locator("button[type=submit]").click()


def shoot(page: Page, images: Path | None, name: str, window: tuple[int, int], part: Locator | None = None) -> None:
    """Take a screenshot of the page or a part of it, once it stands still, in a window that is not larger than that."""
    if images:
        page.set_viewport_size({"width": window[0], "height": window[1]})
        page.wait_for_timeout(1.5 * SECONDS)
        (part or page).screenshot(path=images / f"{name}.png")
        page.set_viewport_size(WINDOW)


def step(what: str, condition: bool) -> None:
    """Print a step, and end if it failed."""
    print(f"{'ok    ' if condition else 'FAILED'}  {what}", flush=True)
    if not condition:
        sys.exit(1)
