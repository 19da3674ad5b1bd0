"""The IAM policy in SECURITY.md is enough for all that the operator does with S3, and no action in it is too much."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from moto.core.authorization import enable_iam_authentication

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.s3_server import S3Server
from tests.unit.conftest import END, START, Bucket, StartZoom, context_of, rejecting
from tests.zoom_simulator.data import Engagements

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text()
#: The bucket and the folder that the document takes as its example.
BUCKET, FOLDER = "my-lake", "zoom"
KEY = f"{FOLDER}/day.jsonl"
#: moto requires an action of this name, which AWS does not know, where AWS requires ListBucket.
NAME_IN_MOTO = {"s3:ListBucket": "s3:HeadBucket"}
#: The action that each call needs. For a key that does not exist, S3 also requires ListBucket, or it responds with 403
#: instead of 404.
ACTION_OF_CALL = {
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "HeadBucket": "s3:ListBucket",
}

ADMINISTRATOR = {"aws_access_key_id": "simulated", "aws_secret_access_key": "simulated"}

Policy = dict[str, Any]


def documented_policy(*, without: str = "") -> Policy:
    """Return the one policy that SECURITY.md prints, less one action, in the words of moto."""
    [block] = re.findall(r"```json\n(.*?)```", SECURITY, re.DOTALL)
    policy: Policy = json.loads(block)
    for statement in policy["Statement"]:
        actions = [action for action in _as_list(statement["Action"]) if action != without]
        statement["Action"] = [NAME_IN_MOTO.get(action, action) for action in actions]
    policy["Statement"] = [statement for statement in policy["Statement"] if statement["Action"]]
    return policy


def _as_list(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


#: Three days, whose upload has several parts.
LARGE = {"start": END - timedelta(days=3), "max_concurrency": 2}
PUT, ABORT, GET, LIST = "s3:PutObject", "s3:AbortMultipartUpload", "s3:GetObject", "s3:ListBucket"
#: What the operator does with S3: its arguments, what is in the bucket before, its error, the actions that this takes.
CASES: dict[str, tuple[dict[str, Any], dict[str, bytes], str, set[str]]] = {
    "single put": ({}, {}, "", {LIST, GET, PUT}),
    "object replaced": ({}, {KEY: b"old"}, "", {LIST, GET, PUT}),
    "without a manifest": ({"manifest": False}, {KEY: b"old"}, "", {LIST, PUT}),
    "object kept": ({"replace": False}, {KEY: b"old"}, "exists", {LIST, GET}),
    "multipart upload": (LARGE, {}, "", {LIST, GET, PUT}),
    "upload aborted": (LARGE, {KEY: b"old"}, "No more", {LIST, GET, PUT, ABORT}),
}


Do = Callable[[str, Policy], set[str]]


@pytest.fixture
def do(
    s3_server: S3Server,
    bucket: Bucket,
    start_zoom: StartZoom,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Do:
    """Do one of the CASES as a user who has a policy, and return the actions that its calls to S3 took."""

    def do(case: str, policy: Policy) -> set[str]:
        arguments, objects, fails_with, _ = CASES[case]
        chosen = {"start": START, "end": END} | arguments
        zoom = start_zoom(Engagements.of_a_contact_centre(18_000, 3, end=END) if "start" in arguments else None)
        if case == "upload aborted":
            # By then more has been read than one part of an upload holds.
            zoom.simulator.faults = [rejecting(400, 300, fails_with, after=150)]
        for key, body in objects.items():
            bucket.put(key, body)
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(s3_server.connection | key_of_user_with(policy)))
        task = EngagementsToS3Operator(task_id="task", s3_bucket=bucket.name, s3_key=KEY, deferrable=False, **chosen)
        caplog.clear()
        expected = pytest.raises(AirflowFailException, match=fails_with) if fails_with else nullcontext()
        with caplog.at_level(logging.DEBUG, "botocore.endpoint"), enable_iam_authentication(), expected:
            task.execute(context_of())
        if fails_with:
            assert bucket.body(KEY) == objects[KEY]
        else:
            assert bucket.body(KEY).count(b"\n") == len(zoom.simulator.truth(chosen["start"], END))
        assert bucket.unfinished_uploads() == []
        calls = re.findall(r"Making request for OperationModel\(name=(\w+)\)", caplog.text)
        return {ACTION_OF_CALL[call] for call in calls}

    def key_of_user_with(policy: Policy) -> dict[str, str]:
        text = json.dumps(policy).replace(f":::{BUCKET}", f":::{bucket.name}")
        iam = boto3.client("iam", endpoint_url=s3_server.url, region_name="us-east-1", **ADMINISTRATOR)
        name = f"user-{uuid4()}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="engagements", PolicyDocument=text)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"login": key["AccessKeyId"], "password": key["SecretAccessKey"]}

    return do


@pytest.mark.parametrize("case", CASES)
def test_the_documented_policy_is_enough_for_what_the_operator_does(do: Do, case: str) -> None:
    assert do(case, documented_policy()) == CASES[case][-1]


@pytest.mark.parametrize(
    ("case", "action"), [(case, action) for case, (*_, needed) in CASES.items() for action in sorted(needed - {LIST})]
)
def test_each_action_of_the_policy_is_needed(do: Do, case: str, action: str) -> None:
    with pytest.raises((AirflowException, AssertionError)):
        do(case, documented_policy(without=action))


def test_an_error_names_the_action_that_a_role_lacks(do: Do) -> None:
    with pytest.raises(AirflowException, match="s3:GetObject"):
        do("single put", documented_policy(without="s3:GetObject"))


def test_the_document_explains_each_action_of_its_policy_and_no_other() -> None:
    statements = documented_policy()["Statement"]
    in_aws = {moto: aws for aws, moto in NAME_IN_MOTO.items()}
    actions = {in_aws.get(action, action) for statement in statements for action in statement["Action"]}
    explained = set(re.findall(r"^\| `(s3:\w+)` \|", SECURITY, re.MULTILINE))
    assert explained == actions == set(ACTION_OF_CALL.values())
    resources = {statement["Resource"] for statement in statements}
    assert resources == {f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/{FOLDER}/*"}
