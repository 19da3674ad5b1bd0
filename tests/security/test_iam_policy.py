from __future__ import annotations

import copy
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
import requests
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from botocore.exceptions import ClientError

from airflow_provider_zcc.transfers.engagements_to_s3 import EngagementsToS3Operator
from tests.unit.conftest import END, START, Bucket, StartZoom, asked_nothing, context_of, refusing
from tests.zoom_simulator.data import Engagements
from tests.zoom_simulator.server import SimulatorServer

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text()
#: The bucket and the folder that the document takes as its example.
BUCKET, FOLDER = "my-lake", "zoom"
KEY = f"{FOLDER}/day.jsonl"
#: The calls to S3 that each action permits. For the new key of an object that must not be replaced, S3 also wants to
#: see ListBucket, or it answers 403 instead of 404.
CALLS = {
    "s3:PutObject": {"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"},
    "s3:AbortMultipartUpload": {"AbortMultipartUpload"},
    "s3:GetObject": {"HeadObject"},
    "s3:ListBucket": {"HeadBucket"},
}
#: moto asks for an action of this name, which AWS does not know, where AWS asks for ListBucket.
NAME_IN_MOTO = {"s3:ListBucket": "s3:HeadBucket"}

# A process of its own, because moto keeps one switch for authorisation, and one account, in each process. It ends
# when its standard input does, so also when the tests are killed.
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), sep=":", flush=True)
sys.stdin.read()
"""

Policy = dict[str, Any]


def documented_policy() -> Policy:
    """Return the one policy that SECURITY.md prints."""
    [block] = re.findall(r"```json\n(.*?)```", SECURITY, re.DOTALL)
    return json.loads(block)


def actions_of(policy: Policy) -> set[str]:
    return {action for statement in policy["Statement"] for action in _listed(statement["Action"])}


def without(action: str) -> Policy:
    """Return the policy of SECURITY.md less one action."""
    policy = copy.deepcopy(documented_policy())
    for statement in policy["Statement"]:
        statement["Action"] = [kept for kept in _listed(statement["Action"]) if kept != action]
    policy["Statement"] = [statement for statement in policy["Statement"] if statement["Action"]]
    return policy


def in_moto_words(policy: Policy) -> Policy:
    policy = copy.deepcopy(policy)
    for statement in policy["Statement"]:
        statement["Action"] = [NAME_IN_MOTO.get(action, action) for action in _listed(statement["Action"])]
    return policy


def _listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


class Account:
    """An AWS account whose server asks every request for its permission, except those of its administrator."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.admin = self._client("s3", "simulated", "simulated")
        self._iam = self._client("iam", "simulated", "simulated")
        self.bucket = Bucket(BUCKET, self.admin)

    def _client(self, service: str, key_id: str, secret: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self._url,
            region_name="us-east-1",
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
        )

    def reset(self) -> None:
        requests.post(f"{self._url}/moto-api/reset-auth", data="inf", timeout=5).raise_for_status()
        requests.post(f"{self._url}/moto-api/reset", timeout=5).raise_for_status()

    def connection_of_user_with(self, policy: Policy) -> dict[str, Any]:
        """Create a user who may do what a policy says, and return the Airflow connection that acts as this user."""
        name = f"user-{uuid4()}"
        self._iam.create_user(UserName=name)
        self._iam.put_user_policy(UserName=name, PolicyName="engagements", PolicyDocument=json.dumps(policy))
        key = self._iam.create_access_key(UserName=name)["AccessKey"]
        return {
            "conn_type": "aws",
            "login": key["AccessKeyId"],
            "password": key["SecretAccessKey"],
            "extra": {"endpoint_url": self._url, "region_name": "us-east-1"},
        }

    def enforce(self, *, enforced: bool = True) -> None:
        requests.post(f"{self._url}/moto-api/reset-auth", data="0" if enforced else "inf", timeout=5).raise_for_status()


@pytest.fixture(scope="module")
def server_with_permissions() -> Iterator[Account]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield Account(f"http://{process.stdout.readline().strip()}")
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def account(server_with_permissions: Account) -> Account:
    """An account with nothing in it but the bucket of the document."""
    server_with_permissions.reset()
    server_with_permissions.admin.create_bucket(Bucket=BUCKET)
    return server_with_permissions


class Role:
    """Acts as a user who has a policy, and notes which calls to AWS that makes.

    :param account: the AWS account.
    :param monkeypatch: to let ``aws_default`` lead there.
    :param caplog: what botocore logs.
    """

    def __init__(self, account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self.calls: set[str] = set()
        self._account = account
        self._monkeypatch = monkeypatch
        self._caplog = caplog

    def act(self, policy: Policy, do: Callable[[], object]) -> None:
        connection = self._account.connection_of_user_with(policy)
        self._monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        self._account.enforce()
        self._caplog.clear()
        try:
            with self._caplog.at_level(logging.DEBUG, "botocore.endpoint"):
                do()
        finally:
            self._account.enforce(enforced=False)
        for message in self._caplog.messages:
            self.calls.update(re.findall(r"^Making request for OperationModel\(name=(\w+)\)", message))


@pytest.fixture
def role(account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Role:
    return Role(account, monkeypatch, caplog)


def run(**arguments: Any) -> str:
    chosen = {"s3_bucket": BUCKET, "s3_key": KEY, "start": START, "end": END, "deferrable": False} | arguments
    return EngagementsToS3Operator(task_id="task", **chosen).execute(context_of())


# What the operator does with S3, as a user of the policy. Each is done, or raises.


class Cases:
    """Every way in which the operator uses S3.

    :param account: the AWS account.
    :param start_zoom: starts the simulator of Zoom.
    :param role: acts under a policy.
    """

    def __init__(self, account: Account, start_zoom: StartZoom, role: Role) -> None:
        self._bucket = account.bucket
        self._start_zoom = start_zoom
        self._act = role.act

    def single_put(self, policy: Policy) -> None:
        zoom = self._start_zoom()
        self._act(policy, run)
        assert self._bucket.body(KEY).count(b"\n") == len(zoom.simulator.truth(START, END))

    def multipart_upload(self, policy: Policy) -> None:
        zoom = self._busy_zoom()
        self._act(policy, self._read_three_days)
        assert self._bucket.body(KEY).count(b"\n") == len(zoom.simulator.truth(END - timedelta(days=3), END))
        assert self._bucket.unfinished_uploads() == []

    def abort_after_a_failure(self, policy: Policy) -> None:
        zoom = self._busy_zoom()
        # By then more has been read than one part of an upload holds.
        zoom.simulator.faults = [refusing(400, 300, "No more.", after=150)]
        self._bucket.put(KEY, b"old")

        def fail() -> None:
            with pytest.raises(AirflowFailException, match="No more"):
                self._read_three_days()

        self._act(policy, fail)
        assert (self._bucket.body(KEY), self._bucket.unfinished_uploads()) == (b"old", [])

    def replacing_an_object(self, policy: Policy) -> None:
        self._start_zoom()
        self._bucket.put(KEY, b"old")
        self._act(policy, lambda: run(replace=True))
        assert self._bucket.body(KEY) != b"old"

    def keeping_an_object(self, policy: Policy) -> None:
        zoom = self._start_zoom()
        self._bucket.put(KEY, b"old")

        def fail() -> None:
            with pytest.raises(AirflowFailException, match="exists and replace is False"):
                run(replace=False)

        self._act(policy, fail)
        assert asked_nothing(zoom)
        assert self._bucket.body(KEY) == b"old"

    def writing_a_new_object_without_replacing(self, policy: Policy) -> None:
        self._start_zoom()
        self._act(policy, lambda: run(replace=False))
        assert self._bucket.keys() == [KEY]

    def encrypting(self, policy: Policy) -> None:
        self._start_zoom()
        self._act(policy, lambda: run(encrypt=True))
        assert self._bucket.client.head_object(Bucket=BUCKET, Key=KEY)["ServerSideEncryption"] == "AES256"

    def naming_a_missing_bucket_before_zoom_is_asked(self, policy: Policy) -> None:
        zoom = self._start_zoom()
        self._bucket.client.delete_bucket(Bucket=BUCKET)

        def fail() -> None:
            with pytest.raises(AirflowFailException, match="does not exist"):
                run()

        self._act(policy, fail)
        assert asked_nothing(zoom)

    def _busy_zoom(self) -> SimulatorServer:
        return self._start_zoom(Engagements.of_a_contact_centre(18_000, 3, end=END))

    @staticmethod
    def _read_three_days() -> None:
        run(start=END - timedelta(days=3), max_concurrency=2)


CASES = [name for name in vars(Cases) if not name.startswith("_")]
#: What the document says of each action: these cases need it.
NEEDED_BY = {
    "s3:PutObject": {
        "single_put",
        "multipart_upload",
        "abort_after_a_failure",
        "replacing_an_object",
        "writing_a_new_object_without_replacing",
        "encrypting",
    },
    "s3:AbortMultipartUpload": {"abort_after_a_failure"},
    "s3:GetObject": {"keeping_an_object", "writing_a_new_object_without_replacing"},
    # moto answers 404 for a key that is new; S3 would answer 403, and writing a new object without replacing fails.
    "s3:ListBucket": {"naming_a_missing_bucket_before_zoom_is_asked"},
}


@pytest.fixture
def cases(account: Account, start_zoom: StartZoom, role: Role) -> Cases:
    return Cases(account, start_zoom, role)


@pytest.mark.parametrize("case", [name for name in CASES if name != "naming_a_missing_bucket_before_zoom_is_asked"])
def test_the_operator_works_with_exactly_the_documented_policy(cases: Cases, case: str) -> None:
    getattr(cases, case)(documented_policy())


def test_with_the_documented_policy_a_missing_bucket_is_named_before_zoom_is_asked(cases: Cases) -> None:
    cases.naming_a_missing_bucket_before_zoom_is_asked(in_moto_words(documented_policy()))


@pytest.mark.parametrize(("action", "case"), [(action, case) for action in NEEDED_BY for case in CASES])
def test_an_action_that_is_left_out_is_missed_by_those_who_need_it_alone(cases: Cases, action: str, case: str) -> None:
    policy = in_moto_words(without(action))

    if case in NEEDED_BY[action]:
        with pytest.raises((AirflowException, ClientError, AssertionError)):
            getattr(cases, case)(policy)
    else:
        getattr(cases, case)(policy)


def test_the_document_explains_each_action_of_its_policy_and_no_other() -> None:
    explained = set(re.findall(r"^\| `(s3:\w+)` \|", SECURITY, re.MULTILINE))

    assert explained == actions_of(documented_policy()) == set(CALLS) == set(NEEDED_BY)


def test_the_policy_reaches_no_further_than_the_bucket_and_the_folder() -> None:
    resources = {statement["Resource"] for statement in documented_policy()["Statement"]}

    assert resources == {f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/{FOLDER}/*"}


def test_a_key_outside_the_folder_cannot_be_written_with_the_policy(
    account: Account, start_zoom: StartZoom, role: Role
) -> None:
    start_zoom()

    def fail() -> None:
        with pytest.raises(AirflowException, match="AccessDenied"):
            run(s3_key="elsewhere/day.jsonl")

    role.act(documented_policy(), fail)
    assert account.bucket.keys() == []


def test_all_calls_to_s3_are_those_that_the_actions_of_the_policy_permit(
    cases: Cases, account: Account, role: Role
) -> None:
    for case in CASES:
        account.reset()
        account.admin.create_bucket(Bucket=BUCKET)
        getattr(cases, case)(in_moto_words(documented_policy()))

    assert role.calls == set().union(*CALLS.values())


def test_a_role_that_may_not_look_at_the_object_gets_a_clear_error(start_zoom: StartZoom, role: Role) -> None:
    start_zoom()

    def fail() -> None:
        with pytest.raises(AirflowException, match="replace=False needs s3:GetObject"):
            run(replace=False)

    role.act(without("s3:GetObject"), fail)
