"""
``make conformance``: find out what is only believed of Zoom, with some twenty requests that change nothing.

Prints what was believed and what was seen, and saves the responses, without what belongs to people or the account. The
exit status is 1 if Zoom differs from what is believed, and 2 if there is no result.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook
from tabulate import tabulate

from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, settings_from
from airflow_provider_zcc.zoom.errors import ZoomError
from tests.conformance.account import Account, Ended
from tests.conformance.probes import PROBES, Seen, page_token_life
from tests.conformance.scrub import scrub

#: At most, with that of the connection's test.
REQUESTS = 22


def main(file: Path, *, waits: bool = False) -> int:
    """Run the probes, and save the responses; also wait for a page token to expire, if ``waits``."""
    if "AIRFLOW_CONN_ZCC_DEFAULT" not in os.environ:
        print("Set AIRFLOW_CONN_ZCC_DEFAULT to a connection of type zcc: see CONTRIBUTING.md.")
        return 2
    hook = ZoomContactCenterHook()
    try:
        account = Account(hook, settings_from(BaseHook.get_connection("zcc_default")))
        print(
            f"{account.url}, account {account.settings.credentials.account_id[:3]}***. At most {REQUESTS + 4 * waits} "
            f"GET requests, up to {hook.requests_per_second:g}/s. Nothing is changed.",
            flush=True,
        )
        works, message = hook.test_connection()
        print(message, flush=True)
        if not works:
            return 2
        rows = [row_of(account, probe) for probe in [*PROBES, *[page_token_life] * waits]]
    except ZoomError as error:
        print(f"No result: {error}")
        return 2
    names = ("what", "believed", "seen", "evidence", "verdict")
    print("", tabulate(rows, names, tablefmt="github", disable_numparse=True), "", sep="\n")
    verdicts = [verdict for *_, verdict in rows]
    print(
        ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("confirmed", "different", "not enough data"))
    )
    save(account, file)
    print(f"{len(account.exchanges)} responses, scrubbed, in the lines that evidence names: {file}")
    if different := [what for what, *_, verdict in rows if verdict == "different"]:
        print(f"Zoom differs: {', '.join(different)}. What to change: see CONTRIBUTING.md.")
    return int(bool(different))


def row_of(account: Account, probe: Callable[[Account], Seen]) -> tuple[str, ...]:
    """Run a probe, and return its row of the table."""
    account.used = set()
    try:
        confirmed, seen = probe(account)
        verdict = "confirmed" if confirmed else "different"
    except Ended as ended:
        verdict, seen = ended.args
    except (LookupError, TypeError, ValueError) as error:
        verdict, seen = "different", f"a response that cannot be read ({type(error).__name__})"
    evidence = ", ".join(map(str, sorted(account.used))) or f"1-{len(account.exchanges)}"
    return probe.__name__.replace("_", " "), str(probe.__doc__).rstrip("."), seen, evidence, verdict


def save(account: Account, file: Path) -> None:
    """Write a line for each exchange, in the order of their numbers."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lines:
        for exchange in account.exchanges:
            saved = {
                "host": urlsplit(account.url).hostname,
                "params": scrub(exchange.params | {"page_size": int(exchange.params["page_size"])}),
                "status": exchange.status,
                "headers": {name: value for name, value in exchange.headers.items() if "ratelimit" in name.lower()},
                "body": scrub(exchange.body),
            }
            lines.write(json.dumps(saved) + "\n")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.exit(main(Path("build/conformance/responses.jsonl"), waits="--page-token" in sys.argv))
