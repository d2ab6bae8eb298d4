"""Team notebooks as people have them: their own servers, started by the hub, one store behind."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import pytest
from fixtures.processes import wait_until
from hub.people import environment_of, spawn, stop

KNOWN_WITHIN_S = 60  # to the hub, the archiver and the server, each of which asks again now and then
NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
PATH = "team/alpine-ice/Our fit + 10 %.ipynb"


@dataclass
class Person:
    """Somebody whose server runs, by its API."""

    api: httpx.Client
    contents: str

    def ask(self, method: str, path: str, body=None) -> httpx.Response:
        return self.api.request(method, f"{self.contents}/{quote(path)}", json=body)

    def names(self, path: str) -> set[str]:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return {item["name"] for item in answer.json()["content"]}


@pytest.fixture
def person(hub):
    """Starts somebody's server, which ends with the test."""
    with ExitStack() as held:

        def start(user: str) -> Person:
            api = held.enter_context(hub.api(user))
            held.callback(stop, api, user)
            spawn(api, user)
            return Person(api, f"{hub.url}/user/{user}/api/contents")

        yield start


@pytest.fixture
def members(hub):
    """The admin's hand on who is in alpine-ice, which is as it was after the test."""
    with hub.api("admin") as api:

        def change(method: str) -> None:
            answer = api.request(method, "/groups/alpine-ice/users", json={"users": ["bob"]})
            assert answer.status_code == 200, answer.text

        yield change
        change("DELETE")


def test_members_share_them_and_nobody_else_sees_them(hub, person, members):
    alice, bob = person("alice"), person("bob")
    assert {"Start here.ipynb", "team"} <= alice.names("")
    assert alice.names("team") == {"alpine-ice", "snow-physics"} and bob.names("team") == {"battery-cycling"}
    saved = alice.ask("PUT", PATH, {"type": "notebook", "content": NOTEBOOK})
    assert (saved.status_code, saved.json()["path"]) == (201, PATH)
    assert alice.ask("PUT", "team/alpine-ice/peaks.csv", {"type": "file", "format": "text", "content": "q,i\n0.1,42\n"}).status_code == 201
    refused = bob.ask("GET", PATH)
    assert refused.status_code == 403 and "There is no project “alpine-ice” among yours" in refused.json()["message"]
    assert bob.ask("PUT", PATH, {"type": "notebook", "content": NOTEBOOK}).status_code == 403

    members("POST")
    wait_until(lambda: bob.names("team") == {"alpine-ice", "battery-cycling"}, KNOWN_WITHIN_S, "bob in alpine-ice", pause_s=1)
    assert bob.names("team/alpine-ice") == {"Our fit + 10 %.ipynb", "peaks.csv"}
    assert bob.ask("PUT", PATH, {"type": "notebook", "content": {**NOTEBOOK, "metadata": {"by": "bob"}}}).status_code == 200
    assert alice.ask("GET", PATH).json()["content"]["metadata"]["by"] == "bob"
    assert len(alice.ask("GET", f"{PATH}/checkpoints").json()) == 2

    # What the README says of files beside a team notebook: no path leads there, the profile does.
    line = "import pandas as pd; print(pd.read_csv('s3://neve-team/alpine-ice/peaks.csv', storage_options={'profile': 'neve-team-alpine-ice'}).i[0])"
    done = subprocess.run([sys.executable, "-c", line], env=environment_of(hub.home, "alice"), capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr

    members("DELETE")
    wait_until(lambda: bob.ask("GET", PATH).status_code == 403, KNOWN_WITHIN_S, "bob out of alpine-ice", pause_s=1)
    for path in (PATH, "team/alpine-ice/peaks.csv"):
        assert alice.ask("DELETE", path).status_code == 204


def test_who_is_in_no_project_has_a_home_and_no_team_notebooks(person):
    admin = person("admin")
    assert "team" in admin.names("") and admin.names("team") == set()
    assert admin.ask("PUT", "notes.txt", {"type": "file", "format": "text", "content": "mine"}).status_code == 201
