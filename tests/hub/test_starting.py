"""Containers that do not start: their user reads one sentence with the next step, the hub's log has what they said, and the hub goes on."""

from __future__ import annotations

import html
import re

import httpx
import pytest
from fixtures.processes import wait_until
from hub.people import Hub, spawn, stop

pytestmark = pytest.mark.docker
# What an image does in place of a notebook.
DIES = ["sh", "-c", "echo the token is $JUPYTERHUB_API_TOKEN; echo no space left on the moon >&2; exit 3"]
EATS = ["python", "-c", "x = b'a' * 10**9"]
ABSENT = ["/no/such/command"]


@pytest.fixture(scope="module")
def lab(bare_hub, image):
    return bare_hub(IMAGE=image, MEMORY_LIMIT="300M")


@pytest.fixture
def becomes(docker_engine, singleuser_image, image):
    """Let the tag name an image that does something else; the notebook's again after the test."""

    made_of: list[str] = []

    def change(command: list[str]) -> None:
        made = docker_engine.docker("create", singleuser_image)
        words = ", ".join(f'"{word}"' for word in command)
        made_of.append(docker_engine.docker("commit", "--change", f"ENTRYPOINT [{words}]", made, image))
        docker_engine.docker("rm", made)

    yield change
    docker_engine.docker("tag", singleuser_image, image)
    for number in made_of:
        docker_engine.docker("rmi", "-f", number)


def pages(client: httpx.Client) -> list[str]:
    """What a person who starts a server is shown: the page at once, and the one that is waited on."""
    first = client.get("/hub/spawn")
    wait_until(lambda: "has failed" in client.get("/hub/spawn-pending/admin").text, 60, "the end of the start")
    later = client.get("/hub/spawn-pending/admin")
    return [" ".join(html.unescape(re.sub(r"<script.*?</script>|<[^>]+>", " ", page.text, flags=re.DOTALL)).split()) for page in (first, later)]


def log(lab: Hub) -> str:
    return (lab.home / "log" / "hub.log").read_text()


def test_a_missing_image_is_said(lab, docker_engine, image):
    docker_engine.docker("rmi", "-f", image)
    with lab.person("admin") as client:
        shown = pages(client)
    sentence = f"The notebook image {image} is not on this machine. Tell an admin: `make image` builds it, or hub.image names another."
    assert sentence in shown[1] and "Traceback" not in "".join(shown)
    assert sentence in log(lab)


@pytest.mark.parametrize(
    ("command", "sentence", "words"),
    [
        (DIES, "ended while it started, with exit code 3. Try again; if it happens anew, tell an admin", "no space left on the moon"),
        (EATS, "needed more memory than the 300M it may use. Ask an admin for more", "Its last words"),
        (ABSENT, "cannot be started as a notebook. Please tell an admin", "no such file or directory"),
    ],
    ids=["dies", "eats", "absent"],
)
def test_what_ended_it_is_said_and_its_last_words_are_logged(lab, docker_engine, becomes, command, sentence, words):
    becomes(command)
    before = len(log(lab))
    with lab.person("admin") as client:
        shown = pages(client)
    said = log(lab)[before:]
    assert sentence in shown[1] and "Traceback" not in "".join(shown) and "moon" not in "".join(shown)
    assert sentence in said and words in said
    assert "the token is [token]" in said or command is not DIES
    ours = f"name=neve-{(lab.home / 'instance-id').read_text().strip()}-notebook"
    assert not docker_engine.docker("ps", "-aq", "--filter", ours), "a container that has ended is left"


def test_after_many_failures_the_hub_still_stands_and_starts_a_good_image(lab, becomes):
    becomes(DIES)
    with lab.api("admin") as api, lab.person("admin") as client:
        for _ in range(6):
            assert api.post("/users/admin/server").status_code == 503
        assert client.get("/hub/home").status_code == 200
    assert "consecutive" not in log(lab)


def test_a_good_image_starts_after_all_that(lab):
    with lab.api("admin") as api:
        spawn(api, "admin")
        stop(api, "admin")
