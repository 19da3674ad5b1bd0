"""How many records a window should hold, and into which parts it is split if it holds far more.

This does not limit how many windows are read at once: there are as many as threads.
"""

from __future__ import annotations

import math

from airflow_provider_zcc.zoom.window import Window

#: Fewest records that a window should hold: in a smaller window, the half-filled last page wastes more.
_MIN_RECORDS = 500
#: Most records that a window should hold: in a larger window, more output waits in the windows after it.
_MAX_RECORDS = 3_000
#: Records that all windows which fill the rate should hold together: what may have to wait.
_MAX_RECORDS_TOGETHER = 16_000
#: How far the records of a window may exceed the target before it is split.
_TOLERANCE = 1.7
#: Seconds within which most responses arrive.
_USUAL_LATENCY = 0.2


def windows_to_fill_rate(requests_per_second: float, max_concurrency: int) -> int:
    """Return how many windows have to be read at once to use all of the rate.

    While one response is awaited, the rate allows this many other requests to start.

    :param requests_per_second: the rate.
    :param max_concurrency: most windows that may be read at once.
    """
    return min(max_concurrency, math.ceil(requests_per_second * _USUAL_LATENCY))


def records_per_window(total: int, windows: int) -> float:
    """Return how many records each window should hold.

    :param total: records of all windows together.
    :param windows: how many windows have to be read at once to use all of the rate.
    """
    most = max(min(_MAX_RECORDS, _MAX_RECORDS_TOGETHER / windows), _MIN_RECORDS)
    return min(max(total / windows, _MIN_RECORDS), most)


def split_if_large(window: Window, total: int, target: float) -> list[Window]:
    """Return the parts to read instead of a window that holds too much; none if it need not or cannot be split.

    :param window: the window.
    :param total: records that it holds.
    :param target: records that each part should hold.
    """
    if total <= target * _TOLERANCE:
        return []
    parts = window.split(math.ceil(total / target))
    return parts if len(parts) > 1 else []
