"""A notebook as a local process: its environment, its token, its end. And the archiver, as the hub and the notebook see it."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import httpx
import pytest
from fixtures.processes import wait_until
from fixtures.requirements import fuse_missing
from hub.people import environment_of, spawn, stop


@pytest.fixture(scope="module")
def alice(hub):
    """alice's server runs; its environment."""
    with hub.api("alice") as api:
        spawn(api, "alice")
        yield environment_of(hub.home, "alice")
        stop(api, "alice")


def test_its_environment_is_the_contract(hub, alice):
    port = int(hub.url.rpartition(":")[2])
    assert alice["NEVE_API_URL"] == f"{hub.url}/services/archiver"
    assert alice["NEVE_S3_URL"] == f"http://127.0.0.1:{port + 1}"
    assert alice["HOME"] == str(hub.home / "homes" / "alice")
    assert stat.S_IMODE(Path(alice["HOME"]).stat().st_mode) == 0o700
    if fuse_missing() is None:
        assert alice["NEVE_DATA"] == str(hub.home / "data" / "users" / "alice")
        assert alice["NEVE_SHARED"] == str(hub.home / "data" / "shared" / "users" / "alice")
        (Path(alice["HOME"]) / "shared" / "alpine-ice" / "notes.txt").write_text("ours")
        assert (hub.home / "shared" / "alpine-ice" / "notes.txt").read_text() == "ours"
    assert not [name for name in alice if "SECRET" in name or name in ("NEVE_CONFIG", "AWS_ACCESS_KEY_ID")]


def test_its_own_page_opens_for_it_alone(hub, alice):
    with hub.person("alice") as client:
        assert client.get("/user/alice/lab").status_code == 200  # logs in at the server, through the hub
        assert client.get("/user/alice/api/status").status_code == 200
    with hub.person("bob") as client:
        assert client.get("/user/alice/lab").status_code == 403
        assert client.get("/user/alice/api/status").status_code == 403


def test_its_token_holds_what_the_notebook_needs_and_no_more(hub, alice):
    headers = {"Authorization": f"Bearer {alice['JUPYTERHUB_API_TOKEN']}"}
    with httpx.Client(base_url=alice["JUPYTERHUB_API_URL"], headers=headers) as client:
        me = client.get("/user").json()
        assert me["name"] == "alice" and not me["admin"]
        assert set(me["groups"]) == {"alpine-ice", "snow-physics"}
        scopes = set(me["scopes"])
        assert {"access:services!service=archiver", *(f"custom:archiver:{right}" for right in ("read", "restore", "ingest"))} <= scopes
        assert "custom:archiver:admin" not in scopes
        assert client.get("/users/bob").status_code == 404
        assert client.post("/users/alice/tokens").status_code in (403, 404)


def test_an_admins_notebook_is_no_admin(hub):
    with hub.api("admin") as api:
        spawn(api, "admin")
        try:
            env = environment_of(hub.home, "admin")
            with httpx.Client(headers={"Authorization": f"Bearer {env['JUPYTERHUB_API_TOKEN']}"}) as client:
                assert "custom:archiver:admin" not in client.get(f"{env['JUPYTERHUB_API_URL']}/user").json()["scopes"]
                assert client.get(f"{env['JUPYTERHUB_API_URL']}/users").status_code == 403
        finally:
            stop(api, "admin")


def test_the_archiver_stands_in_the_services_menu(hub):
    with hub.person("alice") as client:
        assert 'href="/services/archiver/"' in client.get("/hub/home").text


def test_what_admins_announce_stands_on_the_hubs_pages_and_in_the_lab(hub, alice):
    text = "The store rests <b>on Friday</b>."
    with hub.api("admin") as api, hub.person("alice") as lab, httpx.Client(base_url=hub.url) as anybody:
        announcements = f"{hub.url}/services/archiver/api/v1/announcements"

        def told() -> list[str]:
            return re.findall(r"announcement alert[^>]*>(.*?)</div>", anybody.get("/hub/login").text)

        assert told() == []
        assert api.post(announcements, json={"text": text, "until": "2027-01-31"}).status_code == 201
        try:
            wait_until(told, 30, "the hub's hearing of it")
            assert told() == ["The store rests &lt;b&gt;on Friday&lt;/b&gt;."]
            assert told()[0] in lab.get("/hub/home").text
            assert lab.get("/user/alice/lab").status_code == 200
            assert [one["message"] for one in lab.get("/user/alice/lab/api/news").json()["news"]] == [text]
        finally:
            assert api.delete(announcements).status_code == 204
        wait_until(lambda: told() == [], 30, "its end")
        assert lab.get("/user/alice/lab/api/news").json()["news"] == []


def test_the_archiver_knows_whose_notebook_asks(hub, alice):
    with httpx.Client(headers={"Authorization": f"Bearer {alice['JUPYTERHUB_API_TOKEN']}"}) as client:
        answer = client.get(f"{alice['NEVE_API_URL']}/api/v1/me")
    assert answer.status_code == 200, answer.text
    assert answer.json()["name"] == "alice"
    assert set(answer.json()["projects"]) == {"alpine-ice", "snow-physics"}


def test_the_archivers_page_opens_after_login(hub):
    with hub.person("bob") as client:
        answer = client.get("/services/archiver/")
        assert answer.status_code == 200 and answer.url.path.startswith("/services/archiver/"), answer.text[:500]


def test_after_its_stop_nothing_of_it_runs(hub):
    with hub.api("bob") as api:
        spawn(api, "bob")
        pid = environment_of(hub.home, "bob")["PID"]
        stop(api, "bob")
    assert not Path(f"/proc/{pid}").exists()
    assert not (hub.home / "run" / "mounts" / "bob.json").exists()
