"""The simulated account changes as its clock goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_provider_zcc.zoom.page import Page, Record, parse_page
from airflow_provider_zcc.zoom.query import PATH, Query
from airflow_provider_zcc.zoom.window import Window
from tests.conftest import END, StartSimulator, client_for
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.history import History
from tests.zoom_simulator.server import SimulatorServer

DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
START = END - DAY
ENGAGEMENTS = Engagements.of_a_contact_centre(1_000, 4, end=END)


def pages(server: SimulatorServer, start: datetime = START, end: datetime = END) -> Iterator[Page]:
    client, query, token = client_for(server), Query(start, end), None
    while True:
        parameters = query.parameters(Window(start, end - SECOND), page_size=20, next_page_token=token)
        yield (page := client.get(PATH, parameters, parse_page))
        if (token := page.next_page_token) is None:
            return


def read(server: SimulatorServer, start: datetime = START, end: datetime = END) -> dict[Any, bytes]:
    """Return what is listed, by id, having checked that pages, counts and the truth agree on it."""
    found = list(pages(server, start, end))
    records: list[Record] = [record for page in found for record in page.records]
    lines = [line.replace("\n", "").encode() for line in server.simulator.truth(start, end)]
    assert sorted(record.line for record in records) == sorted(lines)
    assert {page.total_records for page in found} == {len(records)}
    return {record.identity: record.line for record in records}


def read_at(server: SimulatorServer, now: datetime | None, start: datetime = START) -> dict[Any, bytes]:
    server.simulator.history.now = now
    return read(server, start)


def test_an_engagement_is_listed_from_its_end_on(start_simulator: StartSimulator) -> None:
    server = start_simulator(ENGAGEMENTS)
    everything = read(server).values()
    for hours in (0, 1, 9.5, 12, 23, 24, 26):
        now = START + HOUR * hours
        over = {line for line in everything if datetime.fromisoformat(json.loads(line)["end_time"]) <= now}
        assert set(read_at(server, now).values()) == over
    assert over == set(everything)


def test_a_share_of_the_engagements_is_listed_late_and_always_the_same_ones(start_simulator: StartSimulator) -> None:
    punctual = read_at(start_simulator(ENGAGEMENTS), END)
    server = start_simulator(ENGAGEMENTS, history=History(late=0.2, lag=DAY))
    first = read_at(server, END)
    assert 0.02 * len(punctual) < len(punctual.keys() - first.keys()) < 0.2 * len(punctual)
    assert read_at(server, END + HOUR * 25) == read_at(server, None) == read(start_simulator(ENGAGEMENTS))
    assert read_at(server, END) == first


def test_on_some_days_notes_and_dispositions_are_edited_at_each_age(start_simulator: StartSimulator) -> None:
    ages = (DAY * 5, DAY * 20)
    server = start_simulator(ENGAGEMENTS, history=History(edited=0.5, edit_ages=ages))
    first, second, third = (read_at(server, END + age, END - DAY * 4) for age in (timedelta(), *ages))
    assert first == read(start_simulator(ENGAGEMENTS), END - DAY * 4)
    assert first.keys() == second.keys() == third.keys()
    edited = {identity for identity in first if first[identity] != second[identity]}
    days = [{json.loads(first[identity])["start_time"][:10] for identity in ids} for ids in (edited, first)]
    assert set() < days[0] < days[1]
    assert all((second[identity] != third[identity]) == (identity in edited) for identity in first)
    for identity in edited:
        before, after = json.loads(first[identity]), json.loads(third[identity])
        for notes in ("notes", "dispositions"):
            before.pop(notes, None)
            after.pop(notes)
        assert before == after


def test_what_started_longer_ago_than_the_retention_is_no_longer_listed(start_simulator: StartSimulator) -> None:
    server = start_simulator(ENGAGEMENTS, history=History(retention=DAY * 30))
    everything = read(server)
    now = START + DAY * 30 + HOUR * 12
    left = {
        identity
        for identity, line in everything.items()
        if datetime.fromisoformat(json.loads(line)["start_time"]) >= START + HOUR * 12
    }
    assert set() < read_at(server, now).keys() == left < everything.keys()
    assert not read_at(server, END + DAY * 30)


def test_a_share_of_the_engagements_is_deleted(start_simulator: StartSimulator) -> None:
    server = start_simulator(ENGAGEMENTS, history=History(deleted=0.1, deletion_age=DAY * 2))
    before, after = read_at(server, END + HOUR), read_at(server, END + DAY * 2)
    assert before == read(start_simulator(ENGAGEMENTS))
    assert after.items() < before.items()
    assert len(after) > 0.8 * len(before)


@pytest.mark.parametrize("now", [None, END + HOUR], ids=["without a clock", "with a clock"])
def test_single_engagements_are_edited_and_deleted_by_hand(
    start_simulator: StartSimulator, now: datetime | None
) -> None:
    server = start_simulator(ENGAGEMENTS)
    before = read_at(server, now)
    edited, deleted, *_ = before
    server.simulator.history.edit([edited])
    server.simulator.history.delete([deleted])
    after = read(server)
    assert before.keys() - after.keys() == {deleted}
    assert {identity for identity in after if after[identity] != before[identity]} == {edited}


def test_single_engagements_have_a_history_of_their_own(start_simulator: StartSimulator) -> None:
    engagements = Engagements([int(START.timestamp())] * 2)
    first, second = (engagements.identity(number) for number in range(2))
    hours = [START.timestamp() + 3_600 * number for number in range(5)]
    history = History(
        listed_at={first: hours[2], second: hours[0]},
        edited_at={second: [hours[1], hours[3]]},
        deleted_at={second: hours[4]},
    )
    server = start_simulator(engagements, history=history)
    states = [read_at(server, START + HOUR * number) for number in range(5)]
    assert [set(state) for state in states] == [{second}, {second}, {first, second}, {first, second}, {first}]
    assert len({state[second] for state in states[:4]}) == 3


def test_a_page_token_stays_valid_when_the_clock_goes_on(start_simulator: StartSimulator) -> None:
    server = start_simulator(ENGAGEMENTS, order="ascending")
    server.simulator.history.now = START + HOUR * 12
    reading = pages(server)
    first = next(reading)
    server.simulator.history.now = END + HOUR
    [*_, last] = reading
    assert first.total_records < last.total_records == len(read(server))
    assert last.records[-1].line == list(read(server).values())[-1]


def test_without_a_range_the_day_before_the_clock_is_listed(start_simulator: StartSimulator) -> None:
    server = start_simulator(ENGAGEMENTS)
    server.simulator.history.now = END + HOUR
    page = client_for(server).get(PATH, [("page_size", "1")], parse_page)
    assert page.total_records == len(read(server, START + HOUR, END + HOUR))


def test_another_process_may_set_the_clock_edit_and_delete(start_simulator: StartSimulator) -> None:
    server = start_simulator(ENGAGEMENTS)
    edited, deleted, *rest = read(server)

    def change(**changes: object) -> dict[Any, bytes]:
        requests.post(f"{server.url}/_simulator/history", json=changes, timeout=10).raise_for_status()
        return read(server)

    assert not change(now=(START - HOUR).isoformat())
    before = change(now=END.astimezone(UTC).isoformat())
    assert change(edit=[edited], delete=[deleted]).keys() == before.keys() - {deleted}
    assert set(change(now=None)) == {edited, *rest}
