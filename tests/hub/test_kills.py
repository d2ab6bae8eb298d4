"""kill -9 of each process of a whole instance in turn, while a notebook's kernel holds a variable, a file is sent and data come back from deep.

Law: it comes back by itself; nobody has to log in, run a cell or send a file again, and every byte is where it should be.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
import uuid
import xmlrpc.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import websocket
from fixtures.engine import Engine
from fixtures.processes import BIN, wait_until
from hub.people import Hub, spawn, stop
from neve_hub import processes
from neve_hub.instance import Instance
from supervisor.xmlrpc import SupervisorTransport

from archiver.config import load

pytestmark = [pytest.mark.docker, pytest.mark.fuse]
PROJECT = "snow-physics"
FILE_BYTES = 48 * 2**20  # three parts
WITHIN_S = 90
PROCESSES = ["traefik", "store", "mounts", "archiver", "worker", "reaper", "idle-culler", "hub"]
# Few datasets are in deep alone, and other tests need some.
FROM_DEEP = {"store", "worker"}


@dataclass
class Supervised:
    """The instance's processes, as its own supervisor tells of them."""

    here: Instance

    def running(self) -> dict[str, int]:
        """Process id by name."""
        door = SupervisorTransport(None, None, f"unix://{processes.socket(self.here)}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=door) as rpc:
            return {one["name"]: one["pid"] for one in rpc.supervisor.getAllProcessInfo() if one["statename"] == "RUNNING"}


@dataclass
class Kernel:
    """A kernel of a person's notebook, spoken to through the hub's door as a browser does."""

    url: str
    token: str
    number: str = ""

    def start(self) -> None:
        made = httpx.post(f"{self.url}/api/kernels", headers={"Authorization": f"Bearer {self.token}"}, timeout=60)
        self.number = made.raise_for_status().json()["id"]

    def run(self, code: str, within_s: float = 10) -> str:
        """What the code prints. Raises what a browser's connection would meet."""
        address = f"{self.url.replace('http', 'ws', 1)}/api/kernels/{self.number}/channels"
        number = uuid.uuid4().hex
        content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
        header = {"msg_id": number, "msg_type": "execute_request", "version": "5.3", "username": "", "session": number}
        sent = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        door = websocket.create_connection(address, timeout=within_s, header=[f"Authorization: Bearer {self.token}"])
        try:
            door.send(json.dumps(sent))
            printed = ""
            while True:
                said = json.loads(door.recv())
                if said["parent_header"].get("msg_id") != number:
                    continue
                if said["msg_type"] == "stream":
                    printed += said["content"]["text"]
                elif said["msg_type"] == "error":
                    raise AssertionError(said["content"]["evalue"])
                elif said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
                    return printed
        finally:
            door.close()


@dataclass
class Work:
    """What goes on while something is killed."""

    hub: Hub
    engine: Engine
    supervised: Supervised
    container: str
    browser: httpx.Client  # alice's, with the cookies of her login
    kernel: Kernel
    key_file: Path
    taken: set[int] = field(default_factory=set)  # what was brought back before: the search may not know it yet

    @property
    def archiver(self) -> str:
        return f"{self.hub.url}/services/archiver"

    def ask(self, method: str, path: str, **more: object) -> dict:
        headers = {"Authorization": f"Bearer {self.kernel.token}"}
        return httpx.request(method, f"{self.archiver}/api/v1/{path}", headers=headers, timeout=10, **more).raise_for_status().json()

    def send(self, folder: Path) -> subprocess.Popen[str]:
        """A sending that has begun, and not more."""
        command = [BIN / "neve", "send", folder, "--url", self.archiver, "--key-file", self.key_file, "--journal", folder.parent / "sent", "--json"]
        sender = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert sender.stdout is not None
        for line in sender.stdout:
            if json.loads(line)["event"] == "opened":
                break
        return sender

    def cold(self, tier: str) -> dict:
        """A small dataset of alice's own projects that lies in this tier and no nearer; the worker lays the demo's there within the first minutes."""

        def found() -> dict | None:
            listed = self.ask("GET", "datasets", params={"tier": tier, "sort": "smallest", "limit": 50})["items"]
            return next((one for one in listed if not one["public"] and one["id"] not in self.taken), None)

        dataset = wait_until(found, 180, f"a dataset in {tier}", pause_s=1)
        assert isinstance(dataset, dict)
        self.taken.add(dataset["id"])
        return dataset

    def reads(self, place: str) -> str:
        """SHA-256 of a file as the notebook's container reads it."""
        return self.engine.docker("exec", self.container, "sh", "-c", f"sha256sum < '{place}'", check=False).partition(" ")[0]


@pytest.fixture(scope="module")
def work(containers: Hub, docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    """Alice is logged in, her notebook's kernel holds a variable, an instrument may send to a project of hers."""
    here = Instance(load(containers.home / "neve.toml"))
    command = [BIN / "archiver", "--config", containers.home / "neve.toml", "instruments", "add", "killed", "--project-rule", PROJECT, "--json"]
    added = subprocess.run(command, env=containers.running.env, capture_output=True, text=True, check=True)
    key_file = tmp_path_factory.mktemp("kills") / "key"
    key_file.write_text(json.loads(added.stdout)["key"])
    with containers.api("alice") as api, containers.person("alice") as browser:
        spawn(api, "alice")
        kernel = Kernel(f"{containers.url}/user/alice", api.headers["Authorization"].removeprefix("Bearer "))
        kernel.start()
        wait_until(lambda: kernel.run("kept = 6 * 7; print(kept)") == "42\n", 60, "the kernel")
        yield Work(containers, docker_engine, Supervised(here), containers.container("alice"), browser, kernel, key_file)
        stop(api, "alice")


def test_each_process_is_known(work: Work):
    assert sorted(work.supervised.running()) == sorted(PROCESSES)


@pytest.mark.parametrize("names", [*(pytest.param([name], id=name, marks=pytest.mark.long) for name in PROCESSES), pytest.param(PROCESSES, id="all")])
def test_killed_they_come_back_and_all_goes_on(work: Work, tmp_path: Path, names: list[str], capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / f"killed-{'-'.join(names)}"
    folder.mkdir()
    (folder / "scan.bin").write_bytes(os.urandom(FILE_BYTES))
    (folder / "log.txt").write_text("t,x\n0,1\n")
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    cold = work.cold("deep" if FROM_DEEP & {*names} else "archive")
    file = work.ask("GET", f"datasets/{cold['id']}/files")["items"][0]
    old = work.supervised.running()
    restore = work.ask("POST", "restores", json={"dataset": cold["full_name"], "days": 1})
    with work.send(folder) as sender:
        for name in names:
            os.kill(old[name], signal.SIGKILL)
        killed = time.monotonic()
        assert sender.poll() is None
        try:
            took = seconds(work, killed, names, old, restore["id"], cold, file, sender)
        finally:
            sender.kill()
        assert sender.stdout is not None
        events = [json.loads(line) for line in sender.stdout]
    assert sender.returncode == 0, events
    assert (events[-1]["event"], events[-1]["ok"], events[-1]["state"]) == ("end", True, "closed")
    (sent,) = work.ask("GET", "datasets", params={"name": folder.name})["items"]
    assert {one["path"]: one["sha256"] for one in work.ask("GET", f"datasets/{sent['id']}/files")["items"]} == sums
    wait_until(lambda: {path: work.reads(f"{sent['path']}/{path}") for path in sums} == sums, 20, "what was sent, in /data")
    assert {name for name, pid in work.supervised.running().items() if pid != old[name]} == {*names}, "another one went with it"
    with capsys.disabled():
        print(f"\nkill -9 of {', '.join(names)}: " + ", ".join(f"{part} {s:.1f} s" for part, s in took.items()))


def seconds(
    work: Work, killed: float, names: list[str], old: dict[str, int], restore: int, cold: dict, file: dict, sender: subprocess.Popen[str]
) -> dict[str, float]:
    """After how many seconds each part answered as it should, all asked at once, again and again."""

    def back() -> bool:
        now = work.supervised.running()
        return all(now.get(name, old[name]) != old[name] for name in names)

    def page() -> bool:
        answer = work.browser.get("/hub/home")
        return answer.is_success and answer.url.path == "/hub/home"

    def notebook() -> bool:
        answer = work.browser.get("/user/alice/lab")
        return answer.is_success and answer.url.path == "/user/alice/lab"

    def api() -> bool:
        return work.ask("GET", "me")["name"] == "alice"

    def kernel() -> bool:
        return work.kernel.run("print(kept)") == "42\n"

    def restored() -> bool:
        found = work.ask("GET", f"restores/{restore}")
        assert found["state"] not in {"failed", "partly_ready"}, found
        return found["state"] == "ready"

    def data() -> bool:
        return restored() and work.reads(f"{cold['path']}/{file['path']}") == file["sha256"]

    def received() -> bool:
        return sender.poll() is not None

    def until(done: Callable[[], bool]) -> float:
        def quietly() -> bool:
            try:
                return done()
            except (httpx.HTTPError, OSError, websocket.WebSocketException):
                return False

        wait_until(quietly, WITHIN_S, f"{done.__name__} after kill -9 of {', '.join(names)}", pause_s=0.2)
        return time.monotonic() - killed

    asked = (back, page, notebook, api, kernel, restored, data, received)
    with ThreadPoolExecutor(len(asked)) as pool:
        return dict(zip([done.__name__ for done in asked], pool.map(until, asked), strict=True))
