"""Where team notebooks lie, and who gets which keys to them."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from archiver import app
from archiver.config import exactly
from archiver.errors import WrongSetting


def refused(attempt) -> None:
    with pytest.raises(ClientError) as answer:
        attempt()
    assert answer.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_setup_makes_a_versioned_bucket_with_a_marker_and_can_be_repeated(team_door):
    s3, bucket, archive = team_door.s3, team_door.bucket, team_door.door.bench.archive
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert team_door.objects() == {".neve/tier": b"team notebooks"}
    assert app.setup(archive) == []
    s3.put_object(Bucket=bucket, Key=".neve/tier", Body=b"deep")
    with pytest.raises(WrongSetting, match="the marker of something else"):
        app.setup(archive)
    s3.delete_object(Bucket=bucket, Key=".neve/tier")
    assert app.setup(archive) == []  # cut off before the marker
    s3.delete_object(Bucket=bucket, Key=".neve/tier")
    s3.put_object(Bucket=bucket, Key="snow/a", Body=b"")
    with pytest.raises(WrongSetting, match="no marker"):
        app.setup(archive)


@pytest.mark.parametrize(
    ("team", "words"),
    [
        ({"bucket": "neve-hot", "role_arn": "r"}, "is the bucket of tiers.hot"),
        ({"bucket": "neve-team"}, "go together"),
        ({"role_arn": "r"}, "go together"),
    ],
)
def test_settings_that_cannot_be(team, words):
    with pytest.raises(WrongSetting, match=words):
        exactly({"team": team}, "here")


def test_keys_write_one_projects_notebooks_and_nothing_else(team_door):
    keys = team_door.keys("alice", "snow")
    bucket, hot = team_door.bucket, team_door.door.bench.archive.tiers["hot"].bucket
    assert keys["buckets"] == {"team": bucket}
    team_door.s3.put_object(Bucket=bucket, Key="ice-cores/theirs", Body=b"theirs")
    team_door.s3.put_object(Bucket=bucket, Key="snow-2/theirs", Body=b"theirs")
    s3 = team_door.client(keys)
    # The controls: each kind of request that is refused below is let through in the own folder.
    first = s3.put_object(Bucket=bucket, Key="snow/a b+%é#", Body=b"1")["VersionId"]
    s3.put_object(Bucket=bucket, Key="snow/a b+%é#", Body=b"2")
    assert s3.get_object(Bucket=bucket, Key="snow/a b+%é#")["Body"].read() == b"2"
    assert s3.get_object(Bucket=bucket, Key="snow/a b+%é#", VersionId=first)["Body"].read() == b"1"
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix="snow/")["Contents"]] == ["snow/a b+%é#"]
    assert len(s3.list_object_versions(Bucket=bucket, Prefix="snow/")["Versions"]) == 2
    s3.copy_object(Bucket=bucket, Key="snow/copy", CopySource={"Bucket": bucket, "Key": "snow/a b+%é#"})
    parts = s3.create_multipart_upload(Bucket=bucket, Key="snow/parts")
    s3.abort_multipart_upload(Bucket=bucket, Key="snow/parts", UploadId=parts["UploadId"])
    s3.delete_object(Bucket=bucket, Key="snow/copy")
    assert team_door.objects("snow") == {"snow/a b+%é#": b"2"}
    for key in ("ice-cores/theirs", "snow-2/theirs", ".neve/tier", "snow"):
        refused(lambda key=key: s3.get_object(Bucket=bucket, Key=key))
        refused(lambda key=key: s3.put_object(Bucket=bucket, Key=key, Body=b"x"))
        refused(lambda key=key: s3.delete_object(Bucket=bucket, Key=key))
        refused(lambda key=key: s3.list_objects_v2(Bucket=bucket, Prefix=key))
        refused(lambda key=key: s3.list_object_versions(Bucket=bucket, Prefix=key))
        refused(lambda key=key: s3.copy_object(Bucket=bucket, Key="snow/taken", CopySource={"Bucket": bucket, "Key": key}))
    refused(lambda: s3.list_objects_v2(Bucket=bucket))
    refused(lambda: s3.list_objects_v2(Bucket=hot, Prefix="snow/"))
    refused(lambda: s3.get_object(Bucket=hot, Key="snow/x"))
    refused(lambda: s3.put_object(Bucket=hot, Key="snow/x", Body=b"x"))
    # What was written over stays: no member can end a version.
    refused(lambda: s3.delete_object(Bucket=bucket, Key="snow/a b+%é#", VersionId=first))
    assert s3.get_object(Bucket=bucket, Key="snow/a b+%é#", VersionId=first)["Body"].read() == b"1"
    s3.close()


def test_keys_that_read_data_write_no_notebooks(team_door):
    answer = team_door.door.client("token-of-alice").post("credentials", json={"project": "snow"})
    s3 = team_door.client(answer.json())
    refused(lambda: s3.put_object(Bucket=team_door.bucket, Key="snow/x", Body=b"x"))
    s3.close()


@pytest.mark.parametrize(
    ("who", "project", "status"),
    [
        ("alice", "snow", 200),
        ("bob", "ice-cores", 200),
        ("bob", "snow", 404),
        ("alice", "nowhere", 404),
        ("alice", "open", 404),  # public: read by all, written by members
        ("reader", "snow", 403),  # a member, whose token may only read
    ],
)
def test_who_gets_keys(team_door, who, project, status):
    client = team_door.door.client(f"token-of-{who}")
    answer = client.post("credentials", json={"project": project, "for": "team"})
    assert answer.status_code == status, answer.text
    assert client.get("me").json()["team_notebooks"] is True


def test_where_there_are_none(door):
    hub_token = door.hub.add("alice", "snow", scopes=["access:services!service=archiver", "custom:archiver:read", "custom:archiver:ingest"])
    client = door.client(hub_token)
    answer = client.post("credentials", json={"project": "snow", "for": "team"})
    assert (answer.status_code, answer.json()["code"]) == (501, "not-configured")
    assert client.get("me").json()["team_notebooks"] is False
    assert client.post("credentials", json={"project": "snow", "for": "else"}).status_code == 422
