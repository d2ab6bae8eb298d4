"""`neve-run` as a process: what stops it before it starts, what it leaves behind, and what it finds again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest
from fixtures.instance import leftovers_of, login_page_answers, start_instance
from fixtures.processes import BIN, wait_until
from neve_hub import settings_file
from neve_hub.instance import Instance

from archiver.config import Settings

RUN = (BIN / "neve-run", "--demo", "none")
ENV = {"NEVE_HUB__DOCKER": "never"}


def refused(home: Path, *arguments: str, **env: str) -> tuple[int, str]:
    """Run what must not start: exit code and what it said on stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NEVE_")}
    done = subprocess.run(
        [BIN / "neve-run", *arguments],
        env={**clean, **ENV, "NEVE_HOME": str(home), **env},
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("offset", [0, 1, 20, 81, 82, 106])
def test_a_port_in_use_is_named_with_its_holder(tmp_path, port_base, offset):
    port = port_base()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port + offset))
        holder.listen()
        code, said = refused(tmp_path / "home", NEVE_PORT=str(port))
    assert code == 1
    assert f"Port {port + offset}," in said and f"(pid {os.getpid()})" in said and psutil.Process().name() in said and "NEVE_PORT" in said
    assert not leftovers_of(tmp_path / "home")


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"NEVE_PORT": "many"}, "port"),
        ({"NEVE_PORT": "60000"}, "port"),
        ({"NEVE_HUB__DOCKER": "perhaps"}, "hub.docker"),
        ({"NEVE_HUB__COLOUR": "blue"}, "hub.colour"),
        ({"NEVE_HUB__BIND": "192.0.2.1"}, "hub.bind"),
        ({"NEVE_HUB__DOCKER": "always", "DOCKER_HOST": "unix:///nowhere.sock"}, "hub.docker"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, port_base, env, named):
    code, said = refused(tmp_path / "home", **{"NEVE_PORT": str(port_base()), **env})
    assert code == 2 and named in said.lower()
    assert not leftovers_of(tmp_path / "home")


def test_a_wrong_settings_file_is_named(tmp_path):
    (tmp_path / "mine.toml").write_text("[hub]\ndocer = 'never'\n")
    code, said = refused(tmp_path / "home", "--config", str(tmp_path / "mine.toml"))
    assert code == 2 and "hub.docer" in said and "mine.toml" in said
    code, said = refused(tmp_path / "home", "--config", str(tmp_path / "absent.toml"))
    assert code == 2 and "absent.toml" in said
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_made(tmp_path):
    (tmp_path / "home").write_text("a file")
    code, said = refused(tmp_path / "home")
    assert code == 1 and str(tmp_path / "home") in said


def test_a_settings_file_moves_with_the_port_and_nothing_else_in_it_changes(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    file = settings_file.write_first(Instance(Settings(home=home, port=8000)))
    file.write_text(file.read_text() + "\n[notes]\nkept = 'at 8106'\n")
    before = file.read_text()
    assert settings_file.moved(file, Settings(home=home, port=9000))
    pairs = [(old, new) for old, new in zip(before.splitlines(), file.read_text().splitlines(), strict=True) if old != new]
    assert {(old.split(" = ")[0], new[-6:].strip('"/')[-4:]) for old, new in pairs if "hub_api" not in old} == {
        ("port", "9000"),
        ("port", "9020"),
        ("endpoint_url", "9106"),
        ("public_endpoint_url", "9001"),
        ("sts_endpoint_url", "9106"),
    }
    assert not settings_file.moved(file, Settings(home=home, port=9000))


def marked(home: Path) -> list[psutil.Process]:
    """Processes of the instance in `home`."""
    number = (home / "instance-id").read_text()
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("NEVE_INSTANCE") == number:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_from_start_to_start(tmp_path, port_base):
    """One home through its life: Ctrl-C, a second start, a second Névé in the same home, kill -9 of everything, another port, a new password."""
    home, port = tmp_path / "home", port_base()
    running = start_instance(home, port, env=ENV, command=RUN)
    password, hashes = running.passwords["admin"], (home / "secrets" / "passwords.json").read_text()
    assert running.passwords.keys() == {"admin"}
    stranger = subprocess.Popen(["sleep", "300"], env={**os.environ, "NEVE_INSTANCE": "another"})
    try:
        # A second one in the same home.
        code, said = refused(home, NEVE_PORT=str(port))
        assert code == 1 and f"pid {running.process.pid}" in said and "NEVE_HOME" in said

        # Ctrl-C, as a terminal sends it: to the whole group.
        running.process.interrupt()
        assert running.process.popen.wait(60) == 0
        assert not leftovers_of(home), leftovers_of(home)
        assert not marked(home)

        # A second start finds everything, and shows no password.
        running = start_instance(home, port, env=ENV, command=RUN)
        assert running.passwords == {} or password not in running.process.output().split("stopped")[-1]
        assert (home / "secrets" / "passwords.json").read_text() == hashes

        # kill -9 of neve-run and its supervisor: the rest is left over, and so is a file system with mounts.
        supervisor = next(child for child in psutil.Process(running.process.pid).children() if "supervisord" in " ".join(child.cmdline()))
        left = [process for process in marked(home) if process.pid != supervisor.pid]
        os.kill(running.process.pid, signal.SIGKILL)
        supervisor.kill()
        running.process.popen.wait()
        assert any(process.is_running() for process in left)
        moved = port_base()
        running = start_instance(home, moved, env=ENV, command=RUN)
        assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)
        assert stranger.poll() is None, "a process that is not ours was ended"

        # It has moved to another port, settings file included, and the old one is free.
        assert f"port = {moved}" in (home / "neve.toml").read_text() and f":{port}" not in (home / "neve.toml").read_text()
        assert login_page_answers(f"http://127.0.0.1:{moved}") and not login_page_answers(f"http://127.0.0.1:{port}")
        assert httpx.get(f"http://127.0.0.1:{moved + 106}").status_code == 403

        # A part that is killed comes back, and the page with it.
        hub = next(process for process in marked(home) if "jupyterhub_config.py" in " ".join(process.cmdline()))
        hub.kill()
        wait_until(lambda: not hub.is_running() and login_page_answers(f"http://127.0.0.1:{moved}"), 60, "the hub")

        # A new password, while it runs.
        said = subprocess.run([BIN / "neve-run", "passwd", "admin"], env=running.env, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert said.stdout.strip() and said.stdout.strip() != password
        code, said = refused(home, "passwd", "nobody")
        assert code == 1 and "nobody" in said and "admin" in said
        assert not psutil.pid_exists(running.process.pid) or running.process.popen.poll() is None

        running.process.popen.send_signal(signal.SIGTERM)
        assert running.process.popen.wait(60) == 0
        assert not leftovers_of(home) and not marked(home)
    finally:
        stranger.kill()
        stranger.wait()
        running.process.stop()
        for process in marked(home):
            process.kill()


def test_two_run_side_by_side(hub, tmp_path, port_base):
    """A second instance, from another home on other ports, starts and ends and the first does not notice."""
    other = start_instance(tmp_path / "other", port_base(), env=ENV, command=RUN)
    assert login_page_answers(hub.url) and login_page_answers(other.url)
    other.process.interrupt()
    assert other.process.popen.wait(60) == 0
    assert not leftovers_of(tmp_path / "other")
    with hub.person("alice") as client:
        assert client.get("/hub/home").status_code == 200
