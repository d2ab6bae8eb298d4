"""Notebook servers that nobody uses are stopped; what is needed is not, though nobody clicks."""

from __future__ import annotations

import httpx
import pytest
from fixtures.instance import leftovers_of, start_instance
from fixtures.processes import BIN, wait_until
from hub.people import Hub, spawn, stop
from jupyter_client.blocking import BlockingKernelClient

IDLE_S = 20
STOPPED_WITHIN_S = 90


@pytest.fixture(scope="module")
def lab(tmp_path_factory, port_base):
    """Every restore waits for an admin."""
    home = tmp_path_factory.mktemp("idle") / "home"
    settings = {"NEVE_HUB__DOCKER": "never", "NEVE_HUB__CULL_IDLE": f"PT{IDLE_S}S", "NEVE_POLICY__APPROVAL_ABOVE_BYTES": "0"}
    running = start_instance(home, port_base(), env=settings, command=(BIN / "neve-run", "--demo", "small"))
    yield Hub(running)
    running.process.stop()
    assert not leftovers_of(home), running.process.tail()


def runs(api: httpx.Client, user: str) -> bool:
    return bool(api.get(f"/users/{user}").json()["servers"])


def archiver(lab: Hub, api: httpx.Client, method: str, path: str, **asked: object) -> dict:
    headers = {"Authorization": api.headers["Authorization"]}
    answer = httpx.request(method, f"{lab.url}/services/archiver/api/v1/{path}", headers=headers, timeout=30, **asked)
    assert answer.is_success, answer.text
    return answer.json()


def answers(client: BlockingKernelClient) -> bool:
    """Whether the kernel does; the client takes one that starts slowly for dead."""
    try:
        client.wait_for_ready(10)
    except RuntimeError:
        return False
    return True


def compute_in_silence(lab: Hub, api: httpx.Client, user: str) -> str:
    """Let a kernel of this user's server sleep for long; the kernel's address."""
    kernels = f"{lab.url}/user/{user}/api/kernels"
    number = httpx.post(kernels, headers={"Authorization": api.headers["Authorization"]}, timeout=60).raise_for_status().json()["id"]
    file = next(lab.home.glob(f"homes/{user}/**/kernel-{number}.json"))
    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels()
    wait_until(lambda: answers(client), 60, "the kernel")
    client.execute("import time; time.sleep(10_000)")
    client.stop_channels()
    return f"{kernels}/{number}"


def test_what_is_idle_is_stopped_and_what_is_needed_is_not(lab):
    with lab.api("alice") as alice, lab.api("bob") as bob, lab.api("admin") as admin:
        spawn(alice, "alice")
        kernel = compute_in_silence(lab, alice, "alice")
        name = archiver(lab, bob, "GET", "datasets")["items"][0]["full_name"]
        restore = archiver(lab, bob, "POST", "restores", json={"dataset": name})
        assert restore["state"] == "awaiting_approval"
        spawn(bob, "bob")
        spawn(admin, "admin")
        wait_until(lambda: not runs(admin, "admin"), STOPPED_WITHIN_S, "the end of the server that nobody uses")
        # The others were used before it for the last time.
        assert runs(alice, "alice") and runs(bob, "bob")

        assert httpx.delete(kernel, headers={"Authorization": alice.headers["Authorization"]}, timeout=30).status_code == 204
        archiver(lab, admin, "POST", f"restores/{restore['id']}/deny", json={"reason": "no room"})
        wait_until(lambda: not runs(alice, "alice") and not runs(bob, "bob"), STOPPED_WITHIN_S, "the end of both when nothing needs them")


def test_its_service_may_stop_servers_and_nothing_else(lab):
    token = (lab.home / "secrets" / "idle-culler-token").read_text().strip()
    with lab.api("alice") as alice, httpx.Client(base_url=f"{lab.url}/hub/api", headers={"Authorization": f"Bearer {token}"}) as service:
        spawn(alice, "alice")
        users = {user["name"]: user for user in service.get("/users").json()}
        assert users.keys() == {"admin", "alice", "bob"}
        assert users["alice"]["servers"][""]["last_activity"] and not {"groups", "roles", "auth_state"} & users["alice"].keys()
        for method, path in [("POST", "/users/alice/server"), ("DELETE", "/users/alice"), ("POST", "/users/alice/tokens"), ("GET", "/groups")]:
            assert service.request(method, path).status_code in (403, 404), path
        assert service.get(f"{lab.url}/services/archiver/api/v1/datasets").status_code in (401, 403)
        stop(alice, "alice")
