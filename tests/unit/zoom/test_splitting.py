from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_zcc.zoom.splitting import records_per_window, split_if_large, windows_to_fill_rate
from airflow_provider_zcc.zoom.window import Window

DAY = Window(datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 11, 6, tzinfo=UTC))


def test_a_higher_rate_takes_more_windows_up_to_what_was_allowed() -> None:
    windows = [windows_to_fill_rate(rate, max_concurrency=8) for rate in (0.5, 5.0, 10.0, 20.0, 1_000.0)]

    assert windows == sorted(windows)
    assert (windows[0], windows[-1]) == (1, 8)
    # A response takes 0.15 s.
    assert windows[3] >= 20 * 0.15


@pytest.mark.parametrize("concurrent", [1, 4, 8, 100])
def test_windows_are_neither_mostly_half_filled_pages_nor_more_than_may_wait(concurrent: int) -> None:
    sizes = [records_per_window(total, concurrent) for total in (0, 100, 2_000, 5_000, 10_000, 100_000)]

    assert sizes == sorted(sizes)
    assert sizes[0] >= 500
    assert sizes[-1] <= 3_000
    assert concurrent * sizes[-1] <= max(16_000, 500 * concurrent)


def test_a_window_is_split_when_it_holds_far_too_much_and_is_long_enough() -> None:
    second = Window(DAY.start, DAY.start + timedelta(seconds=1))

    assert (
        split_if_large(DAY, 1_000, 1_000.0)
        == split_if_large(DAY, 1_200, 1_000.0)
        == split_if_large(second, 90_000, 1_000.0)
        == []
    )
    assert len(split_if_large(DAY, 2_001, 1_000.0)) == 3
