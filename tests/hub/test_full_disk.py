"""The disk that the hub writes to is full: it is said, what runs goes on, and with room again all works, without a restart."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fixtures.instance import leftovers_of, start_instance
from fixtures.processes import BIN
from fixtures.requirements import missing, require_command
from hub.people import Hub, spawn, stop

SIZE = 2 << 20


@pytest.fixture
def small(tmp_path, port_base):
    """A hub whose folder is a file system of 2 MiB."""
    if os.geteuid() != 0:
        missing("A disk that is full", "mounting one takes root")
    place = tmp_path / "home" / "hub"
    place.mkdir(parents=True)
    subprocess.run([require_command("mount", what="a small disk"), "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], check=True)
    try:
        env = {"NEVE_HUB__DOCKER": "never", "NEVE_HUB__MOUNTS": "never"}
        running = start_instance(tmp_path / "home", port_base(), env=env, command=(BIN / "neve-run", "--demo", "none"))
        yield Hub(running)
        running.process.stop()
        assert leftovers_of(running.home) == [f"mount {place}"], running.process.tail()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))


def test_it_is_said_and_passes(small):
    ballast = small.home / "hub" / "ballast"
    with small.api("admin") as api, small.person("admin") as client:
        spawn(api, "admin")
        assert "jupyter-config-data" in client.get("/user/admin/lab").text
        stop(api, "admin")
        fill(ballast)
        answer = client.get("/hub/spawn")
        assert answer.status_code == 500
        assert "disk is full" in answer.text and "Notebooks that run go on" in answer.text
        assert "sqlite" not in answer.text.lower() and "Traceback" not in answer.text
        ballast.unlink()
        spawn(api, "admin")
        assert "jupyter-config-data" in client.get("/user/admin/lab").text
        stop(api, "admin")
