from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from pytest_mock import MockerFixture

from airflow_provider_zcc.zoom.errors import PageTokenExpired, PermanentError
from airflow_provider_zcc.zoom.page import parse_page
from airflow_provider_zcc.zoom.query import PATH, Query
from airflow_provider_zcc.zoom.reader import EngagementReader
from tests.conformance.__main__ import REQUESTS, main
from tests.conformance.account import Exchange
from tests.conformance.probes import violations
from tests.conftest import client_for
from tests.zoom_simulator.app import Request, Response
from tests.zoom_simulator.data import AGENTS, NUMBERS, QUEUES, Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.history import History
from tests.zoom_simulator.server import SimulatorServer

RECORDED = [json.loads(line) for line in Path(__file__).with_name("recorded").joinpath("responses.jsonl").open()]
Run = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def zoom(start_simulator: Callable[..., SimulatorServer]) -> SimulatorServer:
    """A Zoom with an engagement every six hours of three weeks, and some in the last one."""
    now = datetime.now(UTC)
    ages = [*range(1, 60, 5), *range(600, 3_600, 500), *range(7_200, 21 * 86_400, 21_600)]
    engagements = Engagements(int(now.timestamp()) - age for age in ages)
    return start_simulator(engagements, history=History(now), requests_per_second=1_000)


@pytest.fixture
def run(
    zoom: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run the command, and return its exit status and verdicts."""

    def run(**options: bool) -> tuple[int, dict[str, str]]:
        monkeypatch.setenv("AIRFLOW_CONN_ZCC_DEFAULT", json.dumps(zoom.connection))
        status = main(tmp_path / "responses.jsonl", **options)
        output = capsys.readouterr().out
        tmp_path.joinpath("output").write_text(output)
        rows = [[cell.strip() for cell in line.split("|")] for line in output.splitlines() if line.startswith("|")]
        return status, {what: verdict for _, what, *_, verdict, _ in rows[2:]}

    return run


def test_the_simulator_is_what_zoom_is_believed_to_be(zoom: SimulatorServer, run: Run) -> None:
    status, verdicts = run()
    assert (status, set(verdicts.values())) == (0, {"confirmed"})
    assert 15 < zoom.simulator.stats.api_requests <= REQUESTS


def shifted(time: str, seconds: int) -> str:
    return (datetime.fromisoformat(time) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


Deviation = Callable[[Callable[..., dict[str, Any]], dict[str, str]], dict[str, Any]]
DEVIATIONS: list[tuple[str, Deviation]] = [
    ("bounds", lambda page, sent: page(to=shifted(sent["to"], -1))),
    ("bounds", lambda page, sent: page(**{"from": shifted(sent["from"], 1)})),
    ("bounds", lambda page, sent: page(to=shifted(sent["to"], 59))),
    ("filtered time", lambda page, sent: page(**{"from": shifted(sent["from"], -86_400)})),
    ("literal z", lambda page, _: page(timezone="UTC")),
    ("offset form", lambda page, sent: page(**{name: sent[name][:19] + "Z" for name in ("from", "to")})),
    ("order", lambda page, _: page() | {"engagements": page()["engagements"][::-1]}),
    ("total", lambda page, _: page() | {"total_records": len(page()["engagements"])}),
    ("echo", lambda page, _: page() | {"to": page()["from"]}),
    ("page size", lambda page, _: page(page_size=100) | {"engagements": page(page_size=100)["engagements"] * 2}),
    ("longest range", lambda page, sent: page(**{"from": max(sent["from"], shifted(sent["to"], -28 * 86_400))})),
    ("unknown timezone", lambda page, _: page(timezone="UTC")),
    ("unknown page token", lambda page, _: page(next_page_token="")),
    ("description", lambda page, _: page() | {"page_size": "100"}),
]


@pytest.mark.parametrize(("what", "deviation"), DEVIATIONS)
def test_a_deviation_is_found(
    zoom: SimulatorServer, run: Run, mocker: MockerFixture, what: str, deviation: Deviation
) -> None:
    listed = zoom.simulator._list_engagements

    def deviating(request: Request, fault: Fault | None) -> Response:
        sent = dict(parse_qsl(request.query))

        def page(**changes: Any) -> dict[str, Any]:
            return dict(json.loads(listed(replace(request, query=urlencode(sent | changes)), fault).body))

        return Response.json(200, deviation(page, sent))

    mocker.patch.object(zoom.simulator, "_list_engagements", deviating)
    status, verdicts = run()
    assert (status, verdicts[what]) == (1, "different")


def test_open_engagements_other_limits_and_tokens_that_end_each_other_are_found(
    zoom: SimulatorServer, run: Run, mocker: MockerFixture
) -> None:
    zoom.simulator.history.now, zoom.simulator.config.one_token = None, True
    mocker.patch.object(zoom.simulator, "_limit", return_value={"X-RateLimit-Type": "Daily-limit"})
    status, verdicts = run()
    assert status == 1
    different = {what for what, verdict in verdicts.items() if verdict == "different"}
    assert different == {"open engagements", "rate limit headers", "several tokens"}


@pytest.mark.parametrize(("minutes", "verdict"), [(15, "confirmed"), (30, "different"), (10, "different")])
def test_the_life_of_page_tokens_is_found(
    zoom: SimulatorServer, run: Run, mocker: MockerFixture, minutes: int, verdict: str
) -> None:
    def sleep(seconds: float) -> None:
        zoom.simulator.config.page_token_life -= seconds

    zoom.simulator.config.page_token_life = minutes * 60
    mocker.patch("time.sleep", sleep)
    assert run(waits=True)[1]["page token life"] == verdict


def test_an_account_without_engagements_shows_little_and_nothing_wrong(zoom: SimulatorServer, run: Run) -> None:
    del zoom.simulator.engagements.starts[:]
    status, verdicts = run()
    assert (status, verdicts["bounds"], verdicts["unknown timezone"]) == (0, "not enough data", "confirmed")


def test_nothing_of_people_or_the_account_is_printed_or_saved(zoom: SimulatorServer, run: Run, tmp_path: Path) -> None:
    run()
    shown = "".join(path.read_text() for path in tmp_path.iterdir())
    config, identity = zoom.simulator.config, zoom.simulator.engagements.identity
    private = [*AGENTS, *AGENTS.values(), *QUEUES, *QUEUES.values(), *NUMBERS, *map(identity, range(100)), "9007199"]
    private += [config.client_id, config.client_secret, config.account_id, "simulated.", "Jill", "Called back", "calm"]
    assert [text for text in private if json.dumps(text)[1:-1] in shown] == []
    assert len(set(re.findall(r"scrubbed-\w+", shown))) > 100


@pytest.mark.parametrize("number", range(len(RECORDED)))
def test_the_package_reads_what_was_recorded(simulator: SimulatorServer, number: int) -> None:
    exchange = RECORDED[number]
    simulator.simulator.faults = [Fault("answer", details=exchange)]
    status, params, body = exchange["status"], exchange["params"], exchange["body"]
    assert [place for place, is_new in violations(Exchange(0, params, status, {}, body)) if not is_new] == []
    error = PageTokenExpired if "next_page_token" in params else PermanentError
    with nullcontext() if status == 200 else pytest.raises(error):
        page = client_for(simulator).get(PATH, list(params.items()), parse_page)
        assert len(page.records) == len(body["engagements"])


def test_the_package_follows_the_pages_that_were_recorded(simulator: SimulatorServer) -> None:
    followed = next(e["params"] for e in RECORDED if e["status"] == 200 and "next_page_token" in e["params"])
    pages = [e for e in RECORDED if e["params"] | {"next_page_token": ""} == followed | {"next_page_token": ""}]
    simulator.simulator.faults = [Fault("answer", details=page) for page in pages]
    start, end = (datetime.fromisoformat(followed[bound]) for bound in ("from", "to"))
    lines = b"".join(EngagementReader(client_for(simulator), Query(start, end)).chunks()).splitlines()
    records = [record for page in pages for record in page["body"]["engagements"]]
    assert [json.loads(line) for line in lines] == [e for e in records if e["start_time"] < followed["to"]]
    assert len(pages) > 1
