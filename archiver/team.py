"""The bucket of team notebooks, as `archiver setup` makes it.

Law: it is no tier: nothing tiers, drops or audits what people keep in it. It is versioned, so that what is written over or deleted can be had
back, and carries a marker that no tier's bucket has. The archiver's everyday identity has no business there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from archiver.config import Settings
from archiver.errors import StoreUnavailable, WrongSetting
from archiver.identity import Identity, client
from archiver.markers import MARKER_KEY

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

_MARK = "team notebooks"  # no tier can be called so


def ensure_bucket(settings: Settings) -> list[str]:
    """Make the bucket, versioned and marked, where the settings name one; can be repeated. Returns what was made.

    Raises `WrongSetting` when it is somebody else's, `StoreUnavailable`.
    """
    bucket = settings.team.bucket
    if bucket is None:
        return []
    try:
        with contextlib.closing(client(settings.store, Identity.SETUP, settings.store.endpoint_url)) as s3:
            made = _made(s3, bucket, settings)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    except (ClientError, BotoCoreError) as error:
        raise StoreUnavailable(
            f"The bucket {bucket} of team notebooks cannot be set up: {error}.", "Mend team.bucket or the rights of store.setup_profile."
        ) from error
    return [f"bucket {bucket}"] if made else []


def _made(s3: S3Client, bucket: str, settings: Settings) -> bool:
    """See that the bucket is there and ours; whether it had to be made. A bucket of something else is not touched."""
    if _answer(lambda: s3.head_bucket(Bucket=bucket)) is None:
        if settings.store.endpoint_url is None and settings.store.region != "us-east-1":
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": settings.store.region})  # type: ignore[typeddict-item]
        else:
            s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key=MARKER_KEY, Body=_MARK.encode())
        return True
    marker = _answer(lambda: s3.get_object(Bucket=bucket, Key=MARKER_KEY))
    found = None if marker is None else marker["Body"].read()
    if found is None and not s3.list_objects_v2(Bucket=bucket, MaxKeys=1).get("Contents"):
        s3.put_object(Bucket=bucket, Key=MARKER_KEY, Body=_MARK.encode())  # empty: ours, when a start was cut off
    elif found != _MARK.encode():
        raise WrongSetting(
            f"The bucket {bucket} of team notebooks carries {'no marker' if found is None else 'the marker of something else'}.",
            "Mend team.bucket; nothing is touched in a bucket of something else. A new bucket gets its marker by `archiver setup`.",
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
