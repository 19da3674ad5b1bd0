"""What the threads of a process share, such as one token and one rate limiter for each Zoom account."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Generic, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


class shared_in_process(Generic[Arguments, Value]):  # noqa: N801  a decorator, as lru_cache is
    """Return the same object for the same arguments, also to threads that call at the same time.

    ``lru_cache`` does not lock while it computes: each of these threads would get an object of its own.

    :param make: makes the object, quickly. Its arguments have to be hashable.
    """

    def __init__(self, make: Callable[Arguments, Value]) -> None:
        self._make = lru_cache(make)
        self._lock = threading.Lock()

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
        """Return the object for these arguments."""
        with self._lock:
            return self._make(*args, **kwargs)  # type: ignore[arg-type]

    def cache_clear(self) -> None:
        """Forget all objects."""
        self._make.cache_clear()
