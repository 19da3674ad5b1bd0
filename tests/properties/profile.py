"""How many examples a property tries: few, and the same ones each time, unless ZCC_HYPOTHESIS=thorough."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

from hypothesis import HealthCheck, settings

THOROUGH = os.environ.get("ZCC_HYPOTHESIS") == "thorough"
_LARGE_INPUTS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

settings.register_profile("zcc", deadline=None, derandomize=True, suppress_health_check=_LARGE_INPUTS)
settings.register_profile("zcc-thorough", deadline=None, print_blob=True, suppress_health_check=_LARGE_INPUTS)


#: What was tried so far, over all properties.
TRIED: Counter[str] = Counter()


def examples(few: int, many: int) -> Callable[[Any], Any]:
    """Return a decorator that sets how many examples one property tries, and counts them.

    Hypothesis' default is left alone: the tests of other folders have their own.

    :param few: how many examples there are in every run.
    :param many: how many there are in a thorough one.
    """
    profile = settings.get_profile("zcc-thorough" if THOROUGH else "zcc")

    def decorate(test: Any) -> Any:
        TRIED["properties"] += 1
        test.hypothesis.inner_test = _counted(test.hypothesis.inner_test)
        return settings(profile, max_examples=many if THOROUGH else few)(test)

    return decorate


def _counted(test: Callable[..., None]) -> Callable[..., None]:
    @wraps(test)
    def counted(*args: Any, **arguments: Any) -> None:
        TRIED["examples"] += 1
        for value in arguments.values():
            answers = value if isinstance(value, list) else [value]
            TRIED["bytes of answers"] += sum(len(answer) for answer in answers if isinstance(answer, bytes))
        test(*args, **arguments)

    return counted
