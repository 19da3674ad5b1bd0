"""Run several commands of Airflow in one process: ``python -m tests.airflow_commands COMMAND ...``."""

from __future__ import annotations

import shlex
import sys

from airflow.cli.cli_parser import get_parser

for command in sys.argv[1:]:
    arguments = get_parser().parse_args(shlex.split(command))
    arguments.func(arguments)
