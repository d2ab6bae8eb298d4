"""An instrument sends to a whole instance, through its public address: the file stands in /data while the dataset is still open."""

from __future__ import annotations

import json
import subprocess

import pytest
from fixtures.instance import RunningInstance
from fixtures.processes import BIN, wait_until
from neve_hub import mounts
from neve_hub.instance import Instance

from archiver.config import load

pytestmark = [pytest.mark.docker, pytest.mark.fuse]
IN_DATA_WITHIN_S = 10.0


def archiver(instance: RunningInstance, *words: str) -> str:
    command = [BIN / "archiver", "--config", instance.home / "neve.toml", *words]
    return subprocess.run(command, env=instance.env, capture_output=True, text=True, check=True).stdout


def test_what_an_instrument_sends_stands_in_data_at_once(instance: RunningInstance, tmp_path):
    project = json.loads(archiver(instance, "projects", "list", "--json"))[0]["name"]
    key = json.loads(archiver(instance, "instruments", "add", "new-one", "--project-rule", project, "--json"))["key"]
    (tmp_path / "key").write_text(key)
    folder = tmp_path / "a measurement"
    folder.mkdir()
    (folder / "scan 1.csv").write_text("t,x\n0,1\n")
    (folder / "large.bin").write_bytes(bytes(range(256)) * 100_000)
    sender = [
        BIN / "neve",
        "send",
        folder,
        "--url",
        f"{instance.url}/services/archiver",
        "--key-file",
        tmp_path / "key",
        "--journal",
        tmp_path / "sent",
    ]
    here = Instance(load(instance.home / "neve.toml"))
    mounts.want(here, "sender's friend", [project])
    place = mounts.tree(here, "sender's friend") / project
    wait_until(place.is_mount, 30, "the mount")
    try:
        sent = subprocess.run([*sender, "--no-close", "--json"], capture_output=True, text=True)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        files = "new-one/*/*/a measurement/*"
        wait_until(lambda: {p.name for p in place.glob(files)} == {"scan 1.csv", "large.bin"}, IN_DATA_WITHIN_S, "what was sent, in /data")
        assert next(place.glob("new-one/*/*/a measurement/scan 1.csv")).read_text() == "t,x\n0,1\n"
    finally:
        mounts.release(here, "sender's friend")
    closed = subprocess.run(sender, capture_output=True, text=True)
    assert closed.returncode == 0, closed.stdout + closed.stderr
    assert "closed" in closed.stdout
    status = archiver(instance, "status", "new-one/a measurement")
    assert "scan 1.csv" in status
