"""Whatever happens to engagements, and whenever they are read: no object loses any, and the truth arrives."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import given
from hypothesis import strategies as st

from tests.lake.conftest import DAY, Lake
from tests.properties.profile import examples
from tests.unit.conftest import Bucket, StartZoom
from tests.zoom_simulator.app import Config, ZoomSimulator
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.history import History

FIRST = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = (FIRST, FIRST + DAY)
END = DAYS[-1] + DAY
#: Until then something happens; it is when the days are due for the last time.
LAST = END + timedelta(days=7)
HOURS = st.integers(0, 24 * 7).map(lambda hours: timedelta(hours=hours))


@dataclass(frozen=True)
class Story:
    """What happens to a few engagements, and when somebody reads a day or repairs the lake.

    :param happenings: of each engagement: when it starts, is listed, is edited, and is deleted, if it ever is.
    :param steps: times, each with the day that is read; None where all days are checked and read again.
    """

    happenings: list[tuple[timedelta, timedelta, timedelta, timedelta | None]]
    steps: list[tuple[timedelta, datetime | None]]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    starts = st.integers(0, 2 * 86_400 - 1).map(lambda seconds: timedelta(seconds=seconds))
    deletions = HOURS if draw(st.booleans()) else st.none()
    happenings = draw(st.lists(st.tuples(starts, HOURS, HOURS, deletions), max_size=6))
    steps = draw(st.lists(st.tuples(HOURS, st.sampled_from((None, None, *DAYS))), max_size=6))
    return Story(happenings, sorted(steps, key=lambda step: step[0]))


def set_up(simulator: ZoomSimulator, story: Story) -> None:
    happenings = sorted(story.happenings, key=lambda happening: happening[0])
    engagements = Engagements(int((FIRST + start).timestamp()) for start, *_ in happenings)
    history = History()
    for number, (start, listed, edited, deleted) in enumerate(happenings):
        identity = engagements.identity(number)
        history.listed_at[identity] = min(FIRST + start + listed, LAST).timestamp()
        history.edited_at[identity] = [min(END + edited, LAST).timestamp()]
        if deleted is not None:
            history.deleted_at[identity] = min(END + deleted, LAST).timestamp()
    simulator.__init__(engagements, Config(history=history))  # type: ignore[misc]


def test_no_object_ever_loses_engagements_and_the_last_read_brings_the_truth(
    start_zoom: StartZoom, bucket: Bucket
) -> None:
    zoom = start_zoom()

    @examples(10, 300)
    @given(stories())
    def holds(story: Story) -> None:
        set_up(zoom.simulator, story)
        lake = Lake(zoom, bucket, folder=f"{uuid4()}/")
        held = dict.fromkeys(DAYS, 0)
        for after, day in [*story.steps, (LAST - END, None)]:
            # After a deletion, Zoom lists fewer than the object holds, and the task fails.
            expected = suppress(AirflowFailException) if zoom.simulator.history.deleted_at else nullcontext()
            with lake.at(END + after), expected:
                if day:
                    lake.read(day)
                else:
                    lake.repair(END, start=FIRST)
            for each in DAYS:
                count = len(lake.lines(each)) if lake.exists(each) else 0
                assert count >= held[each]
                held[each] = count
        if not zoom.simulator.history.deleted_at:
            with lake.at(LAST):
                assert [lake.lines(day) for day in DAYS] == [lake.truth(day) for day in DAYS]

    holds()
