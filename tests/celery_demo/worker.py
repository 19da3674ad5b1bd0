"""What a worker calls itself, since all run on one machine."""

from __future__ import annotations

import os

NAME = "ZCC_CELERY_WORKER"


def name() -> str:
    """Return the name of this worker, for ``[core] hostname_callable``."""
    return os.environ.get(NAME, "scheduler")
