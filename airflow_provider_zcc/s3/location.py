"""Bucket and key of an object, and the interval in its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import pendulum
from pendulum import FixedTimezone, Timezone

from airflow_provider_zcc.interval import Interval
from airflow_provider_zcc.zoom.errors import InvalidQuery

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_PLACEHOLDER = re.compile(r"\{(?P<bound>start|end)(?::(?P<format>[^{}]*))?\}")
#: What was meant as one.
_MALFORMED = re.compile(r"\{\s*(start|end)\b", re.IGNORECASE)
#: Bytes that S3 accepts.
_MAX_KEY_LENGTH = 1024
_EXAMPLE = "Use s3_bucket='my-lake' and s3_key='zoom/date={start:%Y-%m-%d}/engagements.jsonl.gz', or s3_key='s3://…'"


class Location(NamedTuple):
    """Where an object is in S3.

    :param bucket: name of the bucket, or ARN of an access point.
    :param key: key of the object.
    """

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """The object's ``s3://`` URI."""
        return f"s3://{self.bucket}/{self.key}"


def parse_location(s3_bucket: str | None, s3_key: str, *, default_bucket: str | None = None) -> Location:
    """Read a bucket and a key, or a whole ``s3://`` URL.

    Everything behind the bucket in a URL is the key: S3 gives ``?``, ``#`` and ``//`` no meaning.

    :param s3_bucket: the bucket; None if ``s3_key`` is a URL or the default bucket is meant.
    :param s3_key: the key, or an ``s3://`` URL.
    :param default_bucket: the bucket for a plain key without ``s3_bucket``.
    :raises InvalidQuery: if they name no object.
    """
    for name, value in (("s3_key", s3_key), ("s3_bucket", s3_bucket)):
        if not isinstance(value, str) and not (value is None and name == "s3_bucket"):
            raise InvalidQuery(
                f"Invalid {name} {value!r}: it is not text. {_EXAMPLE}. With render_template_as_native_obj, a template "
                "of digits only becomes a number: add other characters."
            )
    url = _URL.fullmatch(s3_key)
    if url is None:
        bucket, key = s3_bucket or default_bucket or "", s3_key
    elif url["scheme"].lower() not in ("s3", "s3a", "s3n"):
        raise InvalidQuery(f"s3_key is {s3_key!r}, which is not an s3:// URL. {_EXAMPLE}.")
    elif s3_bucket:
        raise InvalidQuery(f"s3_key is the URL {s3_key!r}, and s3_bucket is {s3_bucket!r}. Use one of the two.")
    else:
        bucket, _, key = url["rest"].partition("/")
    if not bucket or not key.strip("/"):
        missing = "bucket" if not bucket else "key"
        raise InvalidQuery(f"There is no {missing} in s3_bucket={s3_bucket!r} and s3_key={s3_key!r}. {_EXAMPLE}.")
    if len(key.encode(errors="replace")) > _MAX_KEY_LENGTH or not key.isprintable():
        raise InvalidQuery(
            f"Invalid s3_key {key[:100]!r}: it has more than {_MAX_KEY_LENGTH} bytes, or a line break or another "
            "character that cannot be printed."
        )
    return Location(bucket, key)


def has_placeholders(s3_key: str) -> bool:
    """Return whether a key contains ``{start}`` or ``{end}``."""
    return isinstance(s3_key, str) and bool(_PLACEHOLDER.search(s3_key) or _MALFORMED.search(s3_key))


def fill_placeholders(s3_key: str, interval: Interval, timezone: Timezone | FixedTimezone) -> str:
    """Replace ``{start}`` and ``{end}`` in a key by the bounds of an interval.

    Each may have a format, as in ``{start:%Y-%m-%d}``; without one it is ISO 8601. Other braces stay.

    :param s3_key: the key, or an ``s3://`` URL.
    :param interval: the interval.
    :param timezone: the timezone in which its bounds are written.
    :raises InvalidQuery: if the interval before or after this one would have the same name, as the hours of a day have
        with ``{start:%Y-%m-%d}``.
    """
    if not has_placeholders(s3_key):
        return s3_key
    key = _filled(s3_key, interval, timezone)
    if malformed := _MALFORMED.search(key):
        raise InvalidQuery(
            f"s3_key contains {key[malformed.start() :][:40]!r}, which is not a placeholder. Use one such as "
            "{start:%Y-%m-%d}."
        )
    for neighbour in _neighbours(interval, has_start="{start" in s3_key):
        if _filled(s3_key, neighbour, timezone) == key:
            raise InvalidQuery(
                f"s3_key {s3_key!r} would give the intervals that start at {interval.start} and {neighbour.start} the "
                f"same name: {key!r}. One would replace the other. Use a format of strftime that tells them apart: "
                "{start:%Y-%m-%d} for days or {start:%Y-%m-%dT%H%z} for hours."
            )
    return key


def _neighbours(interval: Interval, *, has_start: bool) -> Iterator[Interval]:
    """Yield the interval before, and the one after if the key has its start: where that ends is not known for sure."""
    length = interval.end - interval.start
    with suppress(OverflowError):
        yield Interval(interval.start - length, interval.start)
    if has_start:
        with suppress(OverflowError):
            yield Interval(interval.end, interval.end + length)


def _filled(s3_key: str, interval: Interval, timezone: Timezone | FixedTimezone) -> str:
    local = {name: pendulum.instance(getattr(interval, name)).in_timezone(timezone) for name in ("start", "end")}

    def fill(placeholder: re.Match[str]) -> str:
        bound, time_format = local[placeholder["bound"]], placeholder["format"]
        return str(bound.isoformat() if time_format is None else bound.strftime(time_format))

    return _PLACEHOLDER.sub(fill, s3_key)
