"""How many examples a property tries: few, and the same ones each time, unless ZCC_HYPOTHESIS=thorough."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

THOROUGH = os.environ.get("ZCC_HYPOTHESIS") == "thorough"
_LARGE_INPUTS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

settings.register_profile("zcc", deadline=None, derandomize=True, suppress_health_check=_LARGE_INPUTS)
settings.register_profile("zcc-thorough", deadline=None, print_blob=True, suppress_health_check=_LARGE_INPUTS)


def examples(few: int, many: int) -> settings:
    """Return the settings of one property. They are not the default: the tests of other folders have their own.

    :param few: how many examples there are in every run.
    :param many: how many there are in a thorough one.
    """
    profile = settings.get_profile("zcc-thorough" if THOROUGH else "zcc")
    return settings(profile, max_examples=many if THOROUGH else few)
