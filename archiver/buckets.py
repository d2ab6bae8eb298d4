"""The buckets that are no tier, as `archiver setup` makes them: of team notebooks, and of homes' backups.

Law: nothing tiers, drops or audits what is in them, and each carries a marker that no tier's bucket has. Team notebooks' is versioned, so that what
is written over or deleted can be had back; backups' is not, as what they forget shall go. The archiver's everyday identity has no business there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from archiver.config import Settings
from archiver.errors import StoreUnavailable, WrongSetting
from archiver.identity import Identity, client
from archiver.markers import MARKER_KEY

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")


@dataclass(frozen=True)
class _Use:
    """What a bucket is for; no tier can be called as `mark`."""

    setting: str
    bucket: str | None
    mark: str
    versioned: bool


def ensure(settings: Settings) -> list[str]:
    """Make the buckets that the settings name, and mark them; can be repeated. Returns what was made.

    Raises `WrongSetting` when one is somebody else's, `StoreUnavailable`.
    """
    uses = (
        _Use("team.bucket", settings.team.bucket, "team notebooks", versioned=True),
        _Use("backup.bucket", settings.backup.bucket, "backups of homes", versioned=False),
    )
    return [f"bucket {use.bucket}" for use in uses if use.bucket is not None and _ensured(settings, use, use.bucket)]


def _ensured(settings: Settings, use: _Use, bucket: str) -> bool:
    try:
        with contextlib.closing(client(settings.store, Identity.SETUP, settings.store.endpoint_url)) as s3:
            made = _made(s3, bucket, use, settings)
            if use.versioned:
                s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    except (ClientError, BotoCoreError) as error:
        raise StoreUnavailable(
            f"The bucket {bucket} of {use.mark} cannot be set up: {error}.", f"Mend {use.setting} or the rights of store.setup_profile."
        ) from error
    return made


def _made(s3: S3Client, bucket: str, use: _Use, settings: Settings) -> bool:
    """See that the bucket is there and ours; whether it had to be made. A bucket of something else is not touched."""
    if _answer(lambda: s3.head_bucket(Bucket=bucket)) is None:
        if settings.store.endpoint_url is None and settings.store.region != "us-east-1":
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": settings.store.region})  # type: ignore[typeddict-item]
        else:
            s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key=MARKER_KEY, Body=use.mark.encode())
        return True
    marker = _answer(lambda: s3.get_object(Bucket=bucket, Key=MARKER_KEY))
    found = None if marker is None else marker["Body"].read()
    if found is None and not s3.list_objects_v2(Bucket=bucket, MaxKeys=1).get("Contents"):
        s3.put_object(Bucket=bucket, Key=MARKER_KEY, Body=use.mark.encode())  # empty: ours, when a start was cut off
    elif found != use.mark.encode():
        raise WrongSetting(
            f"The bucket {bucket} of {use.mark} carries {'no marker' if found is None else 'the marker of something else'}.",
            f"Mend {use.setting}; nothing is touched in a bucket of something else. A new bucket gets its marker by `archiver setup`.",
        )
    return False


def _answer(ask: Callable[[], T]) -> T | None:
    """What the store says, None if there is no such thing."""
    try:
        return ask()
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise
