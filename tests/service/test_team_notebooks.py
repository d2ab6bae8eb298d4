"""Team notebooks in S3 as a contents manager, on the real store with a member's own keys."""

from __future__ import annotations

import base64
import contextlib
import io
from datetime import UTC, datetime, timedelta

import nbformat
import pytest
from neve.client import Client
from neve.errors import NotFound
from tornado.web import HTTPError

HOSTILE = ["a b+%é#?.txt", "100%25.txt", "[ab]*?.txt", "x?versionId=1", "s3:", "naïve;&='\".txt", "日本.txt"]


def text(content: str) -> dict:
    return {"type": "file", "format": "text", "content": content}


@pytest.fixture
def snow(team_door):
    from neve.team import TeamNotebooks

    with contextlib.closing(Client(team_door.door.url, "token-of-alice")) as client:
        manager = TeamNotebooks(client, "snow")
        yield manager
        manager.fs.s3.close()


def refused(status: int, attempt) -> str:
    with pytest.raises(HTTPError) as answer:
        attempt()
    assert answer.value.status_code == status
    return answer.value.log_message


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_keys_as_they_are(snow, team_door, name):
    for path in (name, f"{name} folder/{name}"):
        saved = snow.save(text("eins\n"), path)
        assert (saved["path"], saved["name"], saved["size"], saved["content"]) == (path, name, 5, None)
        assert snow.get(path)["content"] == "eins\n"
        assert team_door.objects("snow")[f"snow/{path}"] == b"eins\n"
    assert {item["name"] for item in snow.get("")["content"]} == {name, f"{name} folder"}
    assert [item["path"] for item in snow.get(f"{name} folder")["content"]] == [f"{name} folder/{name}"]


def test_a_delete_takes_no_neighbour_and_is_a_marker(snow, team_door):
    for path in ("[ab]", "a", "a*", "ab", "d/x", "d2/x", "d/e/y"):
        snow.save(text(path), path)
    snow.delete_file("[ab]")
    snow.delete_file("a*")
    snow.delete_file("d")
    assert set(team_door.objects("snow")) == {"snow/a", "snow/ab", "snow/d2/x"}
    kept = team_door.s3.list_object_versions(Bucket=team_door.bucket, Prefix="snow/d/")
    assert [version["Key"] for version in kept["Versions"]] == ["snow/d/e/y", "snow/d/x"]
    assert refused(404, lambda: snow.get("d")) == "There is no “d” in the team notebooks of snow."


def test_folders_stay_when_empty_and_are_no_files(snow, team_door):
    snow.save({"type": "directory"}, "new folder")
    assert snow.get("new folder")["content"] == []
    assert [(item["name"], item["type"]) for item in snow.get("")["content"]] == [("new folder", "directory")]
    snow.save(text("x"), "file")
    refused(409, lambda: snow.save(text("x"), "new folder"))
    refused(409, lambda: snow.save({"type": "directory"}, "file"))
    refused(400, lambda: snow.get("file", type="directory"))
    team_door.s3.put_object(Bucket=team_door.bucket, Key="snow/from another program/", Body=b"")
    assert snow.get("from another program")["content"] == []
    snow.delete_file("from another program")
    assert set(team_door.objects("snow")) == {"snow/file", "snow/new folder/.s3keep"}


@pytest.mark.parametrize("path", ["../ice-cores/x", "a/../../ice-cores/x", "a//b", "./a", ".."])
def test_what_leads_elsewhere_is_no_name(snow, team_door, path):
    refused(400, lambda: snow.save(text("x"), path))
    assert team_door.objects("snow") == {}


def test_notebooks_are_written_as_jupyter_writes_them(snow, team_door):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('é')", metadata={"trusted": True})])
    saved = snow.save({"type": "notebook", "format": "json", "content": nb}, "é.ipynb")
    assert saved["type"] == "notebook"
    stored = team_door.objects("snow")["snow/é.ipynb"].decode("utf-8")
    assert "print('é')" in stored and "trusted" not in stored and stored.startswith('{\n "cells"')
    assert snow.get("é.ipynb")["content"]["cells"][0]["source"] == "print('é')"


def test_bytes_come_back_as_they_were(snow):
    content = bytes(range(256)) * 10
    snow.save({"type": "file", "format": "base64", "content": base64.b64encode(content).decode()}, "b.bin")
    model = snow.get("b.bin")
    assert (model["format"], base64.b64decode(model["content"])) == ("base64", content)
    refused(400, lambda: snow.get("b.bin", format="text"))
    refused(400, lambda: snow.save({"type": "file", "format": "base64", "content": "é"}, "c.bin"))


def test_what_another_saves_is_seen_at_once_even_within_a_second(snow, team_door):
    snow.save(text("mine"), "shared.txt")
    mine = snow.get("shared.txt")
    team_door.s3.put_object(Bucket=team_door.bucket, Key="snow/shared.txt", Body=b"hers")
    now = snow.get("shared.txt", content=False)
    assert now["hash"] != mine["hash"] and now["last_modified"] >= mine["last_modified"]
    assert snow.get("shared.txt")["content"] == "hers"
    snow.save(text("over hers"), "shared.txt")
    versions = snow.fs.versions("shared.txt")
    assert len(versions) == 3
    snow.fs.copy("shared.txt", "shared.txt", versions[1]["VersionId"])
    assert snow.get("shared.txt")["content"] == "hers" and len(snow.fs.versions("shared.txt")) == 4


def test_big_files_go_in_parts(snow, team_door):
    content = b"0123456789abcdef" * (20 * 65536)
    snow.fs.put("big.bin", io.BytesIO(content))
    assert team_door.objects("snow")["snow/big.bin"] == content
    snow.fs.copy("big.bin", "again+big.bin")
    assert team_door.objects("snow")["snow/again+big.bin"] == content


def test_keys_that_end_are_renewed(team_door, monkeypatch):
    from neve.team import TeamNotebooks

    given = []

    class Ending(Client):
        def credentials(self, project, *, team=False):
            keys = super().credentials(project, team=team)
            given.append(keys.access_key_id)
            if len(given) == 1:  # as after a night
                object.__setattr__(keys, "session_token", "of yesterday")
                object.__setattr__(keys, "expires_at", datetime.now(UTC) - timedelta(hours=8))
            return keys

    with contextlib.closing(Ending(team_door.door.url, "token-of-alice")) as client:
        manager = TeamNotebooks(client, "snow")
        manager.save(text("after a night"), "x")
        assert len(given) == 2 and team_door.objects("snow") == {"snow/x": b"after a night"}
        with pytest.raises(NotFound, match="no such project among yours"):
            TeamNotebooks(client, "nowhere")
        manager.fs.s3.close()
