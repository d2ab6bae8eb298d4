"""Who may do what in the embedded store: each identity does its own work, every other probe is refused, and a control shows that the probe works."""

from __future__ import annotations

import json

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from neve_hub import store
from neve_hub.instance import Instance

from archiver import credentials, identity
from archiver.config import load

HOT, ARCHIVE, DEEP, TEAM = "neve-hot", "neve-archive", "neve-deep", "neve-team"
MINE, OTHER = "mine", "other"
TRICKY = ["a b+c%25é#?;&=.nxs", "x//y", "%2Fslash", "back\\slash", "日本/ü'\"*.txt"]


@pytest.fixture(scope="module")
def here(hub):
    return Instance(load(hub.home / "neve.toml"))


@pytest.fixture(scope="module")
def admin(here):
    """The identity that sets the store up, with one object of two projects in each bucket."""
    s3 = store.client(here, "setup")
    for bucket in (HOT, ARCHIVE, DEEP, TEAM):
        for project in (MINE, OTHER):
            s3.put_object(Bucket=bucket, Key=f"{project}/i/f", Body=b"bytes")
    yield s3
    for bucket in (HOT, ARCHIVE, DEEP, TEAM):
        for project in (MINE, OTHER):
            s3.delete_object(Bucket=bucket, Key=f"{project}/i/f")


def assume(here, profile: str, role: str = store.ROLE_ARN, **more):
    return store.client(here, profile, "sts").assume_role(RoleArn=role, RoleSessionName="test", DurationSeconds=900, **more)["Credentials"]


@pytest.fixture(scope="module")
def notebook(here, admin):
    """An S3 client with the keys that a notebook gets for the project `mine`, through the proxy, as it reaches the store."""
    buckets = [f"arn:aws:s3:::{bucket}" for bucket in (HOT, ARCHIVE)]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": [f"{bucket}/{MINE}/*" for bucket in buckets]},
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": buckets, "Condition": {"StringLike": {"s3:prefix": [f"{MINE}/*"]}}},
        ],
    }
    return with_keys(here, assume(here, "broker", Policy=json.dumps(policy)))


@pytest.fixture(scope="module")
def team(here, admin):
    """The same with the keys of team notebooks, as the archiver narrows them."""
    return with_keys(here, assume(here, "broker", store.TEAM_ROLE_ARN, Policy=credentials.session_policy(MINE, [TEAM], identity.TEAM)))


def with_keys(here, keys):
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{here.s3_public_port}",
        region_name=store.REGION,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
        config=Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, request_checksum_calculation="when_required", retries={"total_max_attempts": 1}
        ),
    )


def _batch(s3, bucket: str, key: str) -> None:
    """A refusal stands inside the 200 answer."""
    for error in s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key, "VersionId": "0" * 32}]}).get("Errors", ()):
        raise ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": 403 if error["Code"] == "AccessDenied" else 500}}, "DeleteObjects")


PROBES = {
    "read": lambda s3, bucket, key: s3.get_object(Bucket=bucket, Key=key),
    "head": lambda s3, bucket, key: s3.head_object(Bucket=bucket, Key=key),
    "list": lambda s3, bucket, key: s3.list_objects_v2(Bucket=bucket, Prefix=key.split("/")[0] + "/"),
    "list all": lambda s3, bucket, key: s3.list_objects_v2(Bucket=bucket),
    "list versions": lambda s3, bucket, key: s3.list_object_versions(Bucket=bucket, Prefix=key.split("/")[0] + "/"),
    "write": lambda s3, bucket, key: s3.put_object(Bucket=bucket, Key=f"{key}.new", Body=b"x"),
    "overwrite": lambda s3, bucket, key: s3.put_object(Bucket=bucket, Key=key, Body=b"bytes"),
    "copy into": lambda s3, bucket, key: s3.copy_object(Bucket=bucket, Key=f"{key}.copy", CopySource=f"{bucket}/{key}"),
    "multipart": lambda s3, bucket, key: s3.create_multipart_upload(Bucket=bucket, Key=f"{key}.parts"),
    "tag": lambda s3, bucket, key: s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
    "policy": lambda s3, bucket, key: s3.get_bucket_policy_status(Bucket=bucket),
    "versioning": lambda s3, bucket, key: s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}),
    "delete": lambda s3, bucket, key: s3.delete_object(Bucket=bucket, Key=f"{key}.new"),
    "delete version": lambda s3, bucket, key: s3.delete_object(Bucket=bucket, Key=f"{key}.new", VersionId="0" * 32),
    "delete batch": lambda s3, bucket, key: _batch(s3, bucket, f"{key}.new"),
    "bypass": lambda s3, bucket, key: s3.delete_object(Bucket=bucket, Key=f"{key}.new", VersionId="0" * 32, BypassGovernanceRetention=True),
}
UNDO = [".new", ".copy", ".parts"]


def outcome(probe: str, s3, bucket: str, project: str) -> bool:
    """Whether the probe was let through. Anything but success and a refusal is a failure of the test."""
    try:
        PROBES[probe](s3, bucket, f"{project}/i/f")
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert status == 403 or (probe == "policy" and error.response["Error"]["Code"] == "NoSuchBucketPolicy"), error
        return status != 403
    return True


def allowed(s3) -> set[tuple[str, str, str]]:
    cells = [(probe, bucket, project) for probe in PROBES if probe != "policy" for bucket in (HOT, ARCHIVE, DEEP, TEAM) for project in (MINE, OTHER)]
    return {cell for cell in cells if outcome(cell[0], s3, cell[1], cell[2])}


DELETES = {"delete", "delete version", "delete batch", "bypass"}
READS = {"read", "head", "list", "list all", "list versions"}


def test_control_the_admin_may_do_all_of_it(admin):
    assert len(allowed(admin)) == (len(PROBES) - 1) * 8


def test_the_archiver_reads_and_writes_everywhere_and_deletes_in_hot_only(here, admin):
    may = allowed(store.client(here, "archiver"))
    assert {probe for probe, bucket, _ in may if bucket == HOT} == set(PROBES) - {"policy", "versioning"}
    for cold in (ARCHIVE, DEEP):
        assert {probe for probe, bucket, _ in may if bucket == cold} == set(PROBES) - {"policy", "versioning"} - DELETES


def test_the_reaper_reads_everywhere_and_deletes_outside_hot_only(here, admin):
    may = allowed(store.client(here, "reaper"))
    assert {probe for probe, bucket, _ in may if bucket == HOT} == READS
    for cold in (ARCHIVE, DEEP):
        assert {probe for probe, bucket, _ in may if bucket == cold} == READS | DELETES


def test_an_older_installation_gains_the_keys_it_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("NEVE_HOME", str(tmp_path))
    monkeypatch.setenv("NEVE_STORE__ENDPOINT_URL", "http://127.0.0.1:8106")
    monkeypatch.setenv("NEVE_PORT", "8000")
    older = Instance(load())
    (older.secrets).mkdir(parents=True)
    kept = "[archiver]\naws_access_key_id = A\naws_secret_access_key = B"
    (older.secrets / "credentials").write_text(kept)
    made = store.credentials(older)
    assert set(made) == {"archiver", "broker", "homes", "mounts", "reaper", "setup"}
    assert made["archiver"] == {"aws_access_key_id": "A", "aws_secret_access_key": "B"}
    assert store.credentials(older) == made
    assert (older.secrets / "credentials").read_text().startswith(kept)


def test_a_notebooks_keys_read_their_project_in_hot_and_archive_and_nothing_else(notebook):
    assert allowed(notebook) == {(probe, bucket, MINE) for probe in ("read", "head", "list") for bucket in (HOT, ARCHIVE)}


def test_keys_of_team_notebooks_write_one_projects_and_end_no_version(team):
    may = {"read", "head", "list", "list versions", "write", "overwrite", "copy into", "multipart", "delete"}
    assert allowed(team) == {(probe, TEAM, MINE) for probe in may}


def test_the_role_of_team_notebooks_reaches_nothing_but_their_bucket(here, admin):
    """What no session policy narrows is still kept from every tier."""
    assert {bucket for _, bucket, _ in allowed(with_keys(here, assume(here, "broker", store.TEAM_ROLE_ARN)))} == {TEAM}


@pytest.mark.parametrize("profile", ["archiver", "reaper", "mounts"])
def test_no_other_identity_reaches_team_notebooks(here, admin, profile):
    assert not {cell for cell in allowed(store.client(here, profile)) if cell[1] == TEAM}


def test_the_mounts_identity_reads_and_lists_hot_only(here, admin):
    may = {probe for probe, bucket, _ in allowed(store.client(here, "mounts")) if bucket == HOT}
    assert may == {"read", "head", "list", "list all", "list versions"}
    assert all(bucket == HOT for _, bucket, _ in allowed(store.client(here, "mounts")))


def test_the_broker_can_only_assume_the_role(here, admin):
    assert allowed(store.client(here, "broker")) == set()
    assert assume(here, "broker")["SessionToken"]


@pytest.mark.parametrize("role", [store.ROLE_ARN, store.TEAM_ROLE_ARN])
@pytest.mark.parametrize("profile", ["mounts", "archiver", "reaper"])
def test_nobody_else_can_assume_it(here, profile, role):
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(here, profile, role)


@pytest.mark.parametrize("profile", ["broker", "mounts", "archiver", "reaper"])
def test_neither_of_them_can_make_keys(here, profile):
    iam = store.client(here, profile, "iam")
    for action in (iam.list_users, lambda: iam.create_access_key(UserName="archiver"), lambda: iam.create_user(UserName="evil")):
        with pytest.raises(ClientError):
            action()


def test_a_notebooks_keys_lead_to_no_others(here, notebook):
    keys = notebook._request_signer._credentials
    sts = boto3.client(
        "sts",
        endpoint_url=here.s3_url,
        region_name=store.REGION,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.token,
    )
    for action in (lambda: sts.assume_role(RoleArn=store.ROLE_ARN, RoleSessionName="more"), lambda: sts.get_federation_token(Name="more")):
        with pytest.raises(ClientError):
            action()


@pytest.mark.parametrize("name", TRICKY)
def test_any_key_passes_the_proxy(admin, notebook, name):
    """S3 signs the path as it stands, so a proxy that tidies it up breaks the signature."""
    key = f"{MINE}/i/{name}"
    admin.put_object(Bucket=HOT, Key=key, Body=name.encode())
    try:
        assert notebook.get_object(Bucket=HOT, Key=key)["Body"].read() == name.encode()
        url = notebook.generate_presigned_url("get_object", Params={"Bucket": HOT, "Key": key})
        assert httpx.get(url).content == name.encode()
    finally:
        admin.delete_object(Bucket=HOT, Key=key)


def test_secrets_are_private(here):
    for path in [here.secrets, *here.secrets.iterdir(), here.run / "supervisor.sock"]:
        if path.exists():
            assert path.stat().st_mode & 0o077 == 0, path
