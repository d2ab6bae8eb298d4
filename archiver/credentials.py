"""Short-lived keys for notebooks: a role of the store, narrowed by a session policy to one project.

Law: the keys read one project's folder in the tiers that are read in place, and nothing else; those of team notebooks read and write one
project's folder of the team's bucket, end no version, and nothing else. The store enforces it, not we. The archiver's own keys never
leave it. One project per credential, as a session policy holds 2,048 characters on AWS.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from archiver import names
from archiver.archive import Archive
from archiver.config import Settings
from archiver.errors import PublicError, StoreUnavailable, WrongUse
from archiver.identity import READ, TEAM, Rights, session_as
from archiver.policy import HOT

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

_POLICY_CHARACTERS = 2048  # AWS, AssumeRole: Policy
_NEAR = ("hot", "archive")


class NotConfigured(PublicError):
    """This installation does not hand out keys."""

    code = "not-configured"
    title = "This installation does not offer it"
    status = 501


@dataclass(frozen=True)
class Credentials:
    """Keys for `<project>/` in `buckets` (by tier, or `team`) until `expires_at`. They show in no repr."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: datetime
    endpoint_url: str | None  # None: AWS's own for the region
    region: str
    buckets: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Credentials until {self.expires_at:%Y-%m-%dT%H:%M:%SZ}>"


def credentials(archive: Archive, project: str, user: str) -> Credentials:
    """Keys for `user` to read `project`. Whether the user may is the caller's question.

    Raises `NotConfigured` where no role is set, `StoreUnavailable` when the store gives none.
    """
    settings = archive.settings
    role = settings.api.broker_role_arn
    if role is None:
        raise NotConfigured(
            "This installation hands out no keys to its store.", "Read the data at its path below /data; an admin can set api.broker_role_arn."
        )
    buckets = _near_buckets(settings)
    return _assumed(settings, role, user, session_policy(names.unit("a project", project), list(buckets.values())), buckets)


def team_credentials(archive: Archive, project: str, user: str) -> Credentials:
    """Keys for `user` to read and write the team notebooks of `project`. Whether the user may is the caller's question.

    Raises `NotConfigured` where there are none, `StoreUnavailable` when the store gives none.
    """
    team = archive.settings.team
    if team.bucket is None or team.role_arn is None:
        raise NotConfigured("This installation has no team notebooks.", "An admin can set team.bucket and team.role_arn.")
    policy = session_policy(names.unit("a project", project), [team.bucket], TEAM)
    return _assumed(archive.settings, team.role_arn, user, policy, {"team": team.bucket})


def _assumed(settings: Settings, role: str, user: str, policy: str, buckets: Mapping[str, str]) -> Credentials:
    try:
        with contextlib.closing(_client(settings)) as sts:
            answer = sts.assume_role(
                RoleArn=role,
                RoleSessionName=session_name(user),
                Policy=policy,
                DurationSeconds=settings.api.credential_minutes * 60,
            )
    except (ClientError, BotoCoreError) as error:
        raise StoreUnavailable("The store gave no keys.", "Try again in a moment; `archiver doctor` tells an admin more.") from error
    key = answer["Credentials"]
    return Credentials(
        access_key_id=key["AccessKeyId"],
        secret_access_key=key["SecretAccessKey"],
        session_token=key["SessionToken"],
        expires_at=key["Expiration"].astimezone(UTC),
        endpoint_url=settings.store.public_endpoint_url or settings.store.endpoint_url,
        region=settings.store.region,
        buckets=buckets,
    )


def session_policy(project: str, buckets: list[str], rights: Rights = READ) -> str:
    """Do these things to what lies below `project/` and list it, in these buckets; nothing else. Raises `WrongUse` when S3 would not take it."""
    policy = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": rights.objects,
                    "Resource": [f"arn:aws:s3:::{bucket}/{project}/*" for bucket in buckets],
                },
                {
                    "Effect": "Allow",
                    "Action": rights.bucket,
                    "Resource": [f"arn:aws:s3:::{bucket}" for bucket in buckets],
                    "Condition": {"StringLike": {"s3:prefix": [f"{project}/*"]}},
                },
            ],
        },
        separators=(",", ":"),
    )
    if len(policy) > _POLICY_CHARACTERS:
        raise WrongUse(f"The names of project {project} and its buckets are too long for the store.", "Give the buckets shorter names.")
    return policy


def session_name(user: str) -> str:
    """The user's name as the store's logs will show it: 2–64 of `[A-Za-z0-9_+=,.@-]`; names that had to be changed stay distinct."""
    plain = re.sub(r"[^A-Za-z0-9_+=,.@-]", "-", user)
    mark = "" if plain == user and len(plain) <= 59 else f"-{hashlib.sha256(user.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"
    return f"neve-{plain[: 59 - len(mark)]}{mark}"


def _near_buckets(settings: Settings) -> dict[str, str]:
    """Hot and archive, as far as they are read at once at the store's own endpoint."""
    return {
        name: settings.tiers[name].bucket
        for name in _NEAR
        if name in settings.tiers
        and settings.tiers[name].recall == "never"
        and (name == HOT or settings.tiers[name].read_in_place)
        and settings.tier_endpoint(name) == settings.store.endpoint_url
    }


def _client(settings: Settings) -> STSClient:
    store = settings.store
    core = session_as(store, settings.api.broker_profile if store.credentials_file else None)
    config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 2})
    endpoint = settings.api.sts_endpoint_url or store.endpoint_url
    return Session(botocore_session=core).client("sts", region_name=store.region, endpoint_url=endpoint, config=config)
