"""People at the hub without a browser: they log in by its form, ask for tokens, start and stop their notebooks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from fixtures.instance import RunningInstance
from fixtures.processes import wait_until
from neve_hub.instance import Instance
from neve_hub.names import safe_name

SPAWN_WITHIN_S = 90


@dataclass
class Hub:
    """A running instance, and how people use it without a browser."""

    running: RunningInstance

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def home(self) -> Path:
        return self.running.home

    def container(self, user: str) -> str:
        """The name of a user's notebook's container."""
        return f"neve-{(self.home / 'instance-id').read_text().strip()}-notebook-{safe_name(user)}"

    @contextmanager
    def login(self, user: str, password: str) -> Iterator[tuple[httpx.Client, httpx.Response]]:
        """Fill in the login form: a client that keeps cookies as a browser does, and what the hub answered."""
        with httpx.Client(base_url=self.url, timeout=60, follow_redirects=True) as client:
            form = client.get("/hub/login")
            yield client, client.post("/hub/login?next=/hub/home", data={"username": user, "password": password, "_xsrf": xsrf(client, form)})

    def refuses(self, user: str, password: str) -> bool:
        with self.login(user, password) as (client, answer):
            return answer.status_code == 403 and client.get("/hub/home").url.path == "/hub/login"

    @contextmanager
    def person(self, user: str) -> Iterator[httpx.Client]:
        with self.login(user, self.running.passwords[user]) as (client, answer):
            assert answer.status_code == 200 and answer.url.path == "/hub/home", f"{answer.status_code} {answer.url} {answer.text[:500]}"
            yield client

    def api(self, user: str) -> httpx.Client:
        """The hub's REST API with a token that the user asked for on the token page's own route."""
        with self.person(user) as client:
            page = client.get("/hub/token")
            answer = client.post(f"/hub/api/users/{user}/tokens", json={"expires_in": 3600}, headers={"X-XSRFToken": xsrf(client, page)})
        assert answer.status_code == 201, answer.text
        return httpx.Client(base_url=f"{self.url}/hub/api", headers={"Authorization": f"Bearer {answer.json()['token']}"}, timeout=60)


def xsrf(client: httpx.Client, page: httpx.Response) -> str:
    """The token that a page's forms carry: the cookie with the longest path that fits it."""
    fits = [cookie for cookie in client.cookies.jar if cookie.name == "_xsrf" and page.url.path.startswith(cookie.path)]
    return max(fits, key=lambda cookie: len(cookie.path)).value or ""


def send(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """Fill in a form of the page Password."""
    page = client.get("/hub/password")
    return client.post(path, data={**fields, "_xsrf": xsrf(client, page)})


def given_password(page: httpx.Response) -> str:
    """The password that an admin is shown once."""
    found = re.search(r'<code id="made">([^<]+)</code>', page.text)
    assert found, page.text
    return found[1]


def spawn(api: httpx.Client, user: str) -> None:
    """Start the user's server, or take the one that another test left running."""
    answer = api.post(f"/users/{user}/server")
    assert answer.status_code in (201, 202) or "already running" in answer.text, answer.text
    wait_until(lambda: api.get(f"/users/{user}").json()["servers"].get("", {}).get("ready"), SPAWN_WITHIN_S, f"{user}'s server")


def stop(api: httpx.Client, user: str) -> None:
    api.delete(f"/users/{user}/server")
    wait_until(lambda: not api.get(f"/users/{user}").json()["servers"], 60, f"the end of {user}'s server")


def environment_of(home: Path, user: str) -> dict[str, str]:
    """Environment of the user's server, a process of the instance in `home`."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            pairs = (process / "environ").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        env = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        if env.get("JUPYTERHUB_USER") == user and env.get("HOME", "").startswith(str(home)):
            return {**env, "PID": process.name}
    raise AssertionError(f"no server of {user} runs")


def is_mounts_process(here: Instance, process: psutil.Process) -> bool:
    try:
        return process.cmdline()[-2:] == ["-m", "neve_hub.mounts"] and process.environ().get("NEVE_HOME") == str(here.home)
    except psutil.Error:
        return False
