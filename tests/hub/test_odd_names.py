"""Names as providers give them, in containers: each person has a container, a home and an address of their own, and sees their projects."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from hub.people import Hub, given_password, send, spawn, stop

pytestmark = [pytest.mark.docker, pytest.mark.fuse]

# Mail, its twin by case, accents and a blank, what addresses and shells take for something else, a rule for the proxy, and the longest.
PEOPLE = ["Foo.Bar+x@lab.fr", "foo.bar+x@lab.fr", "Zoé Übel", "a&b=c?d#e;$(f)%2e'\"", "x`) || HostRegexp(`.*", "x" * 200]
GROUPS = ["snow-physics", "Größe", "a b", ".hidden", "UPPER", "$(id)"]


def group(name: str) -> str:
    return f"/groups/{quote(name, safe='')}"


@pytest.fixture(scope="module")
def arrived(containers: Hub) -> Iterator[tuple[Hub, dict[str, str]]]:
    """All of them are added by the admin and have started their server, the first with all groups; where each server is."""
    with containers.person("admin") as admin:
        for user in PEOPLE:
            containers.running.passwords[user] = given_password(send(admin, "/hub/password/give", name=user, do="add"))
    with containers.api("admin") as api:
        for name in GROUPS[1:]:
            assert api.post(group(name)).status_code == 201, name
        for name in GROUPS:
            answer = api.post(f"{group(name)}/users", json={"users": PEOPLE[:1]})
            assert answer.is_success, answer.text
        quoted = [quote(user, safe="") for user in PEOPLE]
        with ThreadPoolExecutor(len(PEOPLE)) as pool:
            list(pool.map(lambda user: spawn(api, user), quoted))
        yield containers, {user: api.get(f"/users/{name}").json()["servers"][""]["url"] for user, name in zip(PEOPLE, quoted, strict=True)}
        for user in quoted:
            stop(api, user)
            assert api.delete(f"/users/{user}").status_code == 204
        for name in GROUPS[1:]:
            assert api.delete(group(name)).status_code == 204, name
        for user in PEOPLE:
            del containers.running.passwords[user]


def test_each_has_a_lab_a_home_and_projects_of_their_own(arrived: tuple[Hub, dict[str, str]], docker_engine):
    hub, addresses = arrived
    for user in PEOPLE:
        seen = docker_engine.docker("exec", hub.container(user), "sh", "-c", 'echo "$JUPYTERHUB_USER"; ls ~; echo mine > ~/mine.txt; ls -m /data')
        name, *home, data = seen.splitlines()
        assert name == user and "mine.txt" not in home
        assert ("snow-physics" in data) == (user == PEOPLE[0]) and not set(GROUPS[1:]) & set(data.split(", ")), data
        with hub.person(user) as client:
            assert client.get(f"{addresses[user]}lab").text.count("jupyter-config-data") == 1
            assert {one["name"] for one in client.get(f"{addresses[user]}api/contents/").json()["content"]} >= {"mine.txt", "team"}
            for other in PEOPLE:
                if other != user:
                    assert client.get(f"{addresses[other]}api/contents/").status_code == 403, (user, other)
