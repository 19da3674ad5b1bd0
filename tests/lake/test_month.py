"""A month of nights: late listings, edits, outages and retention, and what the tasks of ``zcc_daily`` make of them."""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from tests.lake.conftest import DAY, Lake
from tests.unit.conftest import Bucket, StartZoom, rejecting
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.history import History

FIRST = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = [FIRST + number * DAY for number in range(31)]
END = DAYS[-1] + DAY
#: Engagements of a day. The more, the less do the requests of the check weigh.
A_DAY = int(os.environ.get("ENGAGEMENTS_A_DAY", "500"))
#: After midnight, when the Dag runs.
SOON = timedelta(minutes=5)
#: Days in whose night Zoom is down, and the day that is overwritten by hand in the next night.
OUTAGES, OVERWRITTEN = (DAYS[9], DAYS[20]), DAYS[15]


def test_after_a_month_of_nights_the_lake_is_what_zoom_lists(
    start_zoom: StartZoom, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    history = History(late=0.03, edited=0.1, retention=timedelta(days=30))
    zoom = start_zoom(Engagements.of_a_contact_centre(A_DAY * len(DAYS), len(DAYS), end=END), history=history)
    lake, stats = Lake(zoom, bucket), zoom.simulator.stats
    events, repairing, blind = [], 0, 0
    for number, day in enumerate(DAYS):
        with lake.at(day + DAY + SOON):
            zoom.simulator.faults = [rejecting(400, 300, "Down.")] if day in OUTAGES else []
            blind += sum(math.ceil(lake.listed(each) / 100) for each in DAYS[max(0, number - 6) : number + 1])
            before = {each: bucket.etag(lake.key(each)) for each in DAYS[:number] if lake.exists(each)}
            try:
                summaries = [lake.read(day)]
                requests = stats.api_requests
                summaries += lake.repair(day + DAY, start=max(FIRST, day - 9 * DAY))
                repairing += stats.api_requests - requests
            except AirflowException:
                assert day in OUTAGES
                continue
            for summary in summaries:
                start = datetime.fromisoformat(summary["start"])
                events.append(summary["changed"])
                assert summary["changed"] == (before.get(start) != bucket.etag(lake.key(start)))
            if day == OVERWRITTEN:
                bucket.put(lake.key(day), b"by hand")

    with lake.at(END + SOON):
        coverage = lake.check(END, start=FIRST)
        assert coverage["surplus"] == 2, "the first day, and the first minutes of the second"
        assert (coverage["intervals"], coverage["complete"]) == (31, 29)
        history.retention = None
        for day in DAYS:
            in_lake, in_zoom = lake.lines(day), lake.truth(day)
            if day + DAY + timedelta(days=7) <= END:
                assert in_lake == in_zoom
            else:
                # What was edited after the last read is due after seven days.
                assert ids(in_lake) == ids(in_zoom)
    assert 0 < events.count(False) < len(events)
    assert repairing < (blind / 3 if A_DAY >= 4_000 else blind)
    with capsys.disabled():
        print(
            f"\n{len(DAYS)} nights, {A_DAY:,} engagements a day: {stats.api_requests:,} requests, {repairing:,} of "
            f"them to check and read again. Reading the last seven days every night takes {blind:,}. "
            f"{len(events)} objects were read, {events.count(True)} of them changed."
        )


def ids(lines: list[str]) -> set[str]:
    return {json.loads(line)["engagement_id"] for line in lines}
