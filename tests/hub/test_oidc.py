"""Login at a real OpenID Connect provider: who gets in, to which projects, and what changes while they work."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from fixtures.instance import leftovers_of, start_instance
from fixtures.processes import BIN, wait_until
from fixtures.provider import TOKENS_LAST_S, Provider
from hub.people import Hub, spawn, stop, xsrf
from neve_hub import settings_file
from neve_hub.instance import Instance

from archiver.config import exactly

if TYPE_CHECKING:
    from playwright.sync_api import Page

SETTINGS = """
[login]
issuer = "{issuer}"
name = "LabLogin"
client_secret_file = "{secret}"
allowed_groups = ["snow", "ice-cores"]
admin_groups = ["it"]
refresh = "PT1S"
"""
PEOPLE: dict[str, dict[str, Any]] = {
    "alice": {"preferred_username": "alice", "groups": ["/snow", "/tea"]},
    "bob": {"preferred_username": "bob", "groups": ["/ice-cores"]},
    "eve": {"preferred_username": "eve", "groups": ["/tea"]},
    "root": {"preferred_username": "root", "groups": ["/it"]},
    "zoe": {"preferred_username": "Zoé.ÆRØ+lab@lab.fr", "groups": ["/snow"]},
    "zoe2": {"preferred_username": "zoé.ærø+lab@lab.fr", "groups": ["/ice-cores"]},
    "namesake": {"preferred_username": "alice", "groups": ["/ice-cores"]},
    "slash": {"preferred_username": "a/b", "groups": ["/snow"]},
    "long": {"preferred_username": "x" * 201, "groups": ["/snow"]},
    "nameless": {"groups": ["/snow"]},
    "many": {"preferred_username": "many", "_claim_names": {"groups": "src1"}, "hasgroups": True},
}


@dataclass
class Lab:
    """A hub with its provider."""

    hub: Hub
    provider: Provider

    @contextmanager
    def person(self, login: str) -> Iterator[httpx.Client]:
        """Somebody with a browser, logged in."""
        with httpx.Client(base_url=self.hub.url, timeout=60, follow_redirects=True) as client:
            page = self.provider.log_in(client, login)
            assert page.status_code == 200 and page.url.path == "/hub/home", page.text[:1000]
            yield client

    def refusal(self, login: str) -> tuple[int, str]:
        """What somebody is told who does not get in."""
        with httpx.Client(base_url=self.hub.url, timeout=60, follow_redirects=True) as client:
            page = self.provider.log_in(client, login)
            assert client.get("/hub/home").url.path == "/hub/login"
            return page.status_code, _text(page.text)

    def token(self, client: httpx.Client, user: str) -> httpx.Client:
        """A program of theirs, with a token that they made."""
        page = client.get("/hub/token")
        made = client.post(f"/hub/api/users/{quote(user)}/tokens", json={"expires_in": 3600}, headers={"X-XSRFToken": xsrf(client, page)})
        assert made.status_code == 201, made.text
        return httpx.Client(base_url=self.hub.url, headers={"Authorization": f"Bearer {made.json()['token']}"}, timeout=60)


def _text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).replace("&#39;", "'").split())


def groups(program: httpx.Client) -> list[str]:
    return sorted(program.get("/hub/api/user").json()["groups"])


def projects(program: httpx.Client) -> list[str]:
    return sorted(program.get("/services/archiver/api/v1/me").json()["projects"])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, port_base: Callable[..., int], provider_for: Callable[[str], Provider]) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("lab") / "home"
    home.mkdir()
    port = port_base()
    provider = provider_for(f"http://127.0.0.1:{port}")
    provider.say(PEOPLE)
    secret = home / "client-secret"
    secret.write_text(provider.secret + "\n", "utf-8")
    text = settings_file.first(Instance(exactly({"home": str(home), "port": port}, "test")))
    text = text.replace("[api]\n", "[api]\nidentity_seconds = 1\n") + SETTINGS.format(issuer=provider.url, secret=secret)
    (home / "neve.toml").write_text(text, "utf-8")
    env = {"NEVE_HUB__DOCKER": "never", "NEVE_HUB__MOUNTS": "auto"}
    running = start_instance(home, port, env=env, command=(BIN / "neve-run", "--demo", "none"))
    try:
        assert f"people log in at {provider.url}" in running.process.output()
        assert running.passwords == {}
        for project in ("snow", "ice-cores", "tea"):
            subprocess.run([BIN / "archiver", "projects", "add", project], env=running.env, check=True, cwd=home, timeout=60)
        yield Lab(Hub(running), provider)
    finally:
        running.process.stop()
    assert not leftovers_of(home), running.process.tail()


def test_members_get_in_and_their_groups_are_projects(lab: Lab):
    with lab.person("alice") as client, lab.token(client, "alice") as program:
        assert groups(program) == ["snow", "tea"]
        assert projects(program) == ["snow", "tea"]
        assert program.get("/hub/api/users").status_code == 403
    with lab.person("bob") as client, lab.token(client, "bob") as program:
        assert projects(program) == ["ice-cores"]


def test_others_are_told_why_not(lab: Lab):
    status, said = lab.refusal("eve")
    assert status == 403
    assert said.count("LabLogin knows you, but you are in no group that may work here. Ask the facility's user office") == 1
    assert "You cannot come in here" in said and "To the login" in said


@pytest.mark.parametrize(
    ("login", "words"),
    [
        ("slash", "gives no user name that can be used here (its claim preferred_username)"),
        ("long", "gives no user name that can be used here (its claim preferred_username)"),
        ("nameless", "gives no user name that can be used here (its claim preferred_username)"),
        ("many", "left out your groups, because there are too many for it to tell"),
    ],
)
def test_what_cannot_be_a_person_here_is_refused_with_a_sentence(lab: Lab, login: str, words: str):
    status, said = lab.refusal(login)
    assert status == 403 and words in said, said


def test_a_name_is_taken_as_written_and_belongs_to_who_came_first(lab: Lab):
    for login in ("zoe", "zoe2"):
        name = PEOPLE[login]["preferred_username"]
        with lab.person(login) as client, lab.token(client, name) as program:
            assert program.get("/hub/api/user").json()["name"] == name
            assert projects(program) == [PEOPLE[login]["groups"][0].strip("/")]
    with lab.person("alice"):
        pass
    status, said = lab.refusal("namesake")
    assert status == 403 and "The name alice belongs to another person here" in said


def test_admins_are_whom_the_provider_names(lab: Lab):
    with lab.person("root") as client, lab.token(client, "root") as program:
        assert client.get("/hub/admin").status_code == 200
        assert program.get("/hub/api/users").status_code == 200
        assert program.get("/services/archiver/api/v1/me").json()["admin"] is True
        try:
            lab.provider.change("root", groups=["/snow"])
            wait_until(lambda: program.get("/hub/api/users").status_code == 403, 20, "the end of an admin's rights")
            wait_until(lambda: program.get("/services/archiver/api/v1/me").json()["admin"] is False, 20, "the archiver's hearing of it")
        finally:
            lab.provider.change("root", groups=["/it"])


def test_a_group_gained_or_lost_counts_while_somebody_works(lab: Lab):
    with lab.person("alice") as client, lab.token(client, "alice") as program:
        try:
            lab.provider.change("alice", groups=["/ice-cores"])
            wait_until(lambda: projects(program) == ["ice-cores"], 20, "another project")
            assert client.get("/hub/home").url.path == "/hub/home"
            lab.provider.change("alice", groups=["/tea"])  # in no allowed group any more
            wait_until(lambda: projects(program) == [], 20, "no project")
            assert client.get("/hub/home").url.path == "/hub/login"
            assert lab.refusal("alice")[0] == 403
        finally:
            lab.provider.change("alice", groups=["/snow", "/tea"])


@pytest.mark.fuse
@pytest.mark.usefixtures("fuse")
def test_a_group_lost_counts_where_a_notebook_runs_and_nobody_asks_the_hub_anything(lab: Lab):
    wanted = lab.hub.home / "run" / "mounts" / "alice.json"

    def shown() -> list[str]:
        return json.loads(wanted.read_text("utf-8"))["projects"]

    def server(program: httpx.Client) -> httpx.Client:
        return httpx.Client(base_url=f"{lab.hub.url}/hub/api", headers=program.headers, timeout=60)

    with lab.person("alice") as client, lab.token(client, "alice") as program, server(program) as api:
        spawn(api, "alice")
    try:
        assert shown() == ["snow", "tea"]
        lab.provider.change("alice", groups=["/ice-cores"])
        wait_until(lambda: shown() == ["ice-cores"], 60, "what its /data follows")
        lab.provider.change("alice", groups=["/tea"])  # in no allowed group any more
        wait_until(lambda: shown() == [], 60, "no project")
    finally:
        lab.provider.change("alice", groups=["/snow", "/tea"])
        with lab.person("alice") as client, lab.token(client, "alice") as program, server(program) as api:
            stop(api, "alice")


def test_many_requests_at_once_use_a_refresh_token_once(lab: Lab):
    """The provider ends a session in which one is used twice."""
    with lab.person("bob") as client, lab.token(client, "bob") as program, ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            time.sleep(TOKENS_LAST_S + 0.5)  # then they are over
            assert set(pool.map(lambda _: program.get("/hub/api/user").status_code, range(8))) == {200}
            assert client.get("/hub/home").url.path == "/hub/home"


def test_a_provider_that_is_away_keeps_out_only_who_is_out(lab: Lab):
    with lab.person("alice") as client, lab.token(client, "alice") as program:
        lab.provider.stop()
        try:
            time.sleep(TOKENS_LAST_S + 0.5)
            assert client.get("/hub/home").url.path == "/hub/home"
            assert groups(program) == ["snow", "tea"]
            with httpx.Client(base_url=lab.hub.url, timeout=60, follow_redirects=True) as other:
                page = other.get("/hub/oauth_login")
                assert page.status_code == 503
                assert "LabLogin does not answer just now. Try again in a minute; whoever is logged in works on." in _text(page.text)
        finally:
            lab.provider.start()
    with lab.person("alice"):
        pass


def test_in_a_browser_in_and_out(lab: Lab, page: Page):
    page.goto(f"{lab.hub.url}/hub/login?next=%2Fhub%2Fhome")
    page.get_by_role("button", name="Sign in with LabLogin").click()
    page.locator("input[name=login]").fill("alice")
    page.locator("input[name=password]").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/hub/home")
    page.goto(f"{lab.hub.url}/hub/logout")
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url("**/hub/login")
    page.get_by_role("button", name="Sign in with LabLogin").click()
    page.locator("input[name=login]").wait_for()  # the provider asks again who this is
