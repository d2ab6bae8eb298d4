"""A notebook in a container: what it is allowed, what it reaches, and what is left when it ends."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import psutil
import pytest
from fixtures.engine import addresses
from fixtures.processes import wait_until
from hub.people import is_mounts_process, spawn, stop
from neve_hub import mounts
from neve_hub.instance import Instance

from archiver.config import load

pytestmark = [pytest.mark.docker, pytest.mark.fuse]
BACK_WITHIN_S = 20
# Runs inside: a TCP connection, or why not.
KNOCK = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); print('open')"
FETCH = "import httpx,sys,os; print(httpx.get(sys.argv[1], headers={'Authorization': 'Bearer ' + os.environ['JUPYTERHUB_API_TOKEN']}).status_code)"
READ_BY_S3 = """
import s3fs
s3 = s3fs.S3FileSystem(profile='alpine-ice')
key = next(key for key in s3.find('neve-hot/alpine-ice') if key.endswith('.nxs'))
print(s3.cat_file(key, start=0, end=8).hex())
"""


@pytest.fixture(scope="module")
def here(containers):
    return Instance(load(containers.home / "neve.toml"))


@pytest.fixture(scope="module")
def alice(containers, docker_engine, here):
    """Name of alice's running container."""
    with containers.api("alice") as api:
        spawn(api, "alice")
        yield containers.container("alice")
        stop(api, "alice")
    assert not docker_engine.docker("ps", "-aq", "--filter", f"name={containers.container('alice')}")
    assert docker_engine.docker("volume", "ls", "-q", "--filter", f"name=neve-{here.id}-home-alice"), "the home is gone with its container"


def inside(engine, name: str, *command: str) -> str:
    return engine.docker("exec", name, *command, check=False)


def test_it_may_do_nothing_that_it_need_not(docker_engine, alice, here):
    config = json.loads(docker_engine.docker("inspect", alice))[0]
    host = config["HostConfig"]
    assert host["CapDrop"] == ["ALL"] and "no-new-privileges" in host["SecurityOpt"] and not host["Privileged"] and host["PidsLimit"] == 1024
    assert host["Memory"] == 4 * 2**30 and host["CpuQuota"] == 2 * host["CpuPeriod"]
    assert list(config["NetworkSettings"]["Networks"]) == [here.network] and not host["PortBindings"]
    assert config["Config"]["Labels"]["neve.instance"] == here.id and config["Config"]["User"] == "1000:1000"
    mounted = {mount["Destination"]: mount for mount in config["Mounts"]}
    assert mounted.keys() == {"/home/jovyan", "/data", "/shared"}
    assert not mounted["/data"]["RW"] and mounted["/data"]["Propagation"] == mounted["/shared"]["Propagation"] == "rslave"
    assert inside(docker_engine, alice, "id", "-u") == "1000"
    assert "CapEff:\t0000000000000000" in inside(docker_engine, alice, "cat", "/proc/self/status")


def test_it_sees_its_own_projects_read_only(docker_engine, alice):
    assert inside(docker_engine, alice, "ls", "/data").split() == ["alpine-ice", "snow-physics"]
    assert inside(docker_engine, alice, "find", "/data/alpine-ice", "-name", "*.nxs", "-print", "-quit")
    assert inside(docker_engine, alice, "sh", "-c", "touch /data/x /data/alpine-ice/x 2>&1; true").count("Read-only") == 2
    assert inside(docker_engine, alice, "sh", "-c", "echo kept > ~/kept && cat ~/kept") == "kept"


def test_it_shares_a_folder_with_the_members_of_each_project(containers, docker_engine, alice):
    assert inside(docker_engine, alice, "ls", "/shared").split() == ["alpine-ice", "snow-physics"]
    assert (
        inside(docker_engine, alice, "sh", "-c", "echo $NEVE_SHARED; echo ours > /shared/alpine-ice/a.txt && readlink ~/shared") == "/shared\n/shared"
    )
    assert (containers.home / "shared" / "alpine-ice" / "a.txt").read_text() == "ours\n"
    assert inside(docker_engine, alice, "sh", "-c", "touch /shared/x 2>&1; mkdir /shared/x 2>&1; chmod +w /shared 2>&1").count("not permitted") == 1
    options = inside(docker_engine, alice, "sh", "-c", "cut -d' ' -f5,6 /proc/self/mountinfo | grep '^/shared/'").split()[1::2]
    assert len(options) == 2 and all({"rw", "nosuid", "nodev"} <= set(words.split(",")) for words in options)


def test_its_file_browser_shows_what_is_shared(containers, alice):
    with containers.api("alice") as api:
        place = f"{containers.url}/user/alice/api/contents/shared"
        assert {item["name"] for item in api.get(place).json()["content"]} == {"alpine-ice", "snow-physics"}
        assert api.put(f"{place}/alpine-ice/x.txt", json={"type": "file", "format": "text", "content": "x"}).status_code == 201
        assert api.patch(f"{place}/alpine-ice/x.txt", json={"path": "shared/snow-physics/y.txt"}).status_code == 200
        assert api.get(f"{place}/snow-physics/y.txt").json()["content"] == "x"
        assert api.delete(f"{place}/snow-physics/y.txt").status_code == 204
        assert "y.txt" not in {item["name"] for item in api.get(f"{place}/snow-physics").json()["content"]}
        assert api.put(f"{place}/x.txt", json={"type": "file", "format": "text", "content": "x"}).status_code == 403


def test_its_file_browser_shows_team_notebooks(containers, alice):
    with containers.api("alice") as api:
        place = f"{containers.url}/user/alice/api/contents/team"
        assert {item["name"] for item in api.get(place).json()["content"]} == {"alpine-ice", "snow-physics"}
        assert api.put(f"{place}/alpine-ice/x.txt", json={"type": "file", "format": "text", "content": "x"}).status_code == 201
        assert api.get(f"{place}/alpine-ice/x.txt").json()["content"] == "x"
        assert api.delete(f"{place}/alpine-ice/x.txt").status_code == 204


def test_it_reaches_the_archiver_the_hubs_api_and_s3_and_no_more(docker_engine, alice, here):
    gateway = here.notebook_host
    assert inside(docker_engine, alice, "python", "-c", FETCH, f"http://{gateway}:{here.port}/services/archiver/api/v1/me") == "200"
    assert inside(docker_engine, alice, "python", "-c", FETCH, f"http://{gateway}:{here.port}/hub/api/user") == "200"
    assert inside(docker_engine, alice, "python", "-c", KNOCK, gateway, str(here.s3_public_port)) == "open"
    assert inside(docker_engine, alice, "python", "-c", FETCH, f"http://{gateway}:{here.port}/hub/login") == "404"
    for port in (here.settings.api.port, here.hub_port, here.proxy_api_port, *range(here.store_port, here.store_port + 9), here.store_port + 10008):
        assert inside(docker_engine, alice, "python", "-c", KNOCK, gateway, str(port)) == "", port


@pytest.fixture
def metadata():
    """A cloud's metadata service on this machine, and a port of the machine that is nobody's to reach; what answers here."""
    with addresses("169.254.169.254"):
        subprocess.run(["ip", "addr", "add", "169.254.169.254/32", "dev", "lo"], check=True)
        try:
            with ThreadingHTTPServer(("0.0.0.0", 0), SimpleHTTPRequestHandler) as server:
                Thread(target=server.serve_forever, daemon=True).start()
                yield server.server_port
                server.shutdown()
        finally:
            subprocess.run(["ip", "addr", "del", "169.254.169.254/32", "dev", "lo"], check=True)


def test_it_reaches_neither_the_metadata_nor_another_port_of_this_machine(docker_engine, alice, here, metadata):
    for address in ("169.254.169.254", here.notebook_host):
        with socket.create_connection((address, metadata), 3):
            pass  # control: from here it is reached
        assert inside(docker_engine, alice, "python", "-c", KNOCK, address, str(metadata)) == "", address
    assert inside(docker_engine, alice, "python", "-c", KNOCK, here.notebook_host, str(here.port)) == "open"


def test_its_s3_profile_reads(docker_engine, alice):
    assert inside(docker_engine, alice, "python", "-c", READ_BY_S3) == b"\x89HDF\r\n\x1a\n".hex()


def test_rules_that_somebody_takes_away_stand_again(containers, docker_engine, alice, here, metadata):
    def reached() -> bool:
        return inside(docker_engine, alice, "python", "-c", KNOCK, here.notebook_host, str(metadata)) == "open"

    def rules() -> list[str]:
        return [line for chain in chains for line in subprocess.check_output(["iptables", "-w", "30", "-S", chain], text=True).splitlines()]

    chains = (f"NEVE-{here.id}-IN", f"NEVE-{here.id}-FWD")
    stood = rules()
    assert not reached()
    for chain in chains:
        subprocess.run(["iptables", "-w", "30", "-F", chain], check=True)
    wait_until(lambda: rules() == stood, BACK_WITHIN_S, "the rules")
    assert not reached()
    wait_until(lambda: "put up anew" in containers.running.process.output(), 5, "the word of it")


def test_it_does_not_reach_another_notebook(containers, docker_engine, alice, here):
    with containers.api("bob") as api:
        spawn(api, "bob")
        try:
            bob = containers.container("bob")
            address = docker_engine.address(bob, here.network)
            assert inside(docker_engine, bob, "python", "-c", KNOCK, address, "8888") == "open", "control: bob reaches bob"
            assert inside(docker_engine, alice, "python", "-c", KNOCK, address, "8888") == ""
        finally:
            stop(api, "bob")


def test_a_killed_mount_comes_back_in_the_running_container(docker_engine, alice, here):
    place = str(here.data / "projects" / "alpine-ice")
    seen = inside(docker_engine, alice, "ls", "/data/alpine-ice")
    assert seen
    next(process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] and place in process.info["cmdline"]).kill()
    wait_until(lambda: inside(docker_engine, alice, "ls", "/data/alpine-ice") == seen, BACK_WITHIN_S, "the mount inside")


# Keeps a project's folder open, and tells each second whether it is still read.
KEEPS = """
import os, time
folder = os.open("/data/alpine-ice", os.O_RDONLY)
while True:
    try:
        said = "reads" if os.listdir(folder) else "sees nothing"
    except OSError as error:
        said = error.strerror
    open(os.path.expanduser("~/keeps.new"), "w").write(said)
    os.rename(os.path.expanduser("~/keeps.new"), os.path.expanduser("~/keeps"))
    time.sleep(0.5)
"""


def test_a_group_lost_or_gained_counts_in_the_running_container(containers, docker_engine, alice, here):
    def shown() -> list[str]:
        return inside(docker_engine, alice, "ls", "/data").split()

    def says() -> str:
        return inside(docker_engine, alice, "cat", "/home/jovyan/keeps")

    def works_in() -> set[str]:
        return set(re.findall(r"sleep (\S+)", docker_engine.docker("top", alice, "-o", "pid,args")))

    docker_engine.docker("exec", "--detach", alice, "python", "-c", KEEPS)
    for place in ("/shared/alpine-ice", "/shared/snow-physics"):
        docker_engine.docker("exec", "--detach", "--workdir", place, alice, "bash", "-c", f"exec 3> held; exec -a 'sleep {place}' sleep 600")
    wait_until(lambda: works_in() == {"/shared/alpine-ice", "/shared/snow-physics"}, BACK_WITHIN_S, "what works there")
    wait_until(lambda: says() == "reads", BACK_WITHIN_S, "the folder held open")
    with containers.api("admin") as api:
        assert api.request("DELETE", "/groups/alpine-ice/users", json={"users": ["alice"]}).status_code == 200
        try:
            wait_until(lambda: shown() == ["snow-physics"], 60, "the loss")
            wait_until(lambda: says() not in {"reads", "sees nothing"}, BACK_WITHIN_S, "the end of what was held open")
            wait_until(lambda: inside(docker_engine, alice, "ls", "/shared") == "snow-physics", BACK_WITHIN_S, "the loss of what is shared")
            assert works_in() == {"/shared/snow-physics"}
        finally:
            assert api.post("/groups/alpine-ice/users", json={"users": ["alice"]}).status_code == 200
    wait_until(lambda: shown() == ["alpine-ice", "snow-physics"], 60, "the gain")
    assert inside(docker_engine, alice, "ls", "/data/alpine-ice")
    assert "held" in inside(docker_engine, alice, "ls", "/shared/alpine-ice")


def test_all_comes_back_inside_when_the_mounts_process_is_killed(docker_engine, alice, here):
    """It comes back with mounts of its own: what the running container held on to is the folder above them."""
    seen = inside(docker_engine, alice, "ls", "-R", "/data")
    mounting = next(process for process in psutil.process_iter() if is_mounts_process(here, process))
    mounting.kill()
    wait_until(lambda: not mounting.is_running() and inside(docker_engine, alice, "ls", "-R", "/data") == seen, BACK_WITHIN_S, "/data inside")


# A file of /shared that is open nowhere but in a message between two sockets of one process.
HIDES = """
import os, socket, time
pair = socket.socketpair()
file = os.open("/shared/snow-physics/theirs.txt", os.O_CREAT | os.O_WRONLY)
socket.send_fds(pair[0], [b"x"], [file])
os.write(file, b"hidden")
os.close(file)
time.sleep(600)
"""


def test_a_notebook_that_hides_what_it_lost_is_ended_and_its_data_go(containers, docker_engine, alice, here):
    bob, wanted = containers.container("bob"), here.wanted / "bob.json"
    docker_engine.docker("exec", alice, "sh", "-c", "echo hers > /shared/snow-physics/hers.txt")
    with containers.api("bob") as api, containers.api("admin") as admin:
        assert admin.post("/groups/snow-physics/users", json={"users": ["bob"]}).status_code == 200
        try:
            spawn(api, "bob")
            assert inside(docker_engine, bob, "cat", "/shared/snow-physics/hers.txt") == "hers"
            docker_engine.docker("exec", "--detach", bob, "python", "-c", HIDES)
            wait_until(lambda: inside(docker_engine, alice, "cat", "/shared/snow-physics/theirs.txt") == "hidden", BACK_WITHIN_S, "what bob writes")
            assert wanted.exists()
        finally:
            assert admin.request("DELETE", "/groups/snow-physics/users", json={"users": ["bob"]}).status_code == 200
        wait_until(lambda: not wanted.exists() and not mounts.mounted(mounts.tree(here, "bob")), 60, "the end of bob's /data")
        wait_until(lambda: not mounts.mounted(mounts.shared_tree(here, "bob")), BACK_WITHIN_S, "the end of bob's /shared")
        wait_until(lambda: not api.get("/users/bob").json()["servers"], 60, "the hub's hearing of it")
    assert "bob, which lost it, where it cannot be seen: the notebook was ended" in (here.log / "mounts.log").read_text()
    assert inside(docker_engine, alice, "cat", "/shared/snow-physics/hers.txt") == "hers"
