"""
Run several commands of Airflow in one process: ``python -m tests.airflow_commands COMMAND ...``.

Each goes the way of the command line, which also writes the configuration file: components that began at once without
one would each make a key of their own, and not read what another has encrypted.
"""

from __future__ import annotations

import shlex
import sys

from airflow.__main__ import main

for command in sys.argv[1:]:
    sys.argv[1:] = shlex.split(command)
    main()
