from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pendulum
import pytest

from airflow_provider_zcc.interval import Interval
from airflow_provider_zcc.s3.location import fill_placeholders, has_placeholders, parse_location
from airflow_provider_zcc.zoom.errors import InvalidQuery

DAY = Interval(datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC))
HOUR = Interval(datetime(2026, 11, 2, 13, tzinfo=UTC), datetime(2026, 11, 2, 14, tzinfo=UTC))
BERLIN = pendulum.timezone("Europe/Berlin")


@pytest.mark.parametrize(
    ("bucket", "key", "expected"),
    [
        ("my-lake", "tenant:acme/x.jsonl", ("my-lake", "tenant:acme/x.jsonl")),
        (None, "S3://my-lake/team=who?/a#b", ("my-lake", "team=who?/a#b")),
        (None, "s3://my-lake//a//b ", ("my-lake", "/a//b ")),
        (None, "plain", ("default", "plain")),
    ],
)
def test_a_location_is_a_bucket_and_all_that_follows_it(bucket: str | None, key: str, expected: tuple[str, str]):
    assert parse_location(bucket, key, default_bucket="default") == expected


@pytest.mark.parametrize(
    ("bucket", "key", "named"),
    [
        (None, "plain", "bucket"),
        ("my-lake", "", "key"),
        (None, "s3://my-lake/", "key"),
        (None, "s3:///key", "bucket"),
        ("my-lake", "s3://my-lake/key", "Use one of the two"),
        (None, "https://s3.us-east-1.amazonaws.com/my-lake/key", "s3_key"),
        ("my-lake", "a\n\ud800", "s3_key"),
        ("my-lake", "ü" * 513, "1024 bytes"),
        ("my-lake", 20261108, "s3_key 20261108.*render_template_as_native_obj"),
        (["my-lake"], "key", "s3_bucket"),
    ],
)
def test_what_names_no_object_is_an_error(bucket: object, key: object, named: str):
    with pytest.raises(InvalidQuery, match=named):
        parse_location(bucket, key)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "filled"),
    [
        ("date={start:%Y-%m-%d}/x", "date=2026-11-02/x"),
        ("{start:%Y/%m/%d}-{end:%H%M}", "2026/11/02-0000"),
        ("{start}_{end}", "2026-11-02T00:00:00+00:00_2026-11-03T00:00:00+00:00"),
        ("s3://lake/{start:%j}", "s3://lake/306"),
        ("{other}{{start:%d}}{}{starting}{end:%d}", "{other}{02}{}{starting}03"),
        ("plain", "plain"),
    ],
)
def test_start_and_end_stand_for_the_interval_and_other_braces_stay(key: str, filled: str):
    assert fill_placeholders(key, DAY, pendulum.UTC) == filled
    assert has_placeholders(key) == (filled != key)


def test_they_are_written_in_the_timezone_that_is_given():
    tokyo = pendulum.timezone("Asia/Tokyo")
    day = Interval(datetime(2026, 11, 1, 15, tzinfo=UTC), datetime(2026, 11, 2, 15, tzinfo=UTC))
    assert fill_placeholders("{start:%Y-%m-%d}", day, tokyo) == "2026-11-02"
    assert fill_placeholders("{end}", day, tokyo) == "2026-11-03T00:00:00+09:00"


@pytest.mark.parametrize(
    ("key", "interval"),
    [
        ("{start:YYYY-MM-DD}", DAY),
        ("{end:}", DAY),
        ("{start:%Y-%m}", DAY),
        ("{start:%Y-%m-%d}", HOUR),
        ("{start:%Y-%m-%d}/{end:%d}", HOUR),
    ],
)
def test_a_name_that_another_interval_has_as_well_is_an_error(key: str, interval: Interval):
    with pytest.raises(InvalidQuery, match="strftime"):
        fill_placeholders(key, interval, pendulum.UTC)


@pytest.mark.parametrize("hour", [0, 1])
def test_an_hour_that_is_repeated_needs_an_offset(hour: int):
    start = datetime(2026, 10, 25, hour, tzinfo=UTC)
    interval = Interval(start, start + timedelta(hours=1))
    with pytest.raises(InvalidQuery, match="%z"):
        fill_placeholders("{start:%Y-%m-%dT%H}", interval, BERLIN)
    assert fill_placeholders("{start:%Y-%m-%dT%H%z}", interval, BERLIN) == f"2026-10-25T02+0{2 - hour}00"


def test_a_name_of_the_end_is_the_days_own_when_the_day_has_23_hours():
    day = Interval(datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC))
    assert fill_placeholders("{end:%Y-%m-%d}", day, BERLIN) == "2026-03-30"


@pytest.mark.parametrize("key", ["{start:%Y-%m-%d", "{ start }", "{START}", "{start!r}", "{start.year}", "{end }"])
def test_what_was_meant_as_a_placeholder_is_an_error(key: str):
    with pytest.raises(InvalidQuery, match="not a placeholder"):
        fill_placeholders(key, DAY, pendulum.UTC)
