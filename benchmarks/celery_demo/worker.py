"""What a worker calls itself, since all run on one machine."""

from __future__ import annotations

import os


def name() -> str:
    """Return the name of this worker, for ``[core] hostname_callable``."""
    return os.environ.get("ZCC_CELERY_WORKER", "scheduler")
