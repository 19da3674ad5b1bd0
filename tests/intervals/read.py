"""What each run reads, written down."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class Read(EngagementsToS3Operator):
    """
    Reads alone and with an interval_length, and writes down what was read, or what the error says.

    With it goes the time at which the run was due, whenever it really ran: on Airflow 2 the end of its interval.

    :param requested: whether the run is one that somebody requested, so that those of the schedule do not count.
    """

    def __init__(self, *, requested: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.requested = requested

    def execute(self, context: Context) -> str:
        if self.requested and context["dag_run"].run_type == "scheduled":
            return ""
        due = getattr(context["dag_run"], "run_after", None) or context["data_interval_end"]
        reported: dict[str, Any] = {"due": due.isoformat()}
        for name, length in (("alone", None), ("interval_length", "P1D")):
            self.interval_length = length
            try:
                super().execute(context)
            except AirflowFailException as error:
                reported[name] = {"error": str(error)}
            else:
                reported[name] = context["ti"].xcom_pull(task_ids=self.task_id, key="summary")
        Path(os.environ["ZCC_REPORTED"], f"{self.dag_id}.json").write_text(json.dumps(reported))
        return ""
