"""A link from a task in Airflow's page to its object in the S3 console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.amazon.aws.links.base_aws import BaseAwsLink
from airflow.providers.common.compat.sdk import XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import TaskInstanceKey


class S3ObjectLink(BaseAwsLink):
    """Leads from a task that returned an ``s3://`` URI to that object in the S3 console.

    Airflow 3 computes the link at the end of the task, which knows whether it used AWS GovCloud or China: these have
    consoles of their own. Airflow 2 computes it in the web server, from the URI only.
    """

    name = "S3 object"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL; an empty text if the task returned no URI.

        :param operator: the task.
        :param ti_key: which of its task instances.
        """
        uri = XCom.get_value(ti_key=ti_key, key="return_value")
        domain = self.get_aws_domain(getattr(operator, "aws_partition", "aws"))
        if not isinstance(uri, str) or not domain:
            return ""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        # The console has no page for an object in a bucket that is named by the ARN of an access point.
        return "" if ":" in bucket else f"https://console.{domain}/s3/object/{bucket}?prefix={quote(key, safe='')}"
