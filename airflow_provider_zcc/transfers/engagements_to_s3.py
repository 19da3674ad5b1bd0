"""A data interval's engagements -> one object of JSON lines in S3."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    Asset,
    BaseOperator,
    conf,
)
from airflow.providers.common.compat.standard.triggers import TimeDeltaTrigger
from botocore.exceptions import BotoCoreError, ClientError

from airflow_provider_zcc.filters import FILTER_TEMPLATE_FIELDS, rendered_filters
from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, airflow_errors
from airflow_provider_zcc.interval import resolve_interval
from airflow_provider_zcc.transfers.upload import ONE_PART_AT_A_TIME, ChunkStream, unless_killed, upload
from airflow_provider_zcc.zoom.errors import InvalidQuery, RateLimitedUntil

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_zcc.zoom.reader import EngagementReader
    from airflow_provider_zcc.zoom.tally import Counts

#: Seconds between two lines on progress.
_PROGRESS_INTERVAL = 5.0
#: How often a try waits deferred before it fails. Each wait lasts a day at most, and a daily limit ends within one.
_MOST_DEFERRALS = 3
_CHOICES = {
    "compression": ("infer", "gzip", "none"),
    "on_empty": ("write", "skip", "fail"),
    "on_incomplete": ("fail", "warn"),
}


class EngagementsToS3Operator(BaseOperator):
    """
    Writes the Zoom Contact Center engagements that began in ``[start, end)`` to S3, one JSON object a line.

    The engagements stream through compression into the upload while they arrive. The object appears whole or
    not at all, holds each engagement once, as Zoom sent it, and has the same bytes if the same data is read
    again. Returns its ``s3://`` URI; the XCom ``summary`` and the ``extra`` of the events of the task's outlet
    assets hold uri, start, end, records, requests, duplicates_dropped, outside_interval, bytes and seconds.
    OpenLineage is told Zoom's endpoint with the interval as input, and the object with its statistics as output.

    :param s3_key: key of the object, or a whole ``s3://`` URL. (templated)
    :param s3_bucket: bucket; None if ``s3_key`` is a URL. (templated)
    :param start: first instant of the interval: a timezone-aware datetime, or ISO 8601 with an offset. Goes
        with ``end``; by default the run's data interval is read. (templated)
    :param end: the instant after the last, likewise. (templated)
    :param interval_length: length of the interval where the run's own has none: a timedelta or an ISO 8601
        duration. It ends at a zero-length data interval, or begins at the ``partition_date``. (templated)
    :param queue_id: only this queue. (templated)
    :param user_id: only this agent. (templated)
    :param consumer_number: only this consumer's phone number. Templated, but kept out of the rendered template
        fields that Airflow shows, because it is a person's.
    :param channel_types: only these: voice, sms, chat, video, kiosk, in_app_chat, in_app_video. Deprecated by
        Zoom. (templated)
    :param channel: only this one: voice, video, messaging, email. (templated)
    :param channel_sources: only these: in_app_video, kiosk_video, web_video, web_chat, in_app_chat, sms,
        facebook_messenger, whatsapp, email_address. (templated)
    :param direction: inbound or outbound. (templated)
    :param timezone: IANA name of the timezone in which times are written; which engagements are read does not
        depend on it. Default: UTC. (templated)
    :param zcc_conn_id: connection to Zoom. (templated)
    :param aws_conn_id: connection to AWS. (templated)
    :param replace: whether an object that exists may be replaced. If not, and it exists, the task fails before
        anything is asked of Zoom.
    :param encrypt: whether S3 encrypts the object with AES256.
    :param acl_policy: canned ACL of the object. (templated)
    :param verify: whether, or with which CA bundle, the certificate of S3 is verified, as in S3Hook.
    :param compression: ``gzip``, ``none``, or ``infer`` from the key's ending ``.gz``. (templated)
    :param on_empty: without an engagement in the interval, ``write`` an object without lines, ``skip`` the task
        or ``fail`` it. (templated)
    :param on_incomplete: when Zoom reports more engagements than it delivers, also when asked again, ``fail``
        or ``warn`` and write what came. (templated)
    :param max_concurrency: how many parts of the interval are read at the same time.
    :param deferrable: when Zoom names a time far away at which requests are welcome again, as for its daily
        limit, wait for it without a worker slot, three times at most; else the task fails and names the time.
    """

    template_fields: Sequence[str] = (
        "s3_key",
        "s3_bucket",
        "start",
        "end",
        "interval_length",
        *FILTER_TEMPLATE_FIELDS,
        "zcc_conn_id",
        "aws_conn_id",
        "acl_policy",
        "compression",
        "on_empty",
        "on_incomplete",
    )
    ui_color = "#d6e9ff"

    def __init__(
        self,
        *,
        s3_key: str,
        s3_bucket: str | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        interval_length: timedelta | str | None = None,
        queue_id: str | None = None,
        user_id: str | None = None,
        consumer_number: str | None = None,
        channel_types: str | Sequence[str] | None = None,
        channel: str | None = None,
        channel_sources: str | Sequence[str] | None = None,
        direction: str | None = None,
        timezone: str | None = None,
        zcc_conn_id: str = ZoomContactCenterHook.default_conn_name,
        aws_conn_id: str | None = "aws_default",
        replace: bool = True,
        encrypt: bool = False,
        acl_policy: str | None = None,
        verify: bool | str | None = None,
        compression: str = "infer",
        on_empty: str = "write",
        on_incomplete: str = "fail",
        max_concurrency: int = 8,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_key = s3_key
        self.s3_bucket = s3_bucket
        self.start = start
        self.end = end
        self.interval_length = interval_length
        self.queue_id = queue_id
        self.user_id = user_id
        self.consumer_number = consumer_number
        self.channel_types = channel_types
        self.channel = channel
        self.channel_sources = channel_sources
        self.direction = direction
        self.timezone = timezone
        self.zcc_conn_id = zcc_conn_id
        self.aws_conn_id = aws_conn_id
        self.replace = replace
        self.encrypt = encrypt
        self.acl_policy = acl_policy
        self.verify = verify
        self.compression = compression
        self.on_empty = on_empty
        self.on_incomplete = on_incomplete
        self.max_concurrency = max_concurrency
        self.deferrable = deferrable
        self._reader: EngagementReader | None = None
        self._killed = False
        # OpenLineage asks in a fork of the task's process, where neither XComs nor connections can be relied on.
        self._source: str | None = None
        self._summary: dict[str, Any] | None = None

    def execute(self, context: Context) -> str:
        """Read the interval and write the object.

        :param context: the task's context.
        :return: the object's ``s3://`` URI.
        """
        return self._extract_or_defer(context, deferrals=0)

    def resume(self, context: Context, event: Any = None, deferrals: int = 1) -> str:  # noqa: ARG002
        """Begin anew after waiting for Zoom's rate limit: nothing was written before.

        :param context: the task's context.
        :param event: what the trigger said.
        :param deferrals: how often this try has waited.
        :return: the object's ``s3://`` URI.
        """
        return self._extract_or_defer(context, deferrals=deferrals)

    def on_kill(self) -> None:
        """Stop reading when Airflow ends the task; the upload is aborted then."""
        self._killed = True
        if self._reader:
            self._reader.stop()

    def get_openlineage_facets_on_start(self) -> OperatorLineage:
        """Tell OpenLineage what is about to be written; left to itself it would name the outlets."""
        from airflow_provider_zcc import lineage  # noqa: PLC0415

        bucket, key = self._bucket_and_key()
        return lineage.on_start(f"s3://{bucket}/{key}")

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:  # noqa: ARG002
        """Tell OpenLineage what was read and written.

        :param task_instance: the one that ended.
        """
        from airflow_provider_zcc import lineage  # noqa: PLC0415

        return lineage.on_end(self._source, self._summary)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage:
        """Tell OpenLineage what was read and written before the failure.

        :param task_instance: the one that failed.
        """
        if self._source is None:
            # OpenLineage names the outlets where it is told of nothing, and this task has written none of them.
            self.outlets: list[Any] = []
        return self.get_openlineage_facets_on_complete(task_instance)

    def _extract_or_defer(self, context: Context, *, deferrals: int) -> str:
        with airflow_errors():
            try:
                return self._extract(context)
            except RateLimitedUntil as error:
                if self.deferrable and deferrals < _MOST_DEFERRALS:
                    self._wait_deferred(error, deferrals + 1)
                raise

    def _extract(self, context: Context) -> str:
        started = time.monotonic()
        self._check_choices()
        interval = resolve_interval(context, start=self.start, end=self.end, interval_length=self.interval_length)
        hook = ZoomContactCenterHook(self.zcc_conn_id, max_concurrency=self.max_concurrency)
        self._reader = reader = hook.reader(
            *interval,
            fail_if_incomplete=self.on_incomplete == "fail",
            gzip=self._compresses(str(self.s3_key)),
            **rendered_filters(self, context),
        )
        self._source = hook.engagements_url
        s3_hook = S3Hook(self.aws_conn_id, transfer_config_args=dict(ONE_PART_AT_A_TIME), verify=self.verify)
        bucket, key = unless_killed(partial(self._find_target, s3_hook), lambda: self._killed)
        uri = f"s3://{bucket}/{key}"
        self.log.info("Reading the engagements from %s to %s into %s.", interval.start, interval.end, uri)
        lines = self._open(reader, hook)
        options = {"replace": self.replace, "encrypt": self.encrypt, "acl_policy": self.acl_policy}
        upload(lines, s3_hook, bucket, key, reader=reader, killed=lambda: self._killed, **options)
        self._summary = summary = {
            "uri": uri,
            "start": interval.start.isoformat(),
            "end": interval.end.isoformat(),
            "records": reader.counts.records,
            "requests": hook.requests_sent,
            "duplicates_dropped": reader.counts.duplicates_dropped,
            "outside_interval": reader.counts.outside_interval,
            "bytes": lines.bytes,
            "seconds": round(time.monotonic() - started, 3),
        }
        self.log.info("Wrote %s to %s.", _in_words(summary), uri)
        self._publish(summary, context)
        return uri

    def _check_choices(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InvalidQuery(f"{name} is {getattr(self, name)!r}. Give one of {', '.join(allowed)}.")

    def _compresses(self, key: str) -> bool:
        return self.compression == "gzip" or (self.compression == "infer" and key.endswith(".gz"))

    def _find_target(self, s3_hook: S3Hook) -> tuple[str, str]:
        """Return bucket and key, after finding out all that can be known before Zoom is asked."""
        bucket, key = self._bucket_and_key()
        self._require_bucket(s3_hook, bucket)
        if not self.replace:
            self._require_absence(s3_hook, bucket, key)
        return bucket, key

    def _bucket_and_key(self) -> tuple[str, str]:
        try:
            bucket, key = S3Hook.get_s3_bucket_key(self.s3_bucket, self.s3_key, "s3_bucket", "s3_key")
        except (TypeError, AirflowException) as error:
            raise InvalidQuery(f"{error}. Give s3_bucket and a key, or s3_key as a whole s3:// URL.") from None
        if not bucket or not key:
            raise InvalidQuery("The bucket or the key is empty. Give s3_bucket and s3_key, or s3_key as an s3:// URL.")
        return bucket, key

    def _require_absence(self, s3_hook: S3Hook, bucket: str, key: str) -> None:
        try:
            exists = s3_hook.check_for_key(key, bucket)
        except ClientError as error:
            raise AirflowException(
                f"S3 could not tell whether s3://{bucket}/{key} exists: {error}. replace=False needs s3:GetObject and "
                "s3:ListBucket for the role of aws_conn_id."
            ) from error
        if exists:
            raise InvalidQuery(
                f"s3://{bucket}/{key} exists and replace is False. Delete the object, or allow it to be replaced."
            )

    def _require_bucket(self, s3_hook: S3Hook, bucket: str) -> None:
        try:
            s3_hook.get_conn().head_bucket(Bucket=bucket)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("404", "NoSuchBucket"):
                raise InvalidQuery(
                    f"The bucket {bucket} does not exist. Create it, or correct s3_bucket and aws_conn_id."
                ) from None
            # A role may write to a bucket that it may not list.
            if code != "403":
                raise AirflowException(f"S3 could not tell whether the bucket {bucket} exists: {error}") from error
        except BotoCoreError as error:
            raise AirflowException(f"S3 could not be asked: {error}. Check the connection aws_conn_id.") from error

    def _open(self, reader: EngagementReader, hook: ZoomContactCenterHook) -> ChunkStream:
        """Start reading, and decide what to do without an engagement before an upload begins."""
        chunks = self._log_progress(reader, hook)
        first = next(chunks, b"")
        if not reader.counts.records and self.on_empty == "skip":
            raise AirflowSkipException("No engagement began in the interval, and on_empty is 'skip': nothing written.")
        if not reader.counts.records and self.on_empty == "fail":
            raise AirflowFailException(
                "No engagement began in the interval, and on_empty is 'fail': nothing written. "
                "Check interval and filters, or choose on_empty='write' or 'skip'."
            )
        return ChunkStream(chain([first], chunks))

    def _log_progress(self, reader: EngagementReader, hook: ZoomContactCenterHook) -> Iterator[bytes]:
        started = logged = time.monotonic()
        for chunk in reader.chunks():
            yield chunk
            now = time.monotonic()
            if now - logged >= _PROGRESS_INTERVAL:
                logged = now
                self.log.info("%s", _progress(reader.counts, hook.requests_sent, now - started))

    def _publish(self, summary: dict[str, Any], context: Context) -> None:
        context["ti"].xcom_push(key="summary", value=summary)
        for outlet in self.outlets or ():
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = dict(summary)

    def _wait_deferred(self, error: RateLimitedUntil, deferrals: int) -> None:
        self.log.warning("Zoom's rate limit is used up. Waiting without a worker slot until %s.", error.retry_at)
        self.defer(trigger=TimeDeltaTrigger(error.wait), method_name="resume", kwargs={"deferrals": deferrals})


def _in_words(summary: dict[str, Any]) -> str:
    return (
        "{records:,} records, {bytes:,} bytes, in {seconds:.1f} s with {requests:,} requests, {duplicates_dropped:,} "
        "duplicates dropped, {outside_interval:,} outside the interval,"
    ).format_map(summary)


def _progress(counts: Counts, requests: int, seconds: float) -> str:
    text = f"{counts.records:,} records, {requests:,} requests, {requests / seconds:.1f} requests/s"
    if counts.all_counted and counts.records:
        share = min(1.0, counts.records / max(counts.expected, 1))
        text += f", {share:.0%}, about {seconds * (1 / share - 1):.0f} s left"
    return text
