"""The lab's file browser over home and team notebooks: a real Jupyter server, the real store, members of projects."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import re
import secrets
import socket
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from fixtures.site import ALL
from fixtures.team import TeamLab
from neve.errors import NotSignedIn, ServiceUnavailable
from tornado.web import HTTPError

from archiver import auth

HOSTILE = ["a b+%é#?.txt", "100%25.txt", "[ab]*.txt", "naïve;&='.txt"]
NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def lab(labs) -> TeamLab:
    return labs("alice")


@pytest.fixture
def contents(team_door, tmp_path, monkeypatch):
    from neve.contents import Contents

    monkeypatch.setenv("NEVE_API_URL", team_door.door.url)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "token-of-alice")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "root").mkdir()
    made = Contents(root_dir=str(tmp_path / "root"))
    monkeypatch.setattr(made, "emit", lambda data: None)
    yield made
    for notebooks in made._projects.values():
        notebooks.fs.s3.close()
    if made._client:
        made._client.close()


def test_the_browsers_root_is_home_with_the_projects_of_the_person_in_it(lab, team_door):
    (lab.home / "mine.txt").write_text("mine")
    assert lab.names("") == {"mine.txt", "team"}
    assert lab.names("team") == {"snow", "ice-cores"}
    assert lab.get("team/snow")["content"] == []
    assert lab.ask("PUT", "team/snow/deep", {"type": "directory"}).status_code == 201
    shown = [lab.get("team"), lab.get("team/snow"), *lab.get("")["content"], *lab.get("team")["content"], *lab.get("team/snow")["content"]]
    assert [one["last_modified"] for one in shown if one["path"].startswith("team")] == [""] * 6, "nobody knows when: the lab shows no time, not 1970"
    assert lab.ask("DELETE", "team/snow/deep").status_code == 204
    for path in ("team/open", "team/nowhere/x.txt"):
        answer = lab.ask("GET", path)
        assert (answer.status_code, "among yours" in answer.json()["message"]) == (403, True)
    assert lab.save("team/nowhere/x.txt", "x").status_code == 403
    for path in ("team", "team/snow"):
        assert lab.ask("DELETE", path).status_code == 403
        assert lab.move(path, "elsewhere").status_code == 403
    assert lab.save("team/loose.txt", "x").status_code == 403
    # As another program may send it: browsers and httpx resolve “..” themselves.
    answer = lab.http.put("api/contents/team/snow/%2E%2E/ice-cores/x.txt", json={"type": "file", "format": "text", "content": "x"})
    assert (answer.status_code, team_door.objects("ice-cores")) == (400, {})
    assert lab.save("team/snow/.hidden/x", "x").status_code == 400
    assert lab.move("", "team/snow/all").status_code == 400
    assert lab.ask("GET", "team/snow/.s3keep").status_code == 404
    assert team_door.objects() == {".neve/tier": b"team notebooks"}
    assert [path.name for path in lab.home.iterdir() if not path.name.startswith(".")] == ["mine.txt"]


def test_hostile_names_are_saved_moved_copied_and_deleted(lab, team_door):
    for name in HOSTILE:
        assert lab.save(f"team/snow/{name}", name).status_code == 201
        assert lab.get(f"team/snow/{name}")["content"] == name
        assert lab.http.get(f"files/team/snow/{quote(name)}").text == name
        assert lab.move(f"team/snow/{name}", f"team/snow/moved {name}").json()["path"] == f"team/snow/moved {name}"
        assert team_door.objects("snow") == {f"snow/moved {name}": name.encode()}
        assert lab.move(f"team/snow/moved {name}", name).status_code == 200
        assert (lab.home / name).read_text() == name and team_door.objects("snow") == {}
        copied = lab.ask("POST", "team/snow", {"copy_from": name}).json()
        assert copied["path"] == f"team/snow/{name}" and (lab.home / name).read_text() == name
        again = lab.ask("POST", "team/snow", {"copy_from": f"team/snow/{name}"}).json()
        assert "-Copy1" in again["name"]
        assert lab.ask("DELETE", f"team/snow/{name}").status_code == 204
        assert list(team_door.objects("snow").values()) == [name.encode()]
        assert lab.ask("DELETE", again["path"]).status_code == 204
    assert team_door.objects("snow") == {}


def test_folders_go_across_whole_and_back(lab, team_door):
    work = lab.home / "my work é"
    (work / "a" / "empty").mkdir(parents=True)
    (work / ".git").mkdir()
    (work / ".git" / "HEAD").write_text("ref")
    (work / "a" / "data+1.bin").write_bytes(bytes(range(256)))
    assert lab.move("my work é", "team/snow/ours").status_code == 200
    assert not work.exists()
    folders = {f"snow/ours{folder}/.s3keep": b"" for folder in ("", "/.git", "/a", "/a/empty")}
    assert team_door.objects("snow") == {**folders, "snow/ours/.git/HEAD": b"ref", "snow/ours/a/data+1.bin": bytes(range(256))}
    assert lab.names("team/snow/ours") == {"a"} and lab.names("team/snow/ours/a") == {"data+1.bin", "empty"}
    assert lab.move("team/snow/ours", "team/ice-cores/theirs").status_code == 200
    assert team_door.objects("snow") == {} and len(team_door.objects("ice-cores")) == 6
    assert lab.move("team/ice-cores/theirs", "team/ice-cores/theirs/in itself").status_code == 400
    assert lab.move("team/ice-cores/theirs", "team/ice-cores/renamed").status_code == 200
    assert lab.ask("DELETE", "team/ice-cores/renamed/a/empty").status_code == 204
    assert lab.names("team/ice-cores/renamed/a") == {"data+1.bin"}
    assert lab.ask("POST", "team/ice-cores/renamed", {"copy_from": "team/ice-cores/renamed/a"}).json()["path"] == "team/ice-cores/renamed/a-Copy1"
    assert lab.ask("DELETE", "team/ice-cores/renamed/a-Copy1/data+1.bin").status_code == 204
    assert lab.names("team/ice-cores/renamed") == {"a", "a-Copy1"}, "a folder stays when its last file goes"
    assert lab.move("team/ice-cores/renamed", "back").status_code == 200
    assert team_door.objects("ice-cores") == {}
    assert (lab.home / "back" / "a" / "data+1.bin").read_bytes() == bytes(range(256)) and (lab.home / "back" / "a-Copy1").is_dir()
    assert (lab.home / "back" / ".git" / "HEAD").read_text() == "ref"


def test_what_cannot_go_across_stays_where_it_is(lab, team_door):
    (lab.home / "f").mkdir()
    (lab.home / "f" / "x").write_text("x")
    (lab.home / "f" / "link").symlink_to("/etc")
    answer = lab.move("f", "team/snow/f")
    assert answer.status_code == 400 and "“f/link” is a link" in answer.json()["message"]
    lab.save("team/snow/taken", "theirs")
    (lab.home / "taken").write_text("mine")
    assert lab.move("taken", "team/snow/taken").status_code == 409
    assert lab.move("team/snow/taken", "taken").status_code == 409
    assert (lab.home / "taken").read_text() == "mine" and team_door.objects("snow") == {"snow/taken": b"theirs"}


def test_a_key_that_no_folder_can_hold_does_not_leave_the_store(contents, team_door, monkeypatch):
    """Another S3 program can make one; SeaweedFS takes none, AWS does."""
    team_door.s3.put_object(Bucket=team_door.bucket, Key="snow/evil/x", Body=b"x")
    notebooks = asyncio.run(contents.place("team/snow/x")).notebooks
    for entry in ("/../../escaped", "//x", "/./x"):
        monkeypatch.setattr(notebooks.fs, "tree", lambda path, entry=entry: ["/x", entry])
        with pytest.raises(HTTPError, match=f"holds “{re.escape(entry)}”, which can be no name in a folder"):
            asyncio.run(contents.rename("team/snow/evil", "evil"))
    root = Path(contents.root_dir)
    assert list(root.iterdir()) == [] and list(root.parent.rglob("escaped")) == []
    assert team_door.objects("snow") == {"snow/evil/x": b"x"}


def test_big_uploads_come_in_pieces_and_are_one_version(lab, team_door):
    pieces = [secrets.token_bytes(1 << 20) for _ in range(9)]

    def send(number: int, piece: bytes) -> int:
        body = {"type": "file", "format": "base64", "content": base64.b64encode(piece).decode(), "chunk": number}
        return lab.ask("PUT", "team/snow/big file.bin", body).status_code

    assert send(2, b"x") == 409  # its beginning is not there
    assert send(1, pieces[0]) == 201
    assert send(1, b"of another tab") == 409
    assert send(3, pieces[2]) == 409
    assert [send(number, piece) for number, piece in enumerate(pieces[1:-1], 2)] == [201] * 7
    assert team_door.objects("snow") == {}
    assert send(-1, pieces[-1]) == 201
    assert team_door.objects("snow") == {"snow/big file.bin": b"".join(pieces)}
    versions = team_door.s3.list_object_versions(Bucket=team_door.bucket, Prefix="snow/")["Versions"]
    assert len(versions) == 1
    assert [send(1, b"again, "), send(-1, b"from the start")] == [200, 200]
    assert team_door.objects("snow") == {"snow/big file.bin": b"again, from the start"}
    answer = lab.http.get("files/team/snow/big%20file.bin", params={"download": "1"})
    assert answer.content == b"again, from the start" and "attachment" in answer.headers["content-disposition"]


def test_two_people_who_save_at_once_see_it_and_lose_nothing(labs, team_door):
    alice, bob = labs("alice"), labs("bob")
    path = "team/ice-cores/shared.ipynb"
    assert alice.ask("PUT", path, {"type": "notebook", "content": NOTEBOOK}).status_code == 201
    opened = bob.get(path, content="0", hash="1")
    changed = {**NOTEBOOK, "metadata": {"by": "alice"}}
    assert alice.ask("PUT", path, {"type": "notebook", "content": changed}).status_code == 200
    # What JupyterLab asks before it saves: another hash, and it says that the file has changed.
    now = bob.get(path, content="0", hash="1")
    assert now["hash"] != opened["hash"] and now["last_modified"] >= opened["last_modified"]
    assert bob.get(path, hash="1")["content"]["metadata"]["by"] == "alice"
    # bob overwrites all the same: hers is a checkpoint to go back to.
    assert bob.ask("PUT", path, {"type": "notebook", "content": NOTEBOOK}).status_code == 200
    kept = alice.ask("GET", f"{path}/checkpoints").json()
    assert len(kept) == 3
    assert alice.ask("POST", f"{path}/checkpoints").json() == kept[-1]
    assert alice.ask("POST", f"{path}/checkpoints/{kept[1]['id']}").status_code == 204
    assert bob.get(path)["content"]["metadata"]["by"] == "alice"
    assert alice.ask("DELETE", f"{path}/checkpoints/{kept[0]['id']}").status_code == 403
    assert alice.ask("POST", f"{path}/checkpoints/{b'no such'.hex()}").status_code == 404
    assert not [place for place in alice.home.rglob("*") if "shared" in place.name]
    assert "<title>shared</title>" in alice.http.get(f"nbconvert/html/{path}").text
    assert bob.ask("GET", "team/snow").status_code == 403


def test_new_names_are_counted_up_and_a_notebooks_kernel_starts_at_home(lab):
    made = [lab.ask("POST", "team/snow", {"type": kind}).json()["path"] for kind in ("notebook", "notebook", "directory", "directory")]
    assert made == [f"team/snow/{name}" for name in ("Untitled.ipynb", "Untitled1.ipynb", "Untitled Folder", "Untitled Folder 1")]
    (lab.home / "sub").mkdir()
    (lab.home / "team" / "snow").mkdir(parents=True)  # made by a kernel meanwhile: neither shown nor started in
    for path, cwd in (("team/snow/Untitled.ipynb", lab.home), ("sub/x.ipynb", lab.home / "sub")):
        answer = lab.http.post("api/sessions", json={"path": path, "type": "notebook", "name": "", "kernel": {"name": "python3"}})
        assert answer.status_code == 201, answer.text
        kernel = answer.json()["kernel"]["id"]
        assert [place.joinpath("cwd").resolve() for place in Path("/proc").glob("[0-9]*") if kernel in command_of(place)] == [cwd]
        assert lab.http.delete(f"api/sessions/{answer.json()['id']}").status_code == 204


def command_of(process: Path) -> str:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        return process.joinpath("cmdline").read_text()
    return ""


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "is silent"])
def test_while_the_archiver_is_away_home_works_and_team_says_so(labs, free_port, silent):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) if silent else contextlib.nullcontext():
        lab = labs("alice", NEVE_API_URL=f"http://127.0.0.1:{port}/services/archiver")
        assert lab.save("x.txt", "x").status_code == 201
        before = time.monotonic()
        assert lab.names("") == {"x.txt", "team"}
        assert time.monotonic() - before < 4
        sentence = f"The archiver at http://127.0.0.1:{port}"
        answer = lab.ask("GET", "team/snow/x.ipynb", type="notebook")
        assert answer.status_code == 503 and sentence in answer.json()["message"]
        # The lab is silent where a listing is refused: a file says it.
        assert lab.names("team") == {"NEVE-AWAY.txt"} and sentence in lab.get("team/NEVE-AWAY.txt", type="file", hash="1")["content"]
        assert lab.get("team/NEVE-AWAY.txt", content="0")["writable"] is False
        assert lab.move("x.txt", "team/snow/x.txt").status_code == 503
        assert (lab.home / "x.txt").read_text() == "x"


def test_while_the_store_is_away_home_works_and_team_says_so(labs, free_port):
    lab = labs("alice", NEVE_S3_URL=f"http://127.0.0.1:{free_port()}")
    (lab.home / "x.txt").write_text("x")
    assert lab.names("") == {"x.txt", "team"} and lab.names("team") == {"snow", "ice-cores"}
    sentence = "The store of team notebooks cannot be reached"
    for answer in (lab.ask("GET", "team/snow/a", type="file"), lab.save("team/snow/a", "a"), lab.move("x.txt", "team/snow/x.txt")):
        assert (answer.status_code, sentence in answer.json()["message"]) == (503, True)
    assert lab.names("team/snow") == {"NEVE-AWAY.txt"} and sentence in lab.get("team/snow/NEVE-AWAY.txt")["content"]
    assert lab.http.get("files/team/snow/a").status_code == 503
    assert lab.names("") == {"x.txt", "team"}


def test_who_is_in_no_project_or_may_only_read_is_told(labs, team_door):
    team_door.door.hub.add("newcomer", scopes=[*ALL, auth.INGEST])
    lab = labs("newcomer")
    assert lab.names("") == {"team"} and lab.names("team") == set()
    assert lab.ask("GET", "team/snow").status_code == 403
    answer = labs("reader").ask("GET", "team/snow")
    assert answer.status_code == 403 and "custom:archiver:ingest" in answer.json()["message"]


def test_a_member_no_more_is_refused_but_an_archiver_away_later_changes_nothing(contents, monkeypatch):
    def saved(path: str) -> str:
        return asyncio.run(contents.save({"type": "file", "format": "text", "content": "x"}, path))["path"]

    def then(error: Exception) -> None:
        monkeypatch.setattr(contents._client, "me", lambda: (_ for _ in ()).throw(error))
        contents._ask_at = 0

    assert saved("team/snow/a") == "team/snow/a"
    then(ServiceUnavailable("Away."))
    assert saved("team/snow/b") == "team/snow/b"
    then(NotSignedIn("Your sign-in is not known any more."))
    with pytest.raises(HTTPError) as refusal:
        saved("team/snow/c")
    assert (refusal.value.status_code, refusal.value.log_message) == (403, "Your sign-in is not known any more.")
    assert asyncio.run(contents.get(""))["content"][0]["name"] == "team"


@pytest.mark.parametrize("damage", ["copy fails", "copy is wrong", "source changes"])
def test_a_move_that_goes_wrong_anywhere_loses_nothing(contents, team_door, monkeypatch, damage):
    root = Path(contents.root_dir)
    (root / "f").mkdir()
    for name in ("a", "b"):
        (root / "f" / name).write_text(name)
    notebooks = asyncio.run(contents.place("team/snow/x")).notebooks
    put = notebooks.fs.put

    def damaged(path, file):
        if path.endswith("/b"):
            if damage == "copy fails":
                raise HTTPError(503, "The store went away.")
            if damage == "source changes":
                (root / "f" / "a").write_text("changed")
            else:
                put(path, file)
                team_door.s3.put_object(Bucket=team_door.bucket, Key=f"snow/{path}", Body=b"wrong")
                return
        put(path, file)

    monkeypatch.setattr(notebooks.fs, "put", damaged)
    with pytest.raises(HTTPError):
        asyncio.run(contents.rename("f", "team/snow/f"))
    assert {path.name for path in (root / "f").iterdir()} == {"a", "b"} and (root / "f" / "b").read_text() == "b"
    assert team_door.objects("snow") == {}


def test_what_cannot_be_deleted_after_it_was_copied_is_said_to_be_in_both_places(contents, team_door, monkeypatch):
    """As on /data, which is read-only."""
    kept = Path(contents.root_dir) / "x"
    kept.write_text("x")
    monkeypatch.setattr(Path, "unlink", lambda place, missing_ok: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only file system")))
    with pytest.raises(HTTPError, match=r"“x” was copied, but it cannot be deleted \(Read-only file system\): it is in both places now"):
        asyncio.run(contents.rename("x", "team/snow/x"))
    assert kept.read_text() == "x" and team_door.objects("snow") == {"snow/x": b"x"}


def test_a_notebook_takes_no_checkpoint_of_its_home_along(contents, team_door):
    async def away() -> None:
        await contents.save({"type": "notebook", "content": NOTEBOOK}, "x.ipynb")
        assert len(await contents.list_checkpoints("x.ipynb")) == 1
        await contents.rename("x.ipynb", "team/snow/x.ipynb")
        assert await contents.list_checkpoints("x.ipynb") == []

    asyncio.run(away())
    assert set(team_door.objects("snow")) == {"snow/x.ipynb"}


def test_a_folder_of_ones_own_called_team_wins(team_door, tmp_path, monkeypatch):
    from neve.contents import Contents

    (tmp_path / "team" / "snow").mkdir(parents=True)
    (tmp_path / "team" / "snow" / "x").write_text("mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    own = Contents(root_dir=str(tmp_path))
    monkeypatch.setattr(own, "emit", lambda data: None)
    assert asyncio.run(own.get("team/snow/x"))["content"] == "mine"
