"""How many examples a property tries: few, and the same ones each time, unless ZCC_HYPOTHESIS=thorough."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

THOROUGH = os.environ.get("ZCC_HYPOTHESIS") == "thorough"


def examples(few: int, many: int) -> settings:
    """Return a decorator that sets how many examples one property tries.

    :param few: how many examples there are in every run.
    :param many: how many there are in a thorough one.
    """
    return settings(
        max_examples=many if THOROUGH else few,
        deadline=None,
        derandomize=not THOROUGH,
        print_blob=THOROUGH,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
