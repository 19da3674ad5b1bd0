"""A data interval's engagements -> one JSON Lines object in S3."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    Asset,
    AssetAlias,
    BaseOperator,
    Stats,
    conf,
)
from airflow.providers.common.compat.standard.triggers import TimeDeltaTrigger
from botocore.validate import ParamValidator

from airflow_provider_zcc.arguments import (
    FILTERS,
    TemplatedArguments,
    check_aws_arguments,
    filters_of,
    invalid_argument,
    redacted_filters_of,
)
from airflow_provider_zcc.hooks.zoom_contact_center import ZoomContactCenterHook, airflow_errors
from airflow_provider_zcc.interval import Interval, dag_timezone, resolve_interval, wait_until_over
from airflow_provider_zcc.killable import KillableTask
from airflow_provider_zcc.links.s3_object import S3ObjectLink
from airflow_provider_zcc.s3.location import Location, fill_placeholders, has_placeholders, parse_location
from airflow_provider_zcc.s3.lookup import StoredObject, count_lines, locate, look_up, require_bucket
from airflow_provider_zcc.s3.manifest import Manifest, write_manifest
from airflow_provider_zcc.s3.upload import ALLOWED_EXTRA_ARGS, MIN_PART_SIZE, Upload, s3_errors, upload
from airflow_provider_zcc.zoom.errors import InvalidQuery, RateLimitedUntil
from airflow_provider_zcc.zoom.http import package_version

try:
    from airflow.sdk.definitions.asset import AssetRef
except ImportError:  # Airflow 2 has no references to assets
    AssetRef = Asset

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_zcc.zoom.reader import EngagementReader
    from airflow_provider_zcc.zoom.tally import Counts

#: Seconds between two log lines on progress.
_PROGRESS_INTERVAL = 5.0
#: How often an attempt waits deferred before it fails. A wait takes a day at most.
_MAX_DEFERRALS = 3
_CHOICES: dict[str, tuple[object, ...]] = {
    "compression": ("infer", "gzip", "none"),
    "on_empty": ("write", "skip", "fail"),
    "on_incomplete": ("fail", "warn"),
    "replace": (True, False, "any"),
    "encrypt": (True, False),
    "manifest": (True, False),
    "deferrable": (True, False),
}


class EngagementsToS3Operator(TemplatedArguments, KillableTask, BaseOperator):
    """
    Writes the Zoom Contact Center engagements that started in ``[start, end)`` to S3, one JSON object a line.

    The engagements stream through compression into the upload while they arrive. The object appears whole or not at
    all, holds each engagement exactly once, byte for byte as Zoom returned it, and has the same bytes if the same
    data is read again with the same ``max_concurrency``. If these bytes are in S3 already, the object stays
    untouched. Beside it, a manifest records the interval, the number of engagements and when they were read; with its
    help, no object is replaced by that of another interval, or by one with fewer engagements.

    Returns the ``s3://`` URI of the object. The XCom ``summary`` (unless ``do_xcom_push=False``) and the ``extra`` of
    the events of the task's outlets (``Asset``, ``Asset.ref``) hold uri, start, end, records, reported (Zoom's own
    count), changed (whether the object was written), requests, rate_limited, duplicates_dropped, outside_interval,
    bytes, uncompressed_bytes, sha256 and seconds. An ``AssetAlias`` outlet gets an event, with the same ``extra``, of
    an asset whose URI is the object's. OpenLineage gets Zoom's endpoint with the interval as input, and the object
    with its statistics as output.

    .. code-block:: python

        EngagementsToS3Operator(
            task_id="engagements_to_s3",
            s3_bucket="my-lake",
            s3_key="zoom/engagements/date={start:%Y-%m-%d}/engagements.jsonl.gz",
        )

    All arguments are template fields. A template renders text: for a number, a boolean or a dict, use another task's
    output, or ``render_template_as_native_obj=True`` in the Dag.

    :param s3_key: key of the object, or a whole ``s3://`` URL, whose key is all that follows the bucket. ``{start}``
        and ``{end}``, with a format of ``strftime`` as in ``{start:%Y-%m-%d}``, stand for the interval that is read,
        in the Dag's timezone; other braces stay.
    :param s3_bucket: bucket. By default the bucket of the URL, or that of the AWS connection
        (``service_config.s3.bucket_name``).
    :param start: first instant of the interval: a timezone-aware datetime, or ISO 8601 with an offset. Goes
        with ``end``; by default the run's data interval is read.
    :param end: the instant after the last, likewise. An interval that is not over fails the task at once, before
        any request; one that ends within 60 s is waited for.
    :param interval_length: length of the interval where the run's own has none: a timedelta or an ISO 8601
        duration. It ends at a zero-length data interval, or starts at the ``partition_date``.
    :param queue_id: only this queue. A filter that renders to None or nothing fails the task, as for all filters.
    :param user_id: only this agent.
    :param consumer_number: only this consumer's phone number. It is kept out of the rendered template fields that
        Airflow shows, because it is personal. A manifest only says that there was one: include something else that
        identifies the consumer in ``s3_key``.
    :param channel_types: only these: voice, sms, chat, video, kiosk, in_app_chat, in_app_video. Deprecated by
        Zoom.
    :param channel: only this one: voice, video, messaging, email.
    :param channel_sources: only these: in_app_video, kiosk_video, web_video, web_chat, in_app_chat, sms,
        facebook_messenger, whatsapp, email_address.
    :param direction: inbound or outbound.
    :param timezone: IANA name of the timezone in which times are written; which engagements are read does not
        depend on it. Default: UTC.
    :param zcc_conn_id: connection to Zoom.
    :param aws_conn_id: connection to AWS. None, or one that does not exist, means boto3's default chain.
    :param replace: True replaces an object of the same interval, unless it holds more engagements than Zoom lists
        now, as it does once their retention at Zoom has ended. ``"any"`` writes the object whatever is there. With
        False, the task fails before the first request to Zoom if the object exists.
    :param encrypt: whether S3 encrypts the object with AES256 (SSE-S3). For KMS, use ``extra_args``. An unchanged
        object keeps its headers: after changing this, ``extra_args`` or ``acl_policy``, write it once with
        ``replace="any"``.
    :param acl_policy: canned ACL of the object.
    :param extra_args: headers of the object, as in S3Hook: ``ServerSideEncryption`` and ``SSEKMSKeyId``,
        ``StorageClass``, ``RequestPayer``, ``Tagging``, ``Metadata`` and others.
    :param verify: whether, or with which CA bundle, the certificate of S3 is verified, as in S3Hook.
    :param compression: ``gzip``, ``none``, or ``infer`` from the key's ending ``.gz``.
    :param on_empty: without an engagement in the interval, ``write`` an object without lines, ``skip`` the task
        or ``fail`` it.
    :param on_incomplete: when Zoom reports more engagements than it returns, also when requested again, ``fail``
        or ``warn`` and write what was returned.
    :param manifest: whether a manifest is written beside the object, as ``_NAME.manifest.json``. Without it, True
        means the same as ``"any"`` for ``replace``.
    :param max_concurrency: how many parts of the interval are read at the same time.
    :param deferrable: if Zoom rejects a request until a time more than about five minutes away, wait for it without a
        worker slot, at most three times; otherwise the task fails and names the time. As of 2026, Zoom has no such
        limit for this endpoint.
    """

    template_fields: Sequence[str] = (
        "s3_key",
        "s3_bucket",
        "start",
        "end",
        "interval_length",
        *FILTERS,
        "zcc_conn_id",
        "aws_conn_id",
        "replace",
        "encrypt",
        "acl_policy",
        "extra_args",
        "verify",
        "compression",
        "on_empty",
        "on_incomplete",
        "manifest",
        "max_concurrency",
        "deferrable",
    )
    template_fields_renderers = {"extra_args": "json"}  # noqa: RUF012  as in every operator of Airflow
    ui_color = "#d6e9ff"
    operator_extra_links = (S3ObjectLink(),)
    #: Which console the link leads to; known when the task connects to S3.
    aws_partition = "aws"

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
        replace: bool | str = True,
        encrypt: bool = False,
        acl_policy: str | None = None,
        extra_args: Mapping[str, Any] | None = None,
        verify: bool | str | None = None,
        compression: str = "infer",
        on_empty: str = "write",
        on_incomplete: str = "fail",
        manifest: bool = True,
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
        self.extra_args = extra_args
        self.verify = verify
        self.compression = compression
        self.on_empty = on_empty
        self.on_incomplete = on_incomplete
        self.manifest = manifest
        self.max_concurrency = max_concurrency
        self.deferrable = deferrable
        self._hide_literal_number()
        # OpenLineage asks in a fork of the task's process, where neither XComs nor connections can be relied on.
        self._source: str | None = None
        self._summary: dict[str, Any] | None = None

    def execute(self, context: Context) -> str:
        """Read the interval and write the object.

        :param context: the task's context.
        :return: the object's ``s3://`` URI.
        """
        return self._run(context, deferrals=0)

    def resume(self, context: Context, event: Any = None, deferrals: int = 1) -> str:  # noqa: ARG002
        """Start again after waiting for Zoom's rate limit: nothing was written before.

        :param context: the task's context.
        :param event: what the trigger sent.
        :param deferrals: how often this attempt has waited.
        :return: the object's ``s3://`` URI.
        """
        return self._run(context, deferrals=deferrals)

    def get_openlineage_facets_on_start(self) -> OperatorLineage:
        """Return what is about to be written, as far as it is known without the run's interval."""
        from airflow_provider_zcc import lineage  # noqa: PLC0415

        try:
            location = None if has_placeholders(self.s3_key) else parse_location(self.s3_bucket, self.s3_key)
        except InvalidQuery:
            # The bucket may be that of the connection.
            location = None
        return lineage.on_start(location.uri) if location else lineage.on_end(None, None)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:  # noqa: ARG002
        """Return what was read and written.

        :param task_instance: the one that ended.
        """
        from airflow_provider_zcc import lineage  # noqa: PLC0415

        return lineage.on_end(self._source, self._summary)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage:
        """Return what was read and written before the failure.

        :param task_instance: the one that failed.
        """
        if self._source is None:
            # Without datasets, OpenLineage names the outlets, and this task has written none of them.
            self.outlets: list[Any] = []
        return self.get_openlineage_facets_on_complete(task_instance)

    def _run(self, context: Context, *, deferrals: int) -> str:
        with self._killable(), airflow_errors():
            try:
                return self._extract(context)
            except RateLimitedUntil as error:
                if self.deferrable and deferrals < _MAX_DEFERRALS:
                    self._wait_deferred(error, deferrals + 1)
                raise

    def _extract(self, context: Context) -> str:
        started = time.monotonic()
        self._require_arguments(context)
        self._check_arguments()
        interval = resolve_interval(context, start=self.start, end=self.end, interval_length=self.interval_length)
        hook = ZoomContactCenterHook(self.zcc_conn_id, max_concurrency=self.max_concurrency)
        s3_hook = self._s3_hook()
        location = locate(s3_hook, self.s3_bucket, fill_placeholders(self.s3_key, interval, dag_timezone(context)))
        is_gzip = self.compression == "gzip" or (self.compression == "infer" and location.key.endswith(".gz"))
        reader = hook.reader(
            *interval, fail_if_incomplete=self.on_incomplete == "fail", gzip=is_gzip, **filters_of(self)
        )
        self._source = hook.engagements_url
        wait_until_over(interval)
        target = _Target(s3_hook, location, self._object_args(s3_hook))
        meta = s3_hook.get_conn().meta
        # Other stores have no place in the S3 console.
        self.aws_partition = meta.partition if ".amazonaws.com" in meta.endpoint_url else ""
        require_bucket(*target)
        run_started = getattr(context.get("dag_run"), "start_date", None)
        read_at = datetime.now(UTC)
        self.log.info("Reading the engagements from %s to %s into %s.", interval.start, interval.end, location.uri)
        written, stored = self._write(
            reader, hook, target, partial(self._replaceable_object, target, interval, run_started)
        )
        self._summary = summary = {
            "uri": location.uri,
            "start": interval.start.isoformat(),
            "end": interval.end.isoformat(),
            "records": reader.counts.records,
            "reported": reader.counts.reported,
            "changed": not written.cancelled or _is_of_this_run(stored, run_started),
            "requests": hook.requests_sent,
            "rate_limited": hook.rate_limited,
            "duplicates_dropped": reader.counts.duplicates_dropped,
            "outside_interval": reader.counts.outside_interval,
            "bytes": written.bytes,
            "uncompressed_bytes": reader.counts.uncompressed_bytes,
            "sha256": written.sha256,
            "seconds": round(time.monotonic() - started, 3),
        }
        if self.manifest:
            write_manifest(*target, self._manifest(summary, interval, written.etag, read_at))
        self.log.info("%s", _in_words(summary))
        self._publish(summary, context)
        return location.uri

    def _check_arguments(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if type(value) not in (str, bool) or value not in choices:
                raise invalid_argument(name, value, f"one of {', '.join(map(repr, choices))}")
        check_aws_arguments(self.aws_conn_id, self.verify)
        if not isinstance(self.extra_args, Mapping | None):
            raise invalid_argument("extra_args", self.extra_args, "a dict such as {'StorageClass': 'STANDARD_IA'}")
        if unknown := [name for name in self.extra_args or {} if name not in ALLOWED_EXTRA_ARGS]:
            raise invalid_argument("extra_args", unknown, f"these names: {', '.join(ALLOWED_EXTRA_ARGS)}")
        for name, header in (("encrypt", "ServerSideEncryption"), ("acl_policy", "ACL")):
            if getattr(self, name) and header in (self.extra_args or {}):
                raise InvalidQuery(f"{name} and extra_args both set {header}. Use one of the two.")

    def _s3_hook(self) -> S3Hook:
        return S3Hook(self.aws_conn_id, transfer_config_args={"multipart_chunksize": MIN_PART_SIZE}, verify=self.verify)

    def _object_args(self, s3_hook: S3Hook) -> dict[str, Any]:
        """Return the headers of the object, after checking them against boto3's description of S3."""
        extra_args = dict(self.extra_args or {})
        if self.encrypt:
            extra_args["ServerSideEncryption"] = "AES256"
        with s3_errors(self.aws_conn_id, "Connecting to S3"):
            model = s3_hook.get_conn().meta.service_model
        if self.acl_policy is not None:
            policies = model.shape_for("ObjectCannedACL").enum
            if self.acl_policy not in policies:
                raise invalid_argument("acl_policy", self.acl_policy, f"one of {', '.join(policies)}")
            extra_args["ACL"] = self.acl_policy
        for name, value in extra_args.items():
            request = {"Bucket": "bucket", "Key": "key", name: value}
            if ParamValidator().validate(request, model.shape_for("PutObjectRequest")).has_errors() or not _fits(value):
                raise InvalidQuery(f"Invalid extra_args: {name} has a value that S3 has no header for.")
        return extra_args

    def _replaceable_object(
        self, target: _Target, interval: Interval, run_started: datetime | None
    ) -> StoredObject | None:
        """Return the object that is in S3 already, after checking that this task may replace it."""
        # Otherwise, what is in S3 does not matter.
        matters = self.replace is False or (self.manifest and self.replace != "any")
        stored = look_up(*target) if matters else None
        if stored is None:
            return None
        uri = target.location.uri
        if self.replace is False:
            raise InvalidQuery(f"{uri} exists and replace is False. Delete the object, or use replace=True.")
        manifest = stored.manifest
        if manifest is None:
            return stored
        if not manifest.interval.is_same(interval):
            raise InvalidQuery(
                f"{uri} holds the engagements from {manifest.start} to {manifest.end}, and this task reads those from "
                f"{interval.start} to {interval.end}. Name objects after their interval, as in "
                "s3_key='zoom/engagements/date={start:%Y-%m-%d}/engagements.jsonl.gz'. To replace the object all the "
                "same, use replace='any'."
            )
        if not manifest.has_filters(redacted_filters_of(self)):
            if run_started and manifest.read_at >= run_started:
                raise InvalidQuery(
                    f"{uri} has just been written by another task of this run, with the filters "
                    f"{dict(manifest.filters)}. Tasks that share a key replace each other's objects. Include what "
                    "differs, such as the queue, in s3_key."
                )
            self.log.warning("%s was read with other filters: %s. It is replaced.", uri, dict(manifest.filters))
        return stored

    def _write(
        self,
        reader: EngagementReader,
        hook: ZoomContactCenterHook,
        target: _Target,
        replaceable_object: Callable[[], StoredObject | None],
    ) -> tuple[Upload, StoredObject | None]:
        """Write what the reader returns to S3, unless these bytes are there already.

        :return: what was written, and the object that was there before.
        """
        progress = _Progress(reader.counts, hook)
        before = replaceable_object()
        with closing(reader.chunks()) as chunks:
            first = next(chunks, b"")
            if not reader.counts.records:
                self._require_nonempty()
            with upload(*target) as written:
                for chunk in chain([first], chunks):
                    written.write(chunk)
                    if line := progress.due():
                        self.log.info("%s", line)
                stored = replaceable_object()
                if stored and stored.manifest and stored.manifest.sha256 == written.sha256:
                    written.cancel(stored.etag)
                elif stored:
                    _require_no_loss(target, before, stored, reader.counts)
        get_hook_lineage_collector().add_output_asset(
            context=target.hook,
            scheme="s3",
            asset_kwargs={"bucket": target.location.bucket, "key": target.location.key},
        )
        return written, stored

    def _manifest(self, summary: Mapping[str, Any], interval: Interval, etag: str, read_at: datetime) -> Manifest:
        names = ("uri", "records", "reported", "bytes", "uncompressed_bytes", "sha256", "requests")
        return Manifest(
            **{name: summary[name] for name in names},
            **interval._asdict(),
            etag=etag,
            filters=redacted_filters_of(self),
            read_at=read_at,
            provider_version=package_version(),
        )

    def _require_nonempty(self) -> None:
        """Decide what to do without an engagement, before an upload starts."""
        if self.on_empty == "skip":
            raise AirflowSkipException(
                "No engagement started in the interval, and on_empty is 'skip': nothing written."
            )
        if self.on_empty == "fail":
            raise AirflowFailException(
                "No engagement started in the interval, and on_empty is 'fail': nothing written. "
                "Check interval and filters, or use on_empty='write' or 'skip'."
            )

    def _publish(self, summary: dict[str, Any], context: Context) -> None:
        for name in ("records", "requests"):
            Stats.incr(f"zcc.{name}", summary[name], tags={"dag_id": self.dag_id, "task_id": self.task_id})
        if self.do_xcom_push:
            context["ti"].xcom_push(key="summary", value=summary)
        for outlet in self.outlets or ():
            if isinstance(outlet, AssetAlias):
                # In the URI of an asset, unlike in a key, these characters mean something.
                uri = summary["uri"].replace("%", "%25").replace("?", "%3F").replace("#", "%23")
                context["outlet_events"][outlet].add(Asset(uri), extra=dict(summary))
            elif isinstance(outlet, Asset | AssetRef):
                context["outlet_events"][outlet].extra = dict(summary)

    def _wait_deferred(self, error: RateLimitedUntil, deferrals: int) -> None:
        self.log.warning("Zoom's rate limit is used up. Waiting without a worker slot until %s.", error.retry_at)
        self.defer(trigger=TimeDeltaTrigger(error.time_left), method_name="resume", kwargs={"deferrals": deferrals})


def _require_no_loss(target: _Target, before: StoredObject | None, stored: StoredObject, counts: Counts) -> None:
    """Check, now that everything was read, that no engagements are lost when an object is replaced.

    :param target: the object.
    :param before: what was there before reading.
    :param stored: what is there now.
    :param counts: what was read.
    """
    uri = target.location.uri
    if before is None or before.etag != stored.etag:
        raise AirflowException(
            f"{uri} was written by something else while this task was reading, and was not replaced. The next attempt "
            "starts from the new object."
        )
    held = stored.manifest.records if stored.manifest else count_lines(*target)
    if counts.records >= held:
        return
    if counts.reported and counts.reported > counts.records:
        raise AirflowException(
            f"Zoom reports {counts.reported:,} engagements in the interval, but returned {counts.records:,}, and {uri} "
            f"holds {held:,}. The object was not replaced. Try again later."
        )
    raise AirflowFailException(
        f"Zoom now lists {counts.records:,} engagements for the interval, and {uri} holds {held:,}. Their retention at "
        "Zoom may have ended, or they were deleted there. The object was not replaced. To replace it all the same, use "
        "replace='any'."
    )


def _is_of_this_run(stored: StoredObject | None, run_started: datetime | None) -> bool:
    """Return whether an earlier attempt of this run has written an object, whose event nobody may have seen."""
    return bool(stored and stored.manifest and run_started and stored.manifest.read_at >= run_started)


class _Target(NamedTuple):
    """The object that is written: through which hook, where, and with which headers."""

    hook: S3Hook
    location: Location
    extra_args: Mapping[str, Any]


class _Progress:
    """Writes a line on progress when one is due."""

    def __init__(self, counts: Counts, hook: ZoomContactCenterHook) -> None:
        self._counts = counts
        self._hook = hook
        self._started = self._logged = time.monotonic()

    def due(self) -> str:
        """Return a line, or an empty text if the last one is recent."""
        now = time.monotonic()
        if now - self._logged < _PROGRESS_INTERVAL:
            return ""
        self._logged = now
        seconds, counts = now - self._started, self._counts
        rate = f"{self._hook.requests_sent / seconds:.1f} requests/s"
        if not (counts.all_counted and counts.records):
            return f"{counts.records:,} records, {rate}"
        share = min(1.0, counts.records / max(counts.expected, 1))
        left = seconds * (1 / share - 1)
        return f"{100 * share:.0f} % ({counts.records:,} of about {counts.expected:,}), {rate}, about {left:.0f} s left"


def _fits(value: object) -> bool:
    """Return whether a value fits into headers: no line break, which comes with templates."""
    values = value.values() if isinstance(value, Mapping) else [value]
    return all(text.isprintable() for text in values if isinstance(text, str))


def _in_words(summary: Mapping[str, Any]) -> str:
    """Describe a summary in one line, without what did not happen."""
    parts = [
        *([] if summary["changed"] else ["unchanged"]),
        f"{summary['records']:,} records",
        f"{summary['bytes']:,} bytes",
        f"{summary['requests']:,} requests",
        *(f"{summary[name]:,} {words}" for name, words in _EXCEPTIONAL.items() if summary[name]),
        f"{summary['seconds']:.1f} s",
    ]
    return f"{summary['uri']}: {', '.join(parts)}"


_EXCEPTIONAL = {
    "rate_limited": "of them rate limited",
    "duplicates_dropped": "duplicates dropped",
    "outside_interval": "outside the interval",
}
