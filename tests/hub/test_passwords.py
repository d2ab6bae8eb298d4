"""The hub's page "Password", and what becomes of guessing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from hub.people import Hub, given_password, send

NEW = "seven quiet glaciers"


def alert(page: httpx.Response) -> str:
    found = re.search(r'<p class="alert[^>]*>([^<]*)', page.text)
    return " ".join(found[1].replace("&#39;", "'").split()) if found else ""


@pytest.fixture(scope="module")
def dora(hub: Hub) -> Iterator[str]:
    """A user whom an admin adds on the page; her password."""
    with hub.person("admin") as admin, hub.api("admin") as api:
        given = given_password(send(admin, "/hub/password/give", name="dora", do="add"))
        assert api.get("/users/dora").json()["groups"] == [], "the hub knows her before she comes: an admin can put her into groups"
        yield given
        assert alert(send(admin, "/hub/password/give", name="dora", do="add")) == "There is a user dora already: nothing was changed."
    with hub.api("admin") as api:
        assert api.delete("/users/dora").status_code == 204


def test_a_person_changes_the_password_and_other_browsers_are_out(hub: Hub, dora: str):
    with hub.login("dora", dora) as (here, _), hub.login("dora", dora) as (elsewhere, _):
        for fields, words in (
            ({"now": "wrong", "new": NEW, "again": NEW}, "That is not your password of now: nothing was changed."),
            ({"now": dora, "new": NEW, "again": NEW + "x"}, "The two new passwords are not the same: nothing was changed."),
            ({"now": dora, "new": "short", "again": "short"}, "A password has 12 to 200 characters."),
            ({"now": dora, "new": "x" * 201, "again": "x" * 201}, "A password has 12 to 200 characters."),
            ({"now": dora, "new": "I am DORA of the lab", "again": "I am DORA of the lab"}, "The password holds the user's name."),
            ({"now": dora, "new": dora, "again": dora}, "That is the password of now."),
        ):
            refused = send(here, "/hub/password", **fields)
            assert refused.status_code == 400 and words in alert(refused), refused.text
        assert elsewhere.get("/hub/home").url.path == "/hub/home"
        changed = send(here, "/hub/password", now=dora, new=NEW, again=NEW)
        assert changed.status_code == 200 and "Your password is changed." in alert(changed)
        assert changed.headers["cache-control"] == "no-store"
        assert here.get("/hub/home").url.path == "/hub/home"
        assert elsewhere.get("/hub/home").url.path == "/hub/login"
    assert hub.refuses("dora", dora)
    with hub.login("dora", NEW) as (client, answer):
        assert answer.url.path == "/hub/home"
        with hub.person("admin") as admin:
            given = given_password(send(admin, "/hub/password/give", name="dora", do="reset"))
        assert client.get("/hub/home").url.path == "/hub/login"
    with hub.login("dora", given) as (_, answer):
        assert answer.url.path == "/hub/home"


def test_only_admins_give_passwords(hub: Hub):
    with hub.person("alice") as alice:
        assert "Others' passwords" not in alice.get("/hub/password").text
        assert send(alice, "/hub/password/give", name="admin", do="reset").status_code == 403
        assert send(alice, "/hub/password/give", name="mallory", do="add").status_code == 403
        page = alice.get("/hub/password")
        without = alice.post("/hub/password", data={"now": hub.running.passwords["alice"], "new": NEW, "again": NEW})
        assert page.status_code == 200 and without.status_code == 403  # no _xsrf
    assert not hub.refuses("alice", hub.running.passwords["alice"])
    with hub.person("admin") as admin:
        unknown = send(admin, "/hub/password/give", name="nobody", do="reset")
        assert unknown.status_code == 400 and "There is no user 'nobody'" in alert(unknown).replace("&#39;", "'")
        odd = send(admin, "/hub/password/give", name="a/b", do="add")
        assert odd.status_code == 400 and "cannot be a user name" in alert(odd)
    with httpx.Client(base_url=hub.url, follow_redirects=True) as nobody:
        assert nobody.get("/hub/password").url.path == "/hub/login"


def test_who_guesses_waits_and_is_told_how_long(hub: Hub):
    """With a name that nobody has: it costs its owner nothing, and is treated like any other."""
    answers = []
    for _ in range(8):
        with hub.login("guessed", "wrong") as (_client, answer):
            answers.append(answer)
            if answer.status_code == 429:
                break
    assert [answer.status_code for answer in answers[:5]] == [403] * 5
    assert answers[-1].status_code == 429
    assert re.search(r"Too many wrong passwords. Try again in \d+ seconds; an admin can give you a new one.", answers[-1].text)
    with hub.person("alice"):
        pass
