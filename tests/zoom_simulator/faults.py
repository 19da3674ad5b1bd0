"""Faults on demand: which requests they affect, and how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

#: What can happen to a request.
KINDS = (
    "answer",  # another status, headers and body instead of the response
    "page",  # the response's JSON with some of its keys replaced or, for the value "<absent>", missing
    "cut",  # the body ends in the middle
    "torn",  # the connection is reset in the middle of the body
    "stall",  # nothing comes for `seconds` in the middle of the body
    "reset",  # the connection closes without a response
    "delay",  # the response comes `seconds` later
    "hold",  # the response comes as soon as `until` says so
    "again",  # the page before once more, with a new page token
    "loop",  # the page token leads back to the first page
    "doubled",  # every record twice
    "arrival",  # before the response, engagements that begin at the epoch seconds `starts` are added at the end
)


@dataclass
class Fault:
    """One fault.

    :param kind: one of KINDS.
    :param on: ``api`` for any request to the API, ``first`` for first pages, ``next`` for the pages behind a
        page token, ``token`` for the token endpoint.
    :param after: so many such requests are spared first.
    :param times: so many are affected then; negative: all.
    :param details: what the kind needs: status, headers, body; keys; seconds; until; starts.
    :param affected: how many requests were affected.
    """

    kind: str
    on: str = "api"
    after: int = 0
    times: int = 1
    details: dict[str, Any] = field(default_factory=dict)
    affected: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind} is none of {', '.join(KINDS)}")


def find_fault(faults: Iterable[Fault], places: set[str]) -> Fault | None:
    """Return the fault that affects a request, and count it.

    :param faults: those that are set.
    :param places: what the request is, in the words of :attr:`Fault.on`.
    """
    for fault in faults:
        if fault.on in places and fault.times:
            if fault.after:
                fault.after -= 1
                continue
            fault.times -= 1
            fault.affected += 1
            return fault
    return None
