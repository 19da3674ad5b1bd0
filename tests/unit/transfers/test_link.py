from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from pytest_mock import MockerFixture

from airflow_provider_zcc.links.s3_object import S3ObjectLink
from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.s3_server import S3Server
from tests.unit.conftest import END, START, Bucket, context_of


def link_of(task: EngagementsToS3Operator, returned: str | None, mocker: MockerFixture) -> str:
    """Return the task's link after it has returned something."""
    [link] = task.operator_extra_links
    mocker.patch(f"{S3ObjectLink.__module__}.XCom").get_value.return_value = returned
    return link.get_link(task, ti_key=SimpleNamespace())


@pytest.mark.usefixtures("zoom")
@pytest.mark.parametrize(
    ("region", "console"),
    [("eu-central-1", "console.aws.amazon.com"), ("us-gov-west-1", "console.amazonaws-us-gov.com")],
)
def test_it_leads_to_the_object_in_the_s3_console(
    bucket: Bucket, s3_server: S3Server, mocker: MockerFixture, region: str, console: str
):
    extra = {**s3_server.connection["extra"], "region_name": region}
    endpoint = mocker.patch("botocore.client.ClientMeta.endpoint_url", new_callable=mocker.PropertyMock)
    endpoint.return_value = f"https://s3.{region}.amazonaws.com"
    mocker.patch.dict("os.environ", AIRFLOW_CONN_AWS_DEFAULT=json.dumps({**s3_server.connection, "extra": extra}))
    key = "a b/x&y=%41?.jsonl"
    task = EngagementsToS3Operator(task_id="task", s3_bucket=bucket.name, s3_key=key, start=START, end=END)
    uri = task.execute(context_of())
    url = f"https://{console}/s3/object/{bucket.name}?prefix=a%20b%2Fx%26y%3D%2541%3F.jsonl"
    assert link_of(task, uri, mocker) == url


@pytest.mark.usefixtures("zoom")
def test_there_is_none_to_another_store(bucket: Bucket, mocker: MockerFixture):
    task = EngagementsToS3Operator(task_id="task", s3_bucket=bucket.name, s3_key="day.jsonl", start=START, end=END)
    assert link_of(task, task.execute(context_of()), mocker) == ""


@pytest.mark.parametrize("returned", [None, "s3://arn:aws:s3:eu-central-1:111122223333:accesspoint/lake/day.jsonl"])
def test_without_an_object_that_the_console_can_show_there_is_none(mocker: MockerFixture, returned: str | None):
    assert link_of(EngagementsToS3Operator(task_id="task", s3_key="day.jsonl"), returned, mocker) == ""
