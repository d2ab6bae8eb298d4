"""The embedded store: SeaweedFS on this disk, and who may do what in it.

Law: five identities and two roles, each with the least it needs. `archiver` reads and writes in every tier and deletes in hot only;
`reaper` reads, deletes outside hot, locks notwithstanding, and writes location records only; `setup` makes the buckets, and is used
by `archiver setup` alone; `mounts` reads and lists hot; `broker` may only assume the roles `notebook`, which reads hot and archive, and
`team`, which reads and writes team notebooks and ends no version; a session policy narrows each to one project.
"""

from __future__ import annotations

import base64
import configparser
import json
import secrets
import shutil
import time
from io import StringIO
from typing import Any

from neve.private import write_private

from archiver.errors import StoreUnavailable
from archiver.identity import READ, TEAM, Rights
from neve_hub.instance import Instance

ROLE_ARN = "arn:aws:iam::role/notebook"
TEAM_ROLE_ARN = "arn:aws:iam::role/team"
REGION = "us-east-1"
_PROFILES = ("archiver", "broker", "homes", "mounts", "reaper", "setup")
_READS = ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging", "s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketVersioning"]
_READS += ["s3:GetObjectRetention", "s3:GetBucketObjectLockConfiguration", "s3:GetBucketLocation"]
_WRITES = ["s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectRetention", "s3:RestoreObject"]
_WRITES += ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:ListBucketMultipartUploads"]
_ENDS = ["s3:DeleteObject", "s3:DeleteObjectVersion"]


def credentials(here: Instance) -> dict[str, dict[str, str]]:
    """The keys of our identities, each made once, in the form that every AWS client reads. A file of an older version gains what it lacks."""
    path = here.secrets / "credentials"
    text = path.read_text("utf-8") if path.exists() else ""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_file(StringIO(text))
    lacking = [name for name in _PROFILES if name not in parser]
    if lacking and (here.has_own_store or not text):
        if text and not text.endswith("\n"):
            text += "\n"
        text += "".join(
            f"[{name}]\naws_access_key_id = {secrets.token_hex(10).upper()}\naws_secret_access_key = {secrets.token_urlsafe(30)}\n\n"
            for name in lacking
        )
        write_private(path, text)
        parser.read_file(StringIO(text))
    return {name: dict(parser[name]) for name in parser.sections()}


def _identity(name: str, key: dict[str, str], actions: list[str]) -> dict[str, Any]:
    return {"name": name, "credentials": [{"accessKey": key["aws_access_key_id"], "secretKey": key["aws_secret_access_key"]}], "actions": actions}


def policy_document(profile: str, everywhere: list[str], hot: list[str], cold: list[str]) -> dict[str, Any]:
    """What `archiver` or `reaper` may do, as an IAM policy. The buckets are given as ARNs: all of ours, hot's, and those of the other tiers."""

    def allow(actions: list[str], buckets: list[str]) -> dict[str, Any]:
        return {"Effect": "Allow", "Action": actions, "Resource": [arn for bucket in buckets for arn in (bucket, f"{bucket}/*")]}

    records = {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [f"{bucket}/.neve/locations/*" for bucket in everywhere]}
    statements = {
        "archiver": [allow(_READS + _WRITES, everywhere), allow(_ENDS, hot)],
        "reaper": [allow(_READS, everywhere), allow([*_ENDS, "s3:BypassGovernanceRetention"], cold), records],
    }
    return {"Version": "2012-10-17", "Statement": statements[profile]}


def _allowed(rights: Rights, buckets: list[str]) -> dict[str, Any]:
    """What a role may do in these buckets, before a session policy narrows it."""
    resources = [arn for name in buckets for arn in (f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*")]
    return {"Effect": "Allow", "Action": [*rights.objects, *rights.bucket], "Resource": resources}


def configure(here: Instance) -> None:
    """Write what SeaweedFS reads at its start."""
    keys, tiers = credentials(here), here.settings.tiers
    hot = tiers["hot"].bucket
    arns = {name: f"arn:aws:s3:::{tier.bucket}" for name, tier in tiers.items()}
    cold = [arn for name, arn in arns.items() if name != "hot"]
    policies = {name: json.dumps(policy_document(name, [*arns.values()], [arns["hot"]], cold)) for name in ("archiver", "reaper")}
    identities = [
        _identity("setup", keys["setup"], ["Admin", "Read", "Write", "List", "Tagging"]),
        *({**_identity(name, keys[name], []), "policyNames": [name]} for name in policies),
        _identity("broker", keys["broker"], []),
        _identity("mounts", keys["mounts"], [f"Read:{hot}", f"List:{hot}"]),
    ]
    if here.settings.backup.bucket:
        identities.append(_identity("homes", keys["homes"], [f"{right}:{here.settings.backup.bucket}" for right in ("Read", "Write", "List")]))
    made = [{"name": name, "content": content} for name, content in policies.items()]
    write_private(here.secrets / "store-identities.json", json.dumps({"identities": identities, "policies": made}))
    near = [tiers[name].bucket for name in ("hot", "archive") if name in tiers]
    team = here.settings.team
    roles = {ROLE_ARN: ("read-near-tiers", READ, near)}
    if team.bucket and team.role_arn:
        roles[team.role_arn] = ("write-team-notebooks", TEAM, [team.bucket])
    trust = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:user/broker"}, "Action": ["sts:AssumeRole"]}
    signing = here.secrets / "sts-signing-key"
    if not signing.exists():
        write_private(signing, base64.b64encode(secrets.token_bytes(32)).decode())
    write_private(
        here.secrets / "store-iam.json",
        json.dumps(
            {
                "sts": {"issuer": "neve", "signingKey": signing.read_text("utf-8"), "tokenDuration": "1h", "maxSessionLength": "12h"},
                "policy": {"defaultEffect": "Deny", "storeType": "memory"},
                "policies": [
                    {"name": name, "document": {"Version": "2012-10-17", "Statement": [_allowed(rights, buckets)]}}
                    for name, rights, buckets in roles.values()
                ],
                "roles": [
                    {
                        "roleName": arn.rpartition("/")[2],
                        "roleArn": arn,
                        "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
                        "attachedPolicies": [name],
                    }
                    for arn, (name, _, _) in roles.items()
                ],
            }
        ),
    )


def command(here: Instance) -> list[str]:
    """How SeaweedFS is started: loopback only, everything we do not use switched off, memory bounded."""
    base, folder = here.store_port, here.home / "store"
    folder.mkdir(mode=0o700, exist_ok=True)
    ports = {"master": base, "volume": base + 2, "filer": base + 4, "s3": here.s3_port, "admin": base + 8}
    options = [f"-{part}.port={port}" for part, port in ports.items()]
    options += [f"-{part}.port.grpc={port + 1}" for part, port in ports.items() if part != "admin"]
    # A soft limit for Go's collector: after heavy traffic the process would otherwise keep what it once needed.
    return [
        "env",
        "GOMEMLIMIT=600MiB",
        shutil.which("weed") or "weed",
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *options,
        f"-admin.port.grpc={base + 10008}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        "-s3.autoCreateBucket=false",
        f"-s3.config={here.secrets / 'store-identities.json'}",
        f"-s3.iam.config={here.secrets / 'store-iam.json'}",
    ]


def client(here: Instance, profile: str, service: str = "s3") -> Any:
    import boto3  # noqa: PLC0415 - half a second, in which the processes may start already
    from botocore.config import Config  # noqa: PLC0415

    key = credentials(here)[profile]
    config = Config(
        signature_version="s3v4" if service == "s3" else None,
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=2,
        read_timeout=5,
        retries={"total_max_attempts": 1},
    )
    make: Any = boto3.client  # typed by the service's literal name
    return make(service, endpoint_url=here.s3_url, region_name=REGION, config=config, **key)


def wait(here: Instance, *, seconds: float) -> None:
    """Until the store answers as ours: another store on that port would refuse this key. Raises `StoreUnavailable`."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - see client

    s3, deadline = client(here, "archiver"), time.monotonic() + seconds
    while True:
        try:
            s3.list_buckets()
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"The store at {here.s3_url} did not answer within {seconds:g} s ({type(error).__name__}).", f"Its log: {here.log / 'store.log'}"
                ) from None
            time.sleep(0.1)
        else:
            return
