"""Somebody whose session at the hub is over, by time, by another secret or by an admin, and goes on as if it were not."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from fixtures.processes import wait_until
from hub.people import Hub, given_password, send, xsrf
from tornado.web import create_signed_value, decode_signed_value

LOGIN_COOKIE = "jupyterhub-hub-login"
DAY_S = 86_400
JSON = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "X-Requested-With": "XMLHttpRequest"}


@pytest.fixture(scope="module")
def edda(hub: Hub) -> Iterator[dict[str, str]]:
    """An admin of these tests' own; her password, which may be given anew."""
    with hub.person("admin") as admin, hub.api("admin") as api:
        known = {"password": given_password(send(admin, "/hub/password/give", name="edda", do="add"))}
        assert api.patch("/users/edda", json={"admin": True}).status_code == 200
        yield known
    with hub.api("admin") as api:
        assert api.delete("/users/edda").status_code == 204


def _signed(hub: Hub, client: httpx.Client, *, days_ago: float = 0, secret: bytes | None = None) -> None:
    """Put the login cookie's value into another cookie, signed at another time or with another secret."""
    cookie = next(cookie for cookie in client.cookies.jar if cookie.name == LOGIN_COOKIE)
    right = bytes.fromhex((hub.home / "secrets" / "hub-cookie-secret").read_text().strip())
    value = decode_signed_value(right, LOGIN_COOKIE, (cookie.value or "").strip('"'))
    assert value, "the cookie that the hub gave"
    made = create_signed_value(secret or right, LOGIN_COOKIE, value, clock=lambda: time.time() - days_ago * DAY_S).decode()
    client.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)
    client.cookies.set(LOGIN_COOKIE, made, domain=cookie.domain, path=cookie.path)


def as_it_was(hub: Hub, client: httpx.Client, edda: dict[str, str]) -> None:
    """The control: a cookie signed anew by the right secret, today."""
    _signed(hub, client)


def too_old(hub: Hub, client: httpx.Client, edda: dict[str, str]) -> None:
    _signed(hub, client, days_ago=15)


def of_another_secret(hub: Hub, client: httpx.Client, edda: dict[str, str]) -> None:
    _signed(hub, client, secret=b"x" * 32)


def ended_by_an_admin(hub: Hub, client: httpx.Client, edda: dict[str, str]) -> None:
    with hub.person("admin") as admin:
        edda["password"] = given_password(send(admin, "/hub/password/give", name="edda", do="reset"))


OVER = [too_old, of_another_secret, ended_by_an_admin]
Ends = Callable[[Hub, httpx.Client, dict[str, str]], None]


@contextmanager
def person(hub: Hub, edda: dict[str, str]) -> Iterator[httpx.Client]:
    with hub.login("edda", edda["password"]) as (client, answer):
        assert answer.url.path == "/hub/home", answer.text[:500]
        yield client


def log_in(client: httpx.Client, page: httpx.Response, edda: dict[str, str]) -> httpx.Response:
    """Fill in the login form that a page shows."""
    action = re.search(r'<form action="([^"]+)" method="post"', page.text)
    assert action, page.text[:2000]
    return client.post(
        page.url.join(action[1].replace("&amp;", "&")), data={"username": "edda", "password": edda["password"], "_xsrf": xsrf(client, page)}
    )


@pytest.mark.parametrize("end", OVER)
@pytest.mark.parametrize("path", ["/hub/home", "/hub/password", "/hub/spawn", "/hub/token", "/hub/admin", "/user/edda/lab?reset"])
def test_a_page_asks_to_log_in_and_then_is_there(hub: Hub, edda: dict[str, str], end: Ends, path: str):
    with person(hub, edda) as client:
        end(hub, client, edda)
        page = client.get(path)
        assert page.status_code == 200 and page.url.path == "/hub/login" and "you then come to the page that you asked for" in page.text
        client.follow_redirects = False
        back = log_in(client, page, edda)
        assert back.status_code == 302 and back.headers["location"] in {path, f"/hub{path}"}


def test_a_cookie_that_was_signed_anew_is_good(hub: Hub, edda: dict[str, str]):
    with person(hub, edda) as client:
        as_it_was(hub, client, edda)
        assert client.get("/hub/password").url.path == "/hub/password"


@pytest.mark.parametrize("end", OVER)
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/hub/password", {"new": "seven quiet glaciers", "again": "seven quiet glaciers"}),
        ("/hub/password/give", {"name": "mallory", "do": "add"}),
        ("/hub/password/give", {"name": "bob", "do": "reset"}),
    ],
)
def test_a_form_changes_nothing_and_asks_to_log_in(hub: Hub, edda: dict[str, str], end: Ends, path: str, fields: dict[str, str]):
    with person(hub, edda) as client:
        form = client.get("/hub/password")
        sent = {**fields, "_xsrf": xsrf(client, form)}
        if path == "/hub/password":
            sent["now"] = edda["password"]
        end(hub, client, edda)
        page = client.post(path, data=sent)
        assert page.status_code == 403 and "You are not logged in any more: nothing was changed. Log in, and send it again." in page.text
        back = log_in(client, page, edda)
        assert back.status_code == 200 and back.url.path == "/hub/password", "with the password as it was"
        if end is ended_by_an_admin:  # for others it is the same session of the same person, and the form may be sent again
            old = client.post(path, data=sent)
            assert old.status_code == 403 and "This form is from before you logged in again: nothing was changed." in old.text
        people = client.get("/hub/password").text
        assert 'value="edda"' in people and 'value="mallory"' not in people
    with hub.person("bob"):
        pass  # with the password that he always had


@pytest.mark.parametrize("end", OVER)
def test_a_page_that_asks_by_itself_gets_an_answer_that_it_can_read(hub: Hub, edda: dict[str, str], end: Ends):
    with person(hub, edda) as client:
        token = {"X-XSRFToken": xsrf(client, client.get("/hub/home"))}
        assert client.get("/hub/api/user", headers={**JSON, **token}).json()["name"] == "edda"
        end(hub, client, edda)
        for method, path in (
            ("GET", "/hub/api/user"),
            ("POST", "/hub/api/users/edda/server"),
            ("POST", "/hub/api/users/edda/tokens"),
            ("PATCH", "/hub/api/users/bob"),
            ("GET", "/user/edda/api/contents"),
            ("GET", "/user/edda/api/kernels/1"),
            ("GET", "/services/archiver/api/v1/me"),
        ):
            answer = client.request(method, path, headers={**JSON, **token})
            said = f"{method} {path}: {answer.status_code} {answer.headers['content-type']} {answer.text[:200]}"
            assert answer.status_code in {401, 403, 424} and "json" in answer.headers["content-type"], said
        refused = client.post("/user/edda/api/kernels", headers={**JSON, **token})
        assert refused.status_code == 403 and "username_input" not in refused.text, (
            "the hub passes no POST on: a page says so, which is not the login's"
        )
    with hub.api("admin") as api:
        assert api.get("/users/edda").json()["servers"] == {}


def catalog_form(client: httpx.Client) -> str:
    page = client.get("/services/archiver/admin/announce")
    found = re.search(r'name="xsrf" value="([^"]+)"', page.text)
    assert page.status_code == 200 and found, f"{page.url} {page.text[:1000]}"
    return found[1]


def test_the_catalogs_forms_end_with_the_session_at_the_hub(hub: Hub, edda: dict[str, str]):
    """They have a cookie of their own; a new password ends it too."""
    with person(hub, edda) as client, person(hub, edda) as elsewhere:
        sent = {"text": "Beam is back at 8.", "until": "2099-01-01", "xsrf": catalog_form(client)}
        other = {**sent, "xsrf": catalog_form(elsewhere)}
        new = "eleven slow moraines"
        form = elsewhere.get("/hub/password")
        changed = elsewhere.post("/hub/password", data={"now": edda["password"], "new": new, "again": new, "_xsrf": xsrf(elsewhere, form)})
        assert "Your password is changed." in changed.text
        edda["password"] = new
        client.get("/services/archiver/api/v1/me")

        def is_over() -> httpx.Response | None:
            page = client.get("/services/archiver/admin/announce")
            return page if page.url.path == "/hub/login" else None

        page = wait_until(is_over, 90, "the end of the session in the catalog")
        assert isinstance(page, httpx.Response)
        for path in ("/services/archiver/admin/announce", "/services/archiver/admin/announce/end"):
            refused = client.post(path, data=sent)
            assert refused.status_code != 500 and "done_announced" not in refused.text
            assert refused.url.path == "/hub/login" or refused.status_code in {401, 403}, f"{refused.status_code} {refused.url}"
        assert "Beam is back" not in elsewhere.get("/services/archiver/admin/announce").text
        there = log_in(client, page, edda)
        assert there.status_code == 200 and there.url.path == "/services/archiver/admin/announce"
        # This browser, which changed the password, goes on.
        assert "Beam is back" in elsewhere.post("/services/archiver/admin/announce", data=other).text
        assert "Beam is back" not in elsewhere.post("/services/archiver/admin/announce/end", data=other).text
