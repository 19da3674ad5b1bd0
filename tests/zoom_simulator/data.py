"""Engagements as a contact centre has them: seeded, so that the same numbers give the same bytes."""

from __future__ import annotations

import json
import random
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zlib import crc32

_TEMPLATES = 240
_DAY = 86_400
#: How busy each hour of a day is, and each day of a week from Monday on.
_HOURS = (1, 0, 0, 0, 0, 1, 4, 14, 38, 64, 78, 74, 58, 66, 74, 70, 58, 40, 24, 14, 9, 6, 4, 2)
_WEEKDAYS = (100, 94, 90, 92, 88, 26, 15)

QUEUES = {
    f"{name[:4].ljust(4, 'x')}Jxo{n}OS_eV1QmTpj63PQ": name for n, name in enumerate(("Billing", "Support", "Sales"))
}
AGENTS = {f"ukAAkZKfROKMSw1bj_RD{n:02}": name for n, name in enumerate(("Jilly", "Zoë", "José", "李雷", "Anna\tB."))}
NUMBERS = tuple(f"+1205930{n:04}" for n in range(900, 912))
#: Each channel type with the channel and source that are Zoom's newer words for it, and how common it is.
CHANNELS = (
    ("voice", "voice", None, 50),
    ("sms", "messaging", "sms", 8),
    ("chat", "messaging", "web_chat", 14),
    ("video", "video", "web_video", 5),
    ("kiosk", "video", "kiosk_video", 3),
    ("in_app_chat", "messaging", "in_app_chat", 6),
    ("in_app_video", "video", "in_app_video", 3),
    ("chat", "messaging", "whatsapp", 5),
    ("chat", "messaging", "facebook_messenger", 3),
    (None, "email", "email_address", 6),
)
NOTES = (
    "Called back, resolved.",
    "First line\nSecond line\r\nThird line",
    "Grüße 👋🏽 from the 👩‍💻",
    "Line separator \u2028 and paragraph separator \u2029 within",
    'Said "no" \\ then yes; 100% sure',
    "Control characters \u0001 \t and a NUL \u0000",
    "",
)


#: Names of parameters of the API, and values.
Filters = tuple[tuple[str, str], ...]


class Template:
    """Everything of an engagement but its id and its times, as bytes with gaps.

    :param number: another number, another template.
    :param edits: how often its notes and dispositions have been edited.
    """

    def __init__(self, number: int, edits: int = 0) -> None:
        rng = random.Random(number)
        [(channel_type, channel, source, _)] = rng.choices(CHANNELS, [weight for *_, weight in CHANNELS])
        queue = rng.choice([*QUEUES, None])
        agents = rng.sample(list(AGENTS), rng.choice((0, 1, 1, 1, 2)))
        consumer = rng.choice([*NUMBERS, None])
        #: By the name of the parameter that filters by it.
        self.traits: dict[str, str | None] = {
            "queue_id": queue,
            "user_id": agents[0] if agents else None,
            "consumer_number": consumer,
            "channel_types": channel_type,
            "channel": channel,
            "channel_sources": source,
            "direction": rng.choice(("inbound", "outbound")),
        }
        self.duration = rng.choice((0, 7, 45, 180, 600, 3_600))
        self._pieces = re.split("@@(id|start|end|serial)@@", self._json(rng, agents, edits))

    def _json(self, rng: random.Random, agents: list[str], edits: int) -> str:
        traits = self.traits
        fields: dict[str, Any] = {
            "engagement_id": "@@id@@",
            "start_time": "@@start@@",
            "end_time": "@@end@@",
            "duration": self.duration,
            "direction": traits["direction"],
            "channel_types": [traits["channel_types"]] if traits["channel_types"] else [],
            "channels": [{"channel": traits["channel"], "channel_source": traits["channel_sources"]}],
            "consumers": [
                {
                    "consumer_id": f"c{rng.getrandbits(60):x}",
                    "consumer_display_name": rng.choice(("Jill", "Ødegård", "王芳", "O'Brien", None)),
                    "consumer_number": traits["consumer_number"],
                }
            ],
            "flows": rng.choice(([], [{"flow_id": "zeYjXoDOS_eV1Q", "flow_name": "Main", "flow_version": "5"}])),
            "queues": [{"cc_queue_id": queue, "queue_name": QUEUES[queue]}] if (queue := traits["queue_id"]) else [],
            "agents": [{"user_id": agent, "display_name": AGENTS[agent]} for agent in agents],
            "talk_duration": rng.randrange(600),
            "flow_duration": rng.randrange(60),
            "waiting_duration": rng.randrange(900),
            "handling_duration": rng.randrange(900),
            "wrap_up_duration": rng.randrange(120),
            "transfer_count": rng.choice((0, 0, 0, 1, 3)),
            "dispositions": rng.choice(([], [{"disposition_id": "W_VATTk", "disposition_name": "Inquiry"}])),
            "notes": [
                {
                    "user_id": agent,
                    "note_id": f"n{rng.getrandbits(50):x}",
                    "note": rng.choice(NOTES),
                    "last_modified_time": "2026-02-15T09:27:15Z",
                }
                for agent in agents
            ],
            "transcript_url": None,
            "survey_id": rng.choice(("2yWjT4awTumcFKIrvcf4OA", "", None)),
            "serial_2026": "@@serial@@",
            "sentiment_beta": {"score": 0, "labels": rng.sample(("calm", "hurried", "日常"), 2), "raw": None},
        }
        names = list(fields)
        rng.shuffle(names)
        if edits:
            fields["dispositions"] = [{"disposition_id": "W_VATTk", "disposition_name": f"Edit {edits}"}]
            fields["notes"] = [note | {"note": f"Edit {edits}"} for note in fields["notes"]]
        for name in ("transcript_url", "survey_id", "flows", "dispositions"):
            if rng.random() < 0.2 and not (edits and name == "dispositions"):
                names.remove(name)
        text = json.dumps(
            {name: fields[name] for name in names},
            ensure_ascii=rng.random() < 0.5,
            indent=rng.choice((None, None, None, 1)),
            separators=rng.choice(((",", ":"), (", ", ": "))),
        )
        # An integer beyond 2^53, and a number whose spelling no parser would give back.
        text = text.replace('"@@serial@@"', "9007199@@serial@@")
        return re.sub(r'("score": ?)0', rf"\g<1>{rng.choice(('-0.50', '1.0e-2', '0.10', '1E2'))}", text)

    def render(self, values: dict[str, str]) -> str:
        """Fill the gaps."""
        pieces = list(self._pieces)
        pieces[1::2] = [values[name] for name in self._pieces[1::2]]
        return "".join(pieces)


@dataclass(frozen=True)
class TimeStyle:
    """How times are written in a response."""

    clock: Any = UTC
    with_offset: bool = False

    def write(self, epoch: int) -> str:
        moment = datetime.fromtimestamp(epoch, self.clock)
        return moment.isoformat() if self.with_offset else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Engagements:
    """A year's, a day's or a second's engagements, made when they are needed.

    :param starts: epoch seconds at which each begins.
    :param seed: another seed, other engagements.
    """

    def __init__(self, starts: Iterable[int], seed: int = 0) -> None:
        self.starts = array("q", sorted(starts))
        self._seed = seed

    @classmethod
    def of_a_contact_centre(cls, count: int, days: int, *, end: datetime | None = None) -> Engagements:
        """Spread engagements over busy hours and quiet nights, with some on every midnight and many in one second.

        :param count: how many.
        :param days: over how many days.
        :param end: midnight after the last of them; default: the last midnight.
        """
        end = end or _last_midnight()
        first = end - timedelta(days=days)
        weights = [_WEEKDAYS[(first + timedelta(days=day)).weekday()] * hour for day in range(days) for hour in _HOURS]
        rng = random.Random(0)
        epoch = int(first.timestamp())
        midnights = [epoch + day * _DAY for day in range(days + 1) for _ in range(3)]
        burst = [epoch + 10 * 3_600 + 1_800] * (count // 40)
        fixed = [*midnights, *burst][: count // 4]
        hours = rng.choices(range(len(weights)), weights, k=count - len(fixed))
        return cls([*fixed, *(epoch + hour * 3_600 + rng.randrange(3_600) for hour in hours)])

    def _template_number(self, number: int) -> int:
        return _scatter(number + self._seed) % _TEMPLATES

    def _template(self, number: int, edits: int = 0) -> Template:
        return _template(self._template_number(number), edits)

    def chance(self, what: str, number: int) -> float:
        """Return a number from 0 up to 1 for something that may happen, the same for the same seed."""
        return _scatter(_scatter(number + self._seed) + crc32(what.encode())) / 2**64

    def between(self, first: int, last: int, wanted: Filters = ()) -> list[int] | range:
        """Return the numbers of the engagements that begin in the closed range and have a wanted value of each name."""
        numbers = range(bisect_left(self.starts, first), bisect_right(self.starts, last))
        if not wanted:
            return numbers
        allowed = {name: {value for other, value in wanted if other == name} for name, _ in wanted}
        passing = {
            number
            for number in range(_TEMPLATES)
            if all(_template(number).traits[name] in values for name, values in allowed.items())
        }
        return [number for number in numbers if self._template_number(number) in passing]

    def identity(self, number: int) -> str:
        return f"e{self._seed:x}_{_scatter(number):016x}"

    def end(self, number: int) -> int:
        """Return the epoch second at which an engagement ends."""
        return self.starts[number] + self._template(number).duration

    def render(self, number: int, style: TimeStyle, edits: int = 0) -> str:
        """Return an engagement as Zoom would write it, after it has been edited so often."""
        template = self._template(number, edits)
        start = self.starts[number]
        return template.render(
            {
                "id": self.identity(number),
                "start": style.write(start),
                "end": style.write(start + template.duration),
                "serial": f"{number:012}",
            }
        )

    def truth(self, start: datetime, end: datetime, style: TimeStyle = TimeStyle()) -> Iterator[str]:
        """Yield a line for each engagement that begins in ``[start, end)``."""
        for number in self.started(start, end):
            yield without_line_breaks(self.render(number, style))

    def started(self, start: datetime, end: datetime, wanted: Filters = ()) -> list[int] | range:
        """Return the numbers of the engagements that begin in ``[start, end)`` and pass the filters."""
        return self.between(-int(-start.timestamp() // 1), -int(-end.timestamp() // 1) - 1, wanted)


def _shaped(place: Callable[[random.Random, int], int]) -> Callable[..., Engagements]:
    """Make engagements of which each has a place among the seconds of so many days."""

    def engagements(count: int, days: int, *, end: datetime | None = None) -> Engagements:
        first = int((end or _last_midnight()).timestamp()) - days * _DAY
        rng = random.Random(0)
        return Engagements(first + place(rng, days) for _ in range(count))

    return engagements


#: Other ways for engagements to spread over days: what makes a reader's work easy, or hard.
SHAPES: dict[str, Callable[..., Engagements]] = {
    "contact-centre": Engagements.of_a_contact_centre,
    "even": _shaped(lambda rng, days: rng.randrange(days * _DAY)),
    "one-hour": _shaped(lambda rng, days: days // 2 * _DAY + 36_000 + rng.randrange(3_600)),
    "one-second": _shaped(lambda _, days: days // 2 * _DAY + 36_000),
    "busy-days": _shaped(lambda rng, days: rng.randrange(days) * _DAY + 32_400 + rng.randrange(32_400)),
}


def without_line_breaks(text: str) -> str:
    """Return JSON as it is to be in S3."""
    return text.translate({10: None, 13: None})


@cache
def _template(number: int, edits: int = 0) -> Template:
    return Template(number, edits)


def _last_midnight() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _scatter(number: int) -> int:
    """Give every number another one, of 64 bits, that looks like chance."""
    number = (number + 1) * 0x9E3779B97F4A7C15 % 2**64
    return (number ^ number >> 29) * 0xBF58476D1CE4E5B9 % 2**64 ^ number >> 32
