from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
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
from tests.conformance.probes import violations
from tests.conftest import StartSimulator, client_for
from tests.zoom_simulator.app import ZoomSimulator
from tests.zoom_simulator.data import AGENTS, NUMBERS, QUEUES, Engagements
from tests.zoom_simulator.faults import Fault
from tests.zoom_simulator.history import History
from tests.zoom_simulator.server import SimulatorServer

RECORDED = [json.loads(line) for line in Path(__file__).with_name("recorded").joinpath("responses.jsonl").open()]
Run = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def zoom(start_simulator: StartSimulator) -> SimulatorServer:
    """A Zoom with an engagement every six hours of three weeks, and twelve in the last one."""
    now = datetime.now(UTC)
    ages = [*range(60, 3_600, 300), *range(7_200, 21 * 86_400, 21_600)]
    engagements = Engagements(int(now.timestamp()) - age for age in ages)
    return start_simulator(engagements, history=History(now), requests_per_second=1_000)


@pytest.fixture
def run(
    zoom: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run the command, and return its exit status and verdicts."""
    monkeypatch.setenv("AIRFLOW_CONN_ZCC_DEFAULT", json.dumps(zoom.connection))

    def run(**options: bool) -> tuple[int, dict[str, str]]:
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


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("bounds", lambda sent: {"to": shifted(sent["to"], -1)}),
        ("bounds", lambda sent: {"from": shifted(sent["from"], 1)}),
        ("bounds", lambda sent: {"to": shifted(sent["to"], 59)}),
        ("filtered time", lambda sent: {"from": shifted(sent["from"], -86_400)}),
        ("literal z", lambda _: {"timezone": "UTC"}),
        ("offset form", lambda sent: {name: sent[name][:19] + "Z" for name in ("from", "to")}),
        ("longest range", lambda sent: {"from": max(sent["from"], shifted(sent["to"], -28 * 86_400))}),
    ],
)
def test_a_zoom_that_reads_requests_otherwise_is_found(
    run: Run, mocker: MockerFixture, what: str, changes: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    respond = ZoomSimulator.__call__

    async def respond_otherwise(simulator: ZoomSimulator, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if sent := dict(parse_qsl(scope["query_string"].decode())):
            scope["query_string"] = urlencode(sent | changes(sent)).encode()
        await respond(simulator, scope, receive, send)

    mocker.patch.object(ZoomSimulator, "__call__", respond_otherwise)
    status, verdicts = run()
    assert (status, verdicts[what]) == (1, "different")


def test_a_zoom_that_always_returns_the_same_is_found(zoom: SimulatorServer, run: Run) -> None:
    records = [{"engagement_id": f"{n}", "start_time": f"2026-11-03T00:{n // 60:02}:{n % 60:02}Z"} for n in range(101)]
    page = {"engagements": records, "total_records": 7, "page_size": "100"}
    headers = {"X-RateLimit-Type": "Daily-limit"}
    zoom.simulator.faults = [Fault("answer", times=-1, details={"status": 200, "headers": headers, "body": page})]
    status, verdicts = run()
    assert status == 1
    assert {what for what, verdict in verdicts.items() if verdict != "different"} == {"filtered time", "several tokens"}


def test_tokens_that_end_each_other_are_found(zoom: SimulatorServer, run: Run) -> None:
    ends_all = {"until": lambda: [zoom.simulator.end_tokens()]}
    zoom.simulator.faults = [Fault("hold", on="token", times=-1, after=2, details=ends_all)]
    status, verdicts = run()
    assert (status, verdicts["several tokens"]) == (1, "different")


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


@pytest.mark.parametrize("exchange", RECORDED, ids=range(len(RECORDED)))
def test_the_package_reads_what_was_recorded(simulator: SimulatorServer, exchange: dict[str, Any]) -> None:
    simulator.simulator.faults = [Fault("answer", details=exchange)]
    status, params, body = exchange["status"], exchange["params"], exchange["body"]
    assert violations(status, body) == []
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
