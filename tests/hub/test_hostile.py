"""Somebody hostile with a shell in their container, a token and a browser, against what is not theirs: nothing of it is reached.

Each attempt is made twice: by bob, who may not, and, as a control, by somebody who may. Both are told in a table, by channel and target.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fixtures.processes import wait_until
from hub import hostile
from hub.people import Hub, spawn, stop
from hub.test_firewall import FAR, METADATA, PRIVATE, neighbour
from neve_hub.instance import Instance

from archiver.config import load

pytestmark = [pytest.mark.docker, pytest.mark.fuse]

TIERS_WITHIN_S = 180
ALICE, BOB, LOST = ("alpine-ice", "battery-cycling", "snow-physics")  # the last is alice's; it was bob's, too
HOLDER = "\0hostile-holder"
DAY = f"{datetime.now(UTC) + timedelta(days=100):%Y-%m-%d}"
SCRIPT = Path(hostile.__file__).read_text("utf-8")

# Holds what members share open, and tells whoever asks whether it can still be written.
HOLDS = f"""
import os, socket
folder = os.open("/shared/{LOST}", os.O_RDONLY)
door = socket.socket(socket.AF_UNIX)
door.bind({HOLDER!r})
door.listen()
while True:
    asked, _ = door.accept()
    with asked:
        try:
            os.close(os.open("held.txt", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder))
            asked.sendall(b"written")
        except OSError:
            asked.sendall(b"refused")
"""


def _browser(path: str, **form: str) -> Callable[[httpx.Client, hostile.Facts], bool]:
    """A page, or a form of one with all that the page itself would send."""

    def ask(client: httpx.Client, facts: hostile.Facts) -> bool:
        at = f"/services/archiver/{path.format(**facts)}"
        if not form:
            return hostile.yes(client.get(at, follow_redirects=False))
        carried = client.get("/services/archiver/list").text.split('name="xsrf" value="')[1].split('"')[0]
        return hostile.yes(client.post(at, data={**form, "xsrf": carried}, follow_redirects=False))

    return ask


BROWSER = {
    "service form | other project | open its page | member": _browser("datasets/{dataset}"),
    "service form | other project | ask what it would cost | member": _browser("datasets/{cold}/quote", days="5"),
    "service form | other user's jobs | take a restore back | member": _browser("restores/{restore_by_page}/cancel", back=""),
    "service form | admin actions | open the console | admin": _browser("admin"),
    "hub pages | admin actions | open the admin page | admin": lambda client, _: hostile.yes(client.get("/hub/admin", follow_redirects=False)),
    "hub pages | other user's home | open its files | member": lambda client, facts: hostile.yes(client.get(f"/user/{facts['user']}/files/own.txt")),
}


class Stage:
    """The two of them at work, and what is known of alice's things."""

    def __init__(self, hub: Hub, engine: Any) -> None:
        self.hub, self.engine = hub, engine
        self.here = Instance(load(hub.home / "neve.toml"))
        self.apis = {user: hub.api(user) for user in ("alice", "bob", "admin")}
        self.archivers = {
            user: httpx.Client(base_url=f"{hub.url}/services/archiver/api/v1/", headers=api.headers, timeout=60) for user, api in self.apis.items()
        }

    def inside(self, user: str, *command: str) -> str:
        return self.engine.docker("exec", self.hub.container(user), *command)

    def share(self) -> None:
        """bob loses a project that he was in, where a process of his holds on; root leaves in shared folders what would be dangerous elsewhere."""
        for user in ("alice", "bob"):
            self.inside(user, "sh", "-c", "for folder in /shared/*; do echo mine > $folder/hers.txt; done")
            self.engine.docker("exec", "--detach", self.hub.container(user), "python", "-c", HOLDS)
            wait_until(lambda: "hostile-holder" in self.inside(user, "cat", "/proc/net/unix"), 20, "who holds on")  # noqa: B023 - waited for here
        for project in (ALICE, BOB):
            kept = self.hub.home / "shared" / project
            os.mknod(kept / "left-device", 0o20666, os.makedev(1, 3))
            (kept / "left-device").chmod(0o666)
            shutil.copy("/usr/bin/id", kept / "left-setuid")
            (kept / "left-setuid").chmod(0o4755)
        self.membership("bob", LOST, "DELETE")
        wait_until(lambda: LOST not in self.inside("bob", "ls", "/data", "/shared").split(), 60, "bob's loss")

    def tidy(self) -> None:
        """Take away what was shared; the notebooks have ended."""
        for left in (self.hub.home / "shared").glob("*/*"):
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()

    def membership(self, user: str, project: str, method: str) -> None:
        self.apis["admin"].request(method, f"/groups/{project}/users", json={"users": [user]}).raise_for_status()

    def asked(self, user: str, method: str, path: str, **more: Any) -> Any:
        answer = self.archivers[user].request(method, path, **more)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def datasets(self, *tiers: str) -> list[dict[str, Any]]:
        """Alice's, but for what is brought back in other tests: that is xas."""
        found = [self.asked("alice", "GET", "datasets", params={"project": ALICE, "tier": tier})["items"] for tier in tiers]
        return [dataset for some in found for dataset in some if dataset["instrument"] != "xas"]

    def facts(self) -> hostile.Facts:
        alice = next(dataset for dataset in self.datasets("hot") if dataset["instrument"] == "saxs")  # there is something to see of it
        wait_until(lambda: len(self.datasets("archive", "deep")) > 2, TIERS_WITHIN_S, "cold datasets", pause_s=1)
        cold = self.datasets("archive", "deep")
        [file, *_] = self.asked("alice", "GET", f"datasets/{alice['id']}/files")["items"]
        [link, *_] = self.asked("alice", "GET", f"datasets/{alice['id']}/links")["items"]
        restores = [self.asked("alice", "POST", "restores", json={"dataset": str(found["id"]), "days": 5}) for found in cold[:2]]
        hold = self.asked("alice", "POST", "holds", json={"dataset": str(alice["id"]), "until": DAY, "reason": "mine"})
        coming = self.asked("alice", "POST", "datasets", json={"name": "hostile", "project": ALICE, "instrument": "saxs"})
        mounted = json.loads(self.engine.docker("inspect", "-f", "{{json .Mounts}}", self.hub.container("alice")))
        ports = {"archiver": self.here.settings.api.port, "hub": self.here.hub_port, "proxy": self.here.proxy_api_port}
        ports |= {name: self.here.store_port + number for name, number in (("store_master", 0), ("store_volume", 2), ("store_filer", 4))}
        return {
            "project": ALICE,
            "user": "alice",
            "url": f"http://{self.here.notebook_host}:{self.here.port}",
            "address": self.engine.address(self.hub.container("alice"), self.here.network),
            "home": str(self.hub.home),
            "home_of_user": next(mount["Source"] for mount in mounted if mount["Destination"] == "/home/jovyan"),
            "lost": LOST,
            "holder": HOLDER,
            "engine": self.engine.host,
            "ports": {name: (self.here.notebook_host, port) for name, port in {**ports, "store_s3": self.here.s3_port}.items()},
            "dataset": alice["id"],
            "name": alice["name"],
            "word": alice["name"],
            "file": file["id"],
            "cold": cold[2]["id"],
            "cold_name": cold[2]["full_name"],
            "bucket": "neve-hot",
            "team_bucket": "neve-team",
            "key": f"{alice['prefix']}/{file['path']}",
            "overheard": link["url"],
            "restore": restores[0]["id"],
            "restore_by_page": restores[1]["id"],
            "hold": hold["id"],
            "open": coming["id"],
            "day": DAY,
            "metadata_address": METADATA,
            "private_network": PRIVATE,
            "neighbour": FAR,
        }

    def in_container(self, user: str, probes: list[str], facts: hostile.Facts) -> dict[str, Any]:
        given = json.dumps({"probes": probes, "facts": facts})
        return json.loads(self.engine.docker("exec", self.hub.container(user), "python", "-c", SCRIPT, given, timeout_s=300))

    def on_host(self, user: str, probes: list[str], facts: hostile.Facts) -> dict[str, Any]:
        """With somebody's token, and as root."""
        env = {"NEVE_API_URL": f"{self.hub.url}/services/archiver", "JUPYTERHUB_API_URL": f"{self.hub.url}/hub/api"}
        env["JUPYTERHUB_API_TOKEN"] = self.apis[user].headers["Authorization"].removeprefix("Bearer ")
        given = json.dumps({"probes": probes, "facts": {**facts, "url": self.hub.url}})
        done = subprocess.run([sys.executable, "-c", SCRIPT, given], env={**os.environ, **env}, capture_output=True, timeout=300, check=True)
        return json.loads(done.stdout)

    def in_browser(self, user: str, probes: list[str], facts: hostile.Facts) -> dict[str, Any]:
        with self.hub.person(user) as client:
            assert client.get("/services/archiver/list").is_success
            return {name: BROWSER[name](client, facts) for name in probes}


@pytest.fixture(scope="module")
def stage(containers, docker_engine, tmp_path_factory):
    made = Stage(containers, docker_engine)
    with ExitStack() as held:
        for opened in (*made.apis.values(), *made.archivers.values()):
            held.callback(opened.close)
        made.membership("bob", LOST, "POST")
        held.callback(made.tidy)
        for user in ("alice", "bob"):
            spawn(made.apis[user], user)
            held.callback(stop, made.apis[user], user)
        made.inside("alice", "sh", "-c", "echo mine > ~/own.txt")
        made.share()
        held.enter_context(neighbour(f"nv{made.here.id[:6]}", tmp_path_factory.mktemp("beside")))
        yield made


def clear(stage: Stage, facts: hostile.Facts) -> None:
    """End what the controls have made: others work here, too."""
    dataset = f"datasets/{facts['dataset']}"
    stage.asked("alice", "PATCH", dataset, json={"tags": []})
    for comment in stage.asked("alice", "GET", f"{dataset}/comments")["items"]:
        stage.asked("alice", "DELETE", f"{dataset}/comments/{comment['id']}")
    for hold in stage.asked("alice", "GET", "holds")["items"]:
        stage.asked("alice", "DELETE", f"holds/{hold['id']}")
    for restore in stage.asked("alice", "GET", "restores")["items"]:
        if restore["state"] in {"requested", "queued", "recalling", "copying"}:
            stage.asked("alice", "POST", f"restores/{restore['id']}/cancel")
    for erasure in stage.asked("admin", "GET", "erasures")["items"]:
        stage.asked("admin", "POST", f"erasures/{erasure['id']}/withdraw")


def those(who: str, among: Iterable[str] = hostile.PROBES) -> list[str]:
    return [name for name in among if name.endswith(f"| {who}")]


def test_nothing_of_it_is_reached_and_each_attempt_works_where_it_may(stage, capsys):
    facts = stage.facts()
    own = stage.asked("bob", "GET", "datasets", params={"project": BOB, "tier": "hot"})["items"][0]["id"]
    hers = {**facts, "own": ALICE, "own_dataset": facts["dataset"], "joiner": "alice", "joiner_is_admin": False}
    his = {**facts, "own": BOB, "own_dataset": own, "joiner": "bob", "joiner_is_admin": True}
    within = [name for name in hostile.PROBES if not name.endswith("| outside")]
    try:
        reached = stage.in_container("bob", within, his) | stage.on_host("bob", those("outside"), his) | stage.in_browser("bob", list(BROWSER), his)
        works = stage.in_container("alice", those("member"), hers) | stage.on_host("alice", those("outside"), hers)
        works |= stage.on_host("admin", those("admin") + those("host"), hers)
        works |= stage.in_browser("alice", those("member", BROWSER), hers) | stage.in_browser("admin", those("admin", BROWSER), hers)
    finally:
        clear(stage, facts)
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(f"{name:<100} bob: {reached[name]}   control: {works[name]}" for name in sorted(reached)))
        sys.stdout.write(f"\n{len(reached)} cells, {sum(value is True for value in reached.values())} reached\n")
    assert len(reached) >= 40
    assert {name: value for name, value in reached.items() if value is not False} == {}
    assert {name: value for name, value in works.items() if value is not True} == {}
    assert works.keys() == reached.keys()
