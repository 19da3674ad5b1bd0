"""The simulated account changes as its clock goes on."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_zcc.zoom.page import Record, parse_page
from airflow_provider_zcc.zoom.query import PATH, Query
from airflow_provider_zcc.zoom.window import Window
from tests.conftest import END, StartSimulator, client_for
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.history import History
from tests.zoom_simulator.server import SimulatorServer

DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
START = END - DAY
ENGAGEMENTS = Engagements.of_a_contact_centre(1_000, 4, end=END)


def read_at(server: SimulatorServer, now: datetime | None, start: datetime = START) -> dict[Any, bytes]:
    """Return what is listed, by id, having checked that pages, count and truth agree on it."""
    server.simulator.history.now = now
    client, query, token = client_for(server), Query(start, END), None
    records: list[Record] = []
    while True:
        parameters = query.parameters(Window(start, END - SECOND), page_size=20, next_page_token=token)
        page = client.get(PATH, parameters, parse_page)
        records += page.records
        if (token := page.next_page_token) is None:
            break
    lines = [line.encode() for line in server.simulator.truth(start, END)]
    assert sorted(record.line for record in records) == sorted(lines)
    assert page.total_records == len(records)
    return {record.identity: record.line for record in records}


def test_a_share_of_the_engagements_is_listed_late_and_a_share_of_the_days_edited_at_each_age(
    start_simulator: StartSimulator,
) -> None:
    start, ages = END - DAY * 4, (DAY * 6, DAY * 20)
    server = start_simulator(ENGAGEMENTS, history=History(late=0.2, lag=DAY, edited=0.5, edit_ages=ages))
    punctual = read_at(start_simulator(ENGAGEMENTS), END, start)
    late = punctual.keys() - read_at(server, END, start).keys()
    first, second, third = (read_at(server, END + age, start) for age in (DAY, *ages))
    assert set() < late < punctual.keys() <= first.keys() == second.keys() == third.keys()
    edited = {identity for identity in first if first[identity] != second[identity]}
    days = [{json.loads(first[identity])["start_time"][:10] for identity in ids} for ids in (edited, first)]
    assert set() < days[0] < days[1]
    assert {identity for identity in first if second[identity] != third[identity]} == edited
    for identity in edited:
        before, after = json.loads(first[identity]), json.loads(third[identity])
        assert {name for name in after if before.get(name) != after[name]} <= {"notes", "dispositions"}


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
