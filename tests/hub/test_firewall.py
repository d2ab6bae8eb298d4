"""The notebooks' firewall on a network of its own: each thing that is refused was reached before, and is reached after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from fixtures.engine import Engine, addresses
from fixtures.instance import leftovers_of, login_page_answers, start_instance
from fixtures.processes import BIN, wait_until
from fixtures.requirements import missing, require_command
from hub.test_run import refused
from neve_hub import engine, firewall
from neve_hub.instance import Instance

from archiver.config import Settings

pytestmark = pytest.mark.docker
# Answers of a web server at each address and port, asked at once; runs here and inside.
PROBE = """
import concurrent.futures, json, sys, urllib.request
def ask(url):
    try:
        return urllib.request.urlopen(url, timeout=4).status == 200
    except OSError:
        return False
urls = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(20) as pool:
    print(json.dumps(dict(zip(urls, pool.map(ask, urls.values())))))
"""
NEAR, FAR = "198.51.100.1", "198.51.100.2"  # this machine's and its neighbour's, on a network of public addresses
METADATA, PRIVATE, INTERNET = "169.254.169.254", "10.255.77.1", "203.0.113.9"  # all of them the neighbour's, behind that network


class Always200(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the tests say what was reached."""


class Yard(NamedTuple):
    """A notebooks' network with one container on it, and web servers all around."""

    here: Instance
    gateway: str
    container: str
    docker: Engine
    urls: dict[str, str]

    def reached(self) -> set[str]:
        """What a notebook reaches; this machine reaches all of it, each time."""
        arguments = ["-c", PROBE, json.dumps(self.urls)]
        from_here = json.loads(subprocess.run([sys.executable, *arguments], capture_output=True, check=True, timeout=60).stdout)
        assert all(from_here.values()), f"control: {from_here}"
        inside = json.loads(self.docker.docker("exec", self.container, "python", *arguments))
        return {name for name, answers in inside.items() if answers}

    def with_settings(self, **hub: object) -> Instance:
        settings = self.here.settings
        return Instance(Settings(**{**settings.model_dump(), "hub": {**settings.hub.model_dump(), **hub}}))


def ip(*words: str, check: bool = True) -> None:
    subprocess.run([require_command("ip", what="a neighbour"), *words], check=check, capture_output=True, timeout=30)


@contextmanager
def neighbour(name: str, folder: Path) -> Iterator[None]:
    """A machine beside this one: a network namespace with addresses of every kind, and web servers at ports 8080 and 53."""
    servers: list[subprocess.Popen[bytes]] = []
    with addresses(NEAR):
        try:
            ip("netns", "add", name)
            ip("link", "add", f"{name}-h", "type", "veth", "peer", "name", f"{name}-n", "netns", name)
            ip("addr", "add", f"{NEAR}/30", "dev", f"{name}-h")
            ip("link", "set", f"{name}-h", "up")
            for device, address in ((f"{name}-n", f"{FAR}/30"), *(("lo", f"{address}/32") for address in (METADATA, PRIVATE, INTERNET))):
                ip("-n", name, "addr", "add", address, "dev", device)
            for device in ("lo", f"{name}-n"):
                ip("-n", name, "link", "set", device, "up")
            ip("-n", name, "route", "add", "default", "via", NEAR)
            for address in (METADATA, PRIVATE, INTERNET):
                ip("route", "add", f"{address}/32", "via", FAR)
            for port in ("8080", "53"):
                command = ["ip", "netns", "exec", name, sys.executable, "-m", "http.server", port, "--directory", str(folder)]
                servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            yield
        finally:
            for server in servers:
                server.kill()
                server.wait()
            ip("netns", "del", name, check=False)
            ip("link", "del", f"{name}-h", check=False)  # with it its address and the routes


@pytest.fixture(scope="module")
def yard(tmp_path_factory, port_base, free_port, docker_engine: Engine, singleuser_image: str) -> Iterator[Yard]:
    if os.geteuid() != 0:
        missing("the firewall", "setting rules takes root")
    home = tmp_path_factory.mktemp("yard")
    here = Instance(Settings(home=home, port=port_base(), hub={"image": singleuser_image}))
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("DOCKER_HOST", docker_engine.host)
        gateway = engine.bridge(here)
        stack.callback(engine.remove_containers, here)
        stack.callback(firewall.take_away, here)
        stack.enter_context(neighbour(f"nv{here.id[:6]}", home))
        ports = {"page": here.port, "s3": here.s3_public_port, "other port": free_port()}
        for port in ports.values():
            server = stack.enter_context(ThreadingHTTPServer(("0.0.0.0", port), Always200))
            Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        urls = {name: f"http://{gateway}:{port}/" for name, port in ports.items()}
        urls["this machine's other address"] = f"http://{NEAR}:{here.port}/"
        places = {"metadata": METADATA, "private": PRIVATE, "internet": INTERNET, "neighbour": FAR}
        urls |= {name: f"http://{address}:8080/" for name, address in places.items()} | {"names": f"http://{PRIVATE}:53/"}
        name = f"neve-{here.id}-notebook-yard"
        labels = ("--label", f"neve.instance={here.id}")
        docker_engine.docker(
            *("run", "--detach", "--name", name, "--network", here.network, *labels, "--cap-drop", "ALL"),
            "--entrypoint",
            "sleep",
            singleuser_image,
            "900",
        )
        yard = Yard(here, gateway, name, docker_engine, urls)
        wait_until(lambda: all_answer(urls), 20, "the servers")
        yield yard


def all_answer(urls: dict[str, str]) -> bool:
    done = subprocess.run([sys.executable, "-c", PROBE, json.dumps(urls)], capture_output=True, check=True, timeout=60)
    return all(json.loads(done.stdout).values())


def rules(word: str) -> list[str]:
    """Lines of both families that hold this word."""
    listed = [subprocess.run([command, "-w", "30", "-S"], capture_output=True, text=True, check=True).stdout for command in ("iptables", "ip6tables")]
    return [line for text in listed for line in text.splitlines() if word in line]


def test_only_what_a_notebook_needs_is_reached(yard):
    assert yard.reached() == set(yard.urls), "before"
    firewall.put(yard.here, yard.gateway)
    assert yard.reached() == {"page", "s3", "internet"}
    firewall.take_away(yard.here)
    assert yard.reached() == set(yard.urls), "after"
    assert not rules(f"NEVE-{yard.here.id}-")


def test_settings_say_more_and_less(yard):
    firewall.put(yard.with_settings(internet=False), yard.gateway)
    assert yard.reached() == {"page", "s3"}
    firewall.put(yard.with_settings(reachable=[f"{PRIVATE}/32", "169.254.0.0/16"]), yard.gateway)
    assert yard.reached() == {"page", "s3", "internet", "private", "names"}
    firewall.take_away(yard.here)


def test_names_are_asked_of_the_machines_servers_and_of_nothing_else_there(yard, tmp_path, monkeypatch):
    (tmp_path / "resolv.conf").write_text(f"search lab\nnameserver {PRIVATE}\nnameserver 127.0.0.53\nnameserver fd00::1\n")
    monkeypatch.setattr(firewall, "_RESOLVERS", (tmp_path / "resolv.conf", tmp_path / "absent"))
    firewall.put(yard.here, yard.gateway)
    assert yard.reached() == {"page", "s3", "internet", "names"}
    firewall.put(yard.with_settings(internet=False), yard.gateway)
    assert yard.reached() == {"page", "s3"}
    firewall.take_away(yard.here)


def test_put_twice_they_stand_once_and_others_rules_stay(yard):
    stranger = f"NEVE-{yard.here.id[::-1]}-IN"
    subprocess.run(["iptables", "-N", stranger], check=True)
    subprocess.run(["iptables", "-I", "INPUT", "1", "-i", f"neve-{yard.here.id[::-1]}", "-j", stranger], check=True)
    try:
        theirs = rules(stranger)
        firewall.put(yard.here, yard.gateway)
        once = rules(f"NEVE-{yard.here.id}-")
        assert sum(line.startswith("-A INPUT") for line in once) == 2 and any(line.startswith("-A DOCKER-USER") for line in once)
        firewall.put(yard.here, yard.gateway)
        assert rules(f"NEVE-{yard.here.id}-") == once
        assert theirs == rules(stranger)
        # What a killed run has left is replaced: here rules for a gateway that is no more.
        firewall.put(yard.here, "192.0.2.77")
        assert any("192.0.2.77" in line for line in rules(f"NEVE-{yard.here.id}-"))
        firewall.take_away(yard.here)
        assert not rules(f"NEVE-{yard.here.id}-") and rules(stranger) == theirs
        firewall.take_away(yard.here)
    finally:
        subprocess.run(["iptables", "-D", "INPUT", "-i", f"neve-{yard.here.id[::-1]}", "-j", stranger], check=True)
        subprocess.run(["iptables", "-X", stranger], check=True)


def test_a_change_is_seen(yard):
    firewall.put(yard.here, yard.gateway)
    stood = firewall.look(yard.here, yard.gateway)
    assert firewall.look(yard.here, yard.gateway) == stood
    subprocess.run(["iptables", "-F", f"NEVE-{yard.here.id}-IN"], check=True)
    assert "other port" in yard.reached()
    assert firewall.look(yard.here, yard.gateway) != stood
    firewall.put(yard.here, yard.gateway)
    assert firewall.look(yard.here, yard.gateway) == stood
    firewall.take_away(yard.here)


@pytest.fixture
def no_rights(tmp_path, docker_engine, singleuser_image) -> dict[str, str]:
    """The environment of an account that may use the engine, and may not set rules."""
    for command in ("iptables", "ip6tables"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / command).write_text("#!/bin/sh\necho 'Permission denied (you must be root).' >&2\nexit 4\n")
        (tmp_path / "bin" / command).chmod(0o755)
    hub = {"NEVE_HUB__IMAGE": singleuser_image, "NEVE_HUB__DOCKER": "always", "NEVE_HUB__MOUNTS": "never"}
    return {**docker_engine.env, **hub, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


@pytest.mark.parametrize("asked", [{"NEVE_HUB__FIREWALL": "always"}, {"NEVE_HUB__BIND": "0.0.0.0"}, {"NEVE_HUB__INTERNET": "false"}])
def test_without_the_right_a_lab_for_others_does_not_start(tmp_path, port_base, no_rights, asked):
    code, said = refused(tmp_path / "home", **no_rights, **asked, NEVE_PORT=str(port_base()))
    assert code == 2 and "hub.firewall" in said and "you must be root" in said
    assert not leftovers_of(tmp_path / "home")


def test_without_the_right_a_laptop_is_warned(tmp_path, port_base, no_rights):
    running = start_instance(tmp_path / "home", port_base(), env=no_rights, command=(BIN / "neve-run", "--demo", "none"))
    try:
        line = next(line for line in running.process.output().splitlines() if "no firewall" in line)
        assert "you must be root" in line and "metadata" in line
    finally:
        running.process.stop()
    assert not leftovers_of(tmp_path / "home")


@pytest.mark.long
def test_when_rules_cannot_be_looked_at_the_lab_works_on_and_says_so_once(tmp_path, port_base, docker_engine, singleuser_image):
    broken = tmp_path / "broken"
    (tmp_path / "bin").mkdir()
    for command in ("iptables", "ip6tables"):
        real = require_command(command, what="the firewall")
        (tmp_path / "bin" / command).write_text(
            f"#!/bin/sh\n[ -e {broken} ] && echo asked >> {broken} && echo 'cannot be had now' >&2 && exit 4\nexec {real} \"$@\"\n"
        )
        (tmp_path / "bin" / command).chmod(0o755)
    hub = {"NEVE_HUB__IMAGE": singleuser_image, "NEVE_HUB__DOCKER": "always", "NEVE_HUB__MOUNTS": "never", "NEVE_HUB__FIREWALL": "always"}
    env = {**docker_engine.env, **hub, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    running = start_instance(tmp_path / "home", port_base(), env=env, command=(BIN / "neve-run", "--demo", "none"))
    try:
        chain = f"NEVE-{(tmp_path / 'home' / 'instance-id').read_text()}-IN"
        stood = rules(chain)
        broken.touch()
        wait_until(lambda: broken.read_text().count("asked") > 2, 30, "some looks")
        subprocess.run(["iptables", "-F", chain], check=True)
        broken.unlink()
        wait_until(lambda: rules(chain) == stood, 20, "the rules again")
        wait_until(lambda: "is looked after again" in running.process.output(), 10, "the word of that")
        assert running.process.output().count("cannot be looked after") == 1 and login_page_answers(running.url)
    finally:
        running.process.stop()
    assert not rules(chain) and not leftovers_of(tmp_path / "home")
