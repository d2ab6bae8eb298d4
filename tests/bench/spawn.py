"""`make bench`: how long until a JupyterLab can be used, against the bare container; and twenty people who come at once.

One user's server is asked for at the hub's API until GET /user/<name>/lab answers 200 through the hub's door, beside `docker run` of the same image
with JupyterLab alone until its /lab answers 200; the two take turns. Then twenty users fill in the login form and ask for their server at
the same moment: seconds until each has a lab that answers, peak memory (MiB) of the containers and of the hub's processes. All wait as the hub's page
does in a browser: on the hub's word that the server is there. A ratio below 1.3 is the goal. Prints figures and judges nothing. Takes Docker, and
root where mounts and the firewall shall be part of it, as at a facility.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.engine import Engine, build_image, engine_that_answers
from fixtures.instance import RunningInstance, start_instance
from fixtures.ports import INSTANCE, find_base
from fixtures.processes import wait_until
from hub.people import Hub, given_password, send, stop, xsrf

ROUNDS, PEOPLE, GOAL = 7, 20, 1.3
WITHIN_S = 300


def usable(client: httpx.Client, path: str) -> bool:
    """Whether JupyterLab's page is there: neither the hub's page that asks to wait nor a gateway's error."""
    try:
        answer = client.get(path, follow_redirects=True)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and "jupyter-config-data" in answer.text


def bare(engine: Engine, image: str) -> float:
    """`docker run` until its server answers."""
    command = ("jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--IdentityProvider.token=")
    began = time.monotonic()
    engine.docker("run", "--detach", "--name", "neve-bench-bare", "--network", "bridge", image, *command)
    try:
        with httpx.Client(base_url=f"http://{engine.address('neve-bench-bare', 'bridge')}:8888", timeout=5) as client:
            wait_until(lambda: usable(client, "/lab"), WITHIN_S, "the bare container", pause_s=0.05)
        return time.monotonic() - began
    finally:
        engine.docker("rm", "--force", "neve-bench-bare")


def wait_for_lab(client: httpx.Client, user: str) -> None:
    """As the hub's page does: listen to how the start goes, then go to the lab."""
    with client.stream("GET", f"/hub/api/users/{user}/server/progress", timeout=WITHIN_S) as said:
        for line in said.iter_lines():
            told = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            assert not told.get("failed"), told
            if told.get("ready"):
                break
    wait_until(lambda: usable(client, f"/user/{user}/lab"), WITHIN_S, f"the lab of {user}", pause_s=0.05)


def ours(hub: Hub, user: str) -> float:
    """From the request for a server to its lab through the hub's door."""
    with hub.person(user) as client:
        page = client.get("/hub/home")
        began = time.monotonic()
        answer = client.post(f"/hub/api/users/{user}/server", headers={"X-XSRFToken": xsrf(client, page)})
        assert answer.status_code in (201, 202), answer.text
        wait_for_lab(client, user)
        return time.monotonic() - began


def comes(hub: Hub, user: str, password: str, at: threading.Barrier) -> float:
    """Log in, ask for a server, wait for the lab."""
    at.wait()
    began = time.monotonic()
    with hub.login(user, password) as (client, page):
        assert page.status_code == 200, page.text[:300]
        client.get("/hub/spawn", follow_redirects=True)
        wait_for_lab(client, user)
    return time.monotonic() - began


class Memory:
    """Peaks of what containers and the instance's own processes hold, MiB, looked at each second."""

    def __init__(self, engine: Engine, running: RunningInstance) -> None:
        self.containers = self.instance = 0.0
        self._engine, self._parent, self._over = engine, running.process.popen.pid, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(1):
            ids = self._engine.docker("ps", "--quiet", "--no-trunc").split()
            self.containers = max(self.containers, sum(map(_held, ids)) / 2**20)
            held = 0
            for process in psutil.Process(self._parent).children(recursive=True):
                try:
                    held += process.memory_info().rss
                except psutil.Error:
                    continue
            self.instance = max(self.instance, held / 2**20)


def _held(container: str) -> int:
    """Bytes a container's processes hold, without pages of files that can go."""
    places = ("memory/docker/{}", "docker/{}", "system.slice/docker-{}.scope")  # cgroup 1, and 2 without and with systemd
    for place in places:
        with suppress(OSError):
            words = dict(line.split() for line in (Path("/sys/fs/cgroup") / place.format(container) / "memory.stat").read_text().splitlines())
            return int(words.get("anon") or words["total_rss"])
    return 0


@contextmanager
def measured_instance() -> Iterator[tuple[Engine, str, RunningInstance]]:
    with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder, ExitStack() as held, engine_that_answers() as engine:
        image = build_image(engine)
        env = {**engine.env, "NEVE_HUB__IMAGE": image, "NEVE_HUB__DOCKER": "always", "NEVE_HUB__MOUNTS": "auto"}
        running = start_instance(Path(folder) / "home", find_base(INSTANCE, held), env=env)
        try:
            yield engine, image, running
        finally:
            running.process.stop()
            engine.remove_volumes(f"neve-{(running.home / 'instance-id').read_text().strip()}-")


def main() -> None:
    """Measure and print."""
    with measured_instance() as (engine, image, running):
        hub = Hub(running)
        without, spawned = [], []
        with hub.api("alice") as api:
            for _ in range(ROUNDS):
                without.append(bare(engine, image))
                spawned.append(ours(hub, "alice"))
                stop(api, "alice")
        for name, times in (("docker run until the lab answers", without), ("asked of the hub until the lab answers", spawned)):
            print(f"{name}: median {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f}, {len(times)} runs)")
        print(f"ratio: {statistics.median(spawned) / statistics.median(without):.2f} (goal at most {GOAL})")
        with hub.person("admin") as admin:
            names = [f"guest{number:02}" for number in range(PEOPLE)]
            people = {name: given_password(send(admin, "/hub/password/give", name=name, do="add")) for name in names}
        at = threading.Barrier(PEOPLE)
        with Memory(engine, running) as memory, ThreadPoolExecutor(PEOPLE) as pool:
            times = sorted(pool.map(lambda one: comes(hub, *one, at), people.items()))
        spread = f"first {times[0]:.0f} s, median {statistics.median(times):.0f} s, last {times[-1]:.0f} s"
        print(f"{PEOPLE} people at once, {os.cpu_count()} processors: {spread}")
        print(f"memory: {memory.containers:.0f} MiB in {PEOPLE} containers, {memory.instance:.0f} MiB in the instance's own processes")


if __name__ == "__main__":
    main()
