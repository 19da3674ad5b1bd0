"""How many windows are read at once, and how many records each should hold."""

from __future__ import annotations

import math

from airflow_provider_zcc.zoom.window import Window

#: Records of a window. In a smaller one, the half-filled last page wastes more...
_MIN_SIZE = 500
#: ...and in a larger one, more output waits in the windows after it.
_MAX_SIZE = 3_000
#: Records of all windows that are read at once: what may have to wait.
_MAX_AT_ONCE = 16_000
#: How far a window may exceed its size without being split.
_TOLERANCE = 1.7
#: Seconds within which most responses arrive: all requests that the rate allows to start in them can be under way.
_USUAL_LATENCY = 0.2


def concurrent_windows(requests_per_second: float, max_concurrency: int) -> int:
    """Return how many windows have to be read at once to use all of the rate.

    :param requests_per_second: the rate.
    :param max_concurrency: most windows that may be read at once.
    """
    return min(max_concurrency, math.ceil(requests_per_second * _USUAL_LATENCY))


def window_size(total: int, concurrent: int) -> float:
    """Return how many records each window should hold.

    :param total: records of all of them.
    :param concurrent: windows that are read at once.
    """
    largest = max(min(_MAX_SIZE, _MAX_AT_ONCE / concurrent), _MIN_SIZE)
    return min(max(total / concurrent, _MIN_SIZE), largest)


def split(window: Window, total: int, size: float) -> list[Window]:
    """Return smaller windows to read instead of one that holds too much; none if it need not or cannot be split.

    :param window: the window.
    :param total: records that it holds.
    :param size: records that each window should hold.
    """
    if total <= size * _TOLERANCE:
        return []
    windows = window.split(math.ceil(total / size))
    return windows if len(windows) > 1 else []
