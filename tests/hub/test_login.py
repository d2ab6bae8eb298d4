"""Who gets in, and who does not."""

import json
import stat
import time

import pytest
from neve_hub.names import is_name
from neve_hub.passwords import Passwords

from archiver.errors import NotFound, WrongUse


def test_the_right_password_gets_in(hub):
    with hub.person("alice") as client:
        assert "alice" in client.get("/hub/home").text


@pytest.mark.parametrize(
    ("user", "password"), [("alice", "wrong"), ("alice", ""), ("nobody", "wrong"), ("", ""), ("../admin", "x"), ("a" * 5000, "x"), ("alice\0", "x")]
)
def test_a_wrong_one_does_not(hub, user, password):
    assert hub.refuses(user, password)


@pytest.mark.parametrize("path", ["/hub/nope", "/hub/spawn/mallory", "/hub/user/bob/lab"])
def test_what_is_not_there_says_so_and_shows_the_way_on(hub, path):
    with hub.person("alice") as client:
        page = client.get(path)
        assert page.status_code == 404 and "There is no such page" in page.text and "To your home page" in page.text
        assert "None" not in page.text.split("<body")[1] and "moons" not in page.text


def test_what_is_for_admins_is_said_so_in_plain_words(hub):
    with hub.person("alice") as client:
        page = client.get("/hub/admin")
        assert page.status_code == 403 and "for admins" in page.text and "scopes" not in page.text.split("<body")[1]


def test_a_name_is_taken_as_written(hub):
    """Names that fold into one another are not the same person."""
    for user in ("Alice", "ALICE", "ａlice"):
        assert hub.refuses(user, hub.running.passwords["alice"])


def test_whoever_is_not_in_the_file_stays_out(hub):
    """The hub knows carol, because an admin added her; that alone lets nobody in."""
    with hub.api("admin") as api:
        assert api.post("/users/carol").status_code == 201
        assert hub.refuses("carol", "")
        assert hub.refuses("carol", "x")
        assert api.delete("/users/carol").status_code == 204


def test_one_users_password_is_not_anothers(hub):
    assert hub.refuses("bob", hub.running.passwords["alice"])


def test_groups_are_projects_and_admin_is_admin(hub):
    from neve_hub.demo import PROJECTS, USERS

    with hub.api("admin") as api:
        users = {user["name"]: user for user in api.get("/users").json()}
        assert {name: set(users[name]["groups"]) for name in USERS} == {name: set(projects) for name, projects in USERS.items()}
        assert {name for name, user in users.items() if user["admin"]} == {"admin"}
        assert {group["name"] for group in api.get("/groups").json()} == set(PROJECTS)
    with hub.api("alice") as api:
        assert api.get("/users").status_code == 403


def test_a_removed_member_stays_removed(hub):
    """Membership is seeded once: what an admin changes is the hub's from then on (a restart of the hub is in test_run)."""
    from neve_hub.instance import Instance
    from neve_hub.services import groups

    from archiver.config import load

    here = Instance(load(hub.home / "neve.toml"))
    assert (here.home / "hub" / "groups.json").exists()
    assert groups(here) == {}


def test_an_unknown_user_costs_as_much_as_a_wrong_password(tmp_path):
    passwords = Passwords(tmp_path / "passwords.json")
    passwords.add("alice", admin=False)

    def took(user: str) -> float:
        started = time.process_time()
        assert not passwords.verify(user, "wrong")
        return time.process_time() - started

    known, unknown = (min(took(user) for _ in range(5)) for user in ("alice", "nobody"))
    assert 0.5 < unknown / known < 2


def test_the_file_holds_hashes_only_and_is_private(tmp_path):
    path = tmp_path / "secrets" / "passwords.json"
    passwords = Passwords(path)
    first = passwords.add("alice", admin=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    entry = json.loads(path.read_text())["alice"]
    assert entry["hash"].startswith("$argon2id$") and first not in path.read_text()
    second = passwords.reset("alice")
    assert passwords.verify("alice", second) and not passwords.verify("alice", first)
    assert passwords.admins() == {"alice"}
    with pytest.raises(NotFound):
        passwords.reset("bob")
    with pytest.raises(WrongUse):
        passwords.add(" bob", admin=False)
    assert sorted(path.name for path in path.parent.iterdir()) == ["passwords.json", "passwords.lock"]


@pytest.mark.parametrize(
    ("name", "may"), [("alice", True), ("Zoé@lab.fr", True), ("a/b", False), (" a", False), ("a\n", False), ("", False), ("x" * 201, False)]
)
def test_what_may_be_a_name(name, may):
    assert is_name(name) is may
