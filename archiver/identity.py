"""As whom a store is spoken to (rule 6).

Law: three identities, each with the least it needs. The everyday one reads and writes in every tier and ends things in hot only;
the reaper ends copies in the others, and writes nothing but location records; what makes buckets is used by `archiver setup` alone.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

import botocore.session
from boto3.session import Session
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.hooks import HierarchicalEmitter
from botocore.loaders import create_loader

from archiver.sections import StoreSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_DESCRIPTIONS = create_loader()
"""What S3 is, as botocore reads it from large JSON files: read once, not again for every client."""


class Identity(StrEnum):
    """Who speaks to a store."""

    EVERYDAY = "everyday"  # the archiver and its worker
    REAPER = "reaper"  # `archiver reaper`: passes by governance locks, where a tier has them
    SETUP = "setup"  # `archiver setup`


@dataclass(frozen=True)
class Rights:
    """S3 actions on objects and on their bucket: what a role may do, and what keys narrowed to one project's folder may."""

    objects: tuple[str, ...]
    bucket: tuple[str, ...]


READ = Rights(("s3:GetObject", "s3:GetObjectVersion"), ("s3:ListBucket",))
# No DeleteObjectVersion: what a member deletes or writes over can be had back.
TEAM = Rights(
    (*READ.objects, "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
    (*READ.bucket, "s3:ListBucketVersions"),
)
"""Of the keys of notebooks, and of those of team notebooks."""


def has_profile(store: StoreSettings, profile: str) -> bool:
    """Whether this machine has keys, or a role, under this name: in the credentials file, and where AWS's clients look."""
    return profile in session_as(store, None).available_profiles


def client(store: StoreSettings, identity: Identity, endpoint_url: str | None, connections: int = 10) -> S3Client:
    """An S3 client with one of our identities; without a credentials file the everyday one is AWS's usual chain."""
    config = Config(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 4},
        max_pool_connections=connections,
        s3={"addressing_style": "path" if endpoint_url else "auto", "payload_signing_enabled": False},
        request_checksum_calculation="when_required",  # other stores choke on the default (boto/boto3#4401)
        response_checksum_validation="when_required",
    )
    session = Session(botocore_session=session_as(store, _profile(store, identity)))
    return session.client("s3", region_name=store.region, endpoint_url=endpoint_url, config=config)


def keys(store: StoreSettings, identity: Identity) -> Credentials | None:
    """The keys of one of our identities, which renew themselves; None where there are none."""
    return session_as(store, _profile(store, identity)).get_credentials()


def trusted(store: StoreSettings) -> str | None:
    """The file of certificates that S3 clients here shall trust, where one is set."""
    found = session_as(store, None).get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    return str(found) if found else None


def _profile(store: StoreSettings, identity: Identity) -> str | None:
    if identity is Identity.REAPER:
        return store.reaper_profile
    if identity is Identity.SETUP and has_profile(store, store.setup_profile):
        return store.setup_profile
    return store.profile if store.credentials_file else None


@cache
def _hooks() -> HierarchicalEmitter:
    """What botocore does at each step of a request: 130 functions, looked at once; to look at them takes longer than all else of a session."""
    hooks = HierarchicalEmitter()
    botocore.session.Session(event_hooks=hooks)
    return hooks


def session_as(store: StoreSettings, profile: str | None) -> botocore.session.Session:
    """A session with the keys of this name (None: AWS's usual chain)."""
    core = botocore.session.Session(event_hooks=copy.copy(_hooks()), include_builtin_handlers=False, profile=profile)
    core.register_component("data_loader", _DESCRIPTIONS)
    if store.credentials_file:
        core.set_config_variable("credentials_file", str(store.credentials_file))
    return core
