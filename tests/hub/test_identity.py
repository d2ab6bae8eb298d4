"""Who somebody is, asked of a real hub with our own scopes and roles: tokens, groups that change, signing in with a browser, signing out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fixtures.processes import BIN, start
from fixtures.site import BASE, Site

from archiver import auth, people
from archiver.errors import HubUnavailable, NotAllowed, NotSignedIn
from archiver.sections import ApiSettings

CONFIG = """
import sys
from pathlib import Path
from types import SimpleNamespace

from jupyterhub.proxy import Proxy
from neve_hub import services


class NoProxy(Proxy):
    should_start = False

    async def add_route(self, routespec, target, data):
        pass

    async def delete_route(self, routespec):
        pass

    async def get_all_routes(self):
        return {}


home = Path("home")
here = SimpleNamespace(api_url="http://127.0.0.1:1", secrets=home, passwords=home / "passwords.json", home=home)
here.settings = SimpleNamespace(login=SimpleNamespace(issuer=None))
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.bind_url = "http://127.0.0.1:PORT"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:PORT"
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.cookie_secret = b"0" * 32
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}
c.JupyterHub.custom_scopes = services.SCOPES
c.JupyterHub.load_roles = [
    *services.roles(here),
    {"name": "tests", "scopes": ["admin:users", "admin:groups", "tokens"], "services": ["tests"]},
]
c.JupyterHub.load_groups = {"snow": {"users": ["alice", "boss"]}, "ice-cores": {"users": ["bob"]}}
c.JupyterHub.services = [*services.services(here), {"name": "tests", "api_token": "token-of-the-tests-0123456789"}]
"""


@dataclass
class RealHub:
    """A running hub. `api`: its REST API as an admin; `asked`: what the archiver asks it with, `settings`: where and as whom."""

    url: str
    api: httpx.Client
    asked: auth.JupyterHub
    settings: ApiSettings

    def token(self, user: str, *scopes: str) -> str:
        """A token of a user that carries these scopes, as a notebook's carries a few."""
        answer = self.api.post(f"users/{user}/tokens", json={"scopes": list(scopes)} if scopes else {})
        assert answer.status_code == 201, answer.text
        return answer.json()["token"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, free_port) -> Iterator[RealHub]:
    folder: Path = tmp_path_factory.mktemp("hub")
    port = free_port()
    (folder / "home").mkdir()
    (folder / "home" / "hub-token").write_text("token-of-the-archiver-0123456789")
    (folder / "home" / "reader-token").write_text("token-of-the-reader-0123456789")
    (folder / "jupyterhub_config.py").write_text(CONFIG.replace("PORT", str(port)))
    process = start([BIN / "jupyterhub", "-f", "jupyterhub_config.py"], folder / "hub.log", name="jupyterhub", cwd=folder)
    url = f"http://127.0.0.1:{port}"
    api = httpx.Client(base_url=f"{url}/hub/api/", headers={"Authorization": "token token-of-the-tests-0123456789"})

    def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return api.get("users/alice").status_code == 200
        return False

    try:
        process.wait_ready(answers, 60)
        settings = ApiSettings(hub_api_url=f"{url}/hub/api", hub_token_file=folder / "home" / "hub-token", identity_seconds=1)
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
            asked = auth.JupyterHub(settings)
        yield RealHub(url, api, asked, settings)
        asked.close()
    finally:
        api.close()
        process.stop()


def test_tokens_and_their_scopes(hub):
    full = hub.asked.who(hub.token("alice"))
    assert (full.name, full.projects, full.admin, full.kind) == ("alice", ("snow",), False, "user")
    assert full.scopes == {auth.READ, auth.RESTORE, auth.INGEST}
    assert hub.asked.who(hub.token("alice", auth.ACCESS, auth.READ)).scopes == {auth.READ}
    with pytest.raises(NotAllowed):
        hub.asked.who(hub.token("alice", auth.READ))
    with pytest.raises(NotSignedIn):
        hub.asked.who("0123456789abcdef")


def test_an_admins_notebook_is_not_an_admin(hub):
    assert hub.asked.who(hub.token("boss")).projects is None
    assert hub.asked.who(hub.token("boss", auth.ACCESS, auth.READ)).projects == ("snow",)


def test_what_asks_for_all_belongs_to_no_project_and_only_reads(hub):
    found = hub.asked.who("token-of-the-reader-0123456789")
    assert (found.name, found.projects, found.admin, found.scopes) == ("service/reader", (), False, {auth.READ})


def test_groups_that_change_are_seen_soon(hub):
    token = hub.token("alice")
    assert hub.asked.who(token).projects == ("snow",)
    assert hub.api.post("groups/ice-cores/users", json={"users": ["alice"]}).status_code == 200
    assert _soon(lambda: hub.asked.who(token).projects == ("ice-cores", "snow"))
    hub.api.request("DELETE", "groups/ice-cores/users", json={"users": ["alice"]})
    assert _soon(lambda: hub.asked.who(token).projects == ("snow",))


def test_the_archiver_learns_who_is_in_a_project_and_who_is_an_admin(hub):
    with people.HubPeople(hub.settings) as asked:
        assert asked.members("snow") == {"alice", "boss"}
        assert asked.members("no-such-group") == set()
        assert asked.members("../users") == set()
        for number in range(3):
            hub.api.post(f"users/extra-{number}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("archiver.people._PAGE", 2)
            assert asked.admins() == {"boss"}


def test_a_hub_that_does_not_say_who_is_who_is_an_error(hub, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef")
    for settings in (
        hub.settings.model_copy(update={"hub_token_file": tmp_path / "token"}),
        hub.settings.model_copy(update={"hub_api_url": "http://127.0.0.1:1/hub/api"}),
    ):
        with people.HubPeople(settings) as asked, pytest.raises(HubUnavailable):
            asked.members("snow")


def test_a_revoked_token_ends_soon(hub):
    token = hub.token("bob")
    hub.asked.who(token)
    for known in hub.api.get("users/bob/tokens").json()["api_tokens"]:
        hub.api.delete(f"users/bob/tokens/{known['id']}")

    def ended() -> bool:
        try:
            hub.asked.who(token)
        except NotSignedIn:
            return True
        return False

    assert _soon(ended)


def test_many_ask_at_once(hub):
    from concurrent.futures import ThreadPoolExecutor

    tokens = [hub.token(user) for user in ("alice", "bob") for _ in range(8)]
    with ThreadPoolExecutor(16) as pool:
        names = list(pool.map(lambda token: hub.asked.who(token).name, tokens))
    assert names == ["alice"] * 8 + ["bob"] * 8


def test_a_browser_signs_in_through_the_hub_and_out(hub, site: Site):
    """The whole code flow: our redirect, the hub's login form, its redirect back, our session; then the hub's own sign-out ends it."""
    from archiver.pages import create_site

    app = create_site(site.bench.archive, hub.asked)
    with asyncio.Runner() as runner, httpx.Client(base_url=hub.url) as outside:
        inside = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE + "/")

        def get(address: str, **options) -> httpx.Response:
            return runner.run(inside.get(address, **options))

        away = get("?q=run").headers["Location"]
        assert away.startswith("/hub/api/oauth2/authorize?")
        login = outside.get(away)
        assert login.status_code == 302
        form = outside.get(login.headers["Location"])
        xsrf = outside.cookies["_xsrf"]
        back = outside.post(form.url, data={"username": "alice", "password": "x", "_xsrf": xsrf})
        while not back.headers["Location"].startswith("/services/archiver/"):
            back = outside.get(back.headers["Location"])
        cookies = {"jupyterhub-session-id": outside.cookies["jupyterhub-session-id"]}
        inside.cookies.update(cookies)
        came = get(f"http://neve.test{back.headers['Location']}")
        assert came.status_code == 303, came.text
        assert came.headers["Location"] == "/services/archiver/?q=run"
        page = get("http://neve.test/services/archiver/list?q=run")
        assert page.status_code == 200
        assert ">alice<" in page.text
        assert "run-5" in page.text
        assert get(f"http://neve.test{back.headers['Location']}").status_code == 401, "a code works once"
        upload = get("http://neve.test/services/archiver/upload")
        assert upload.status_code == 200, "the sign-in brings the right to add data"
        xsrf = {"X-Neve-Xsrf": upload.text.partition('data-xsrf="')[2].partition('"')[0]}

        def opens(project: str) -> int:
            wanted = {"name": f"by-hand-in-{project}", "project": project, "instrument": "saxs"}
            return runner.run(inside.post("api/v1/datasets", json=wanted, headers=xsrf)).status_code

        assert (opens("snow"), opens("ice-cores")) == (200, 403), "the groups are those that the hub says"
        outside.get("/hub/logout")
        assert _soon(lambda: get("http://neve.test/services/archiver/").status_code == 303), "the hub's sign-out ends our session too"
        assert opens("snow") == 401
        runner.run(inside.aclose())


def _soon(true, within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
