"""`neve watch` against the archiver itself: what is complete is received once, what is not waits, what comes late goes on in `name+1`."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path

import h5py
from fixtures.door import Door
from fixtures.processes import BIN

from archiver.check import check


def watch(door: Door, folder: Path) -> list[dict[str, object]]:
    """What is complete is sent; returns what was said."""
    said = {"inbox": "inbox", "url": door.url, "journal": str(folder / "sent.sqlite3"), "still_s": 1, "poll_s": 1, "delete_after": "two-copies"}
    (folder / "agent.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items()))
    env = {**os.environ, "NEVE_KEY": door.key, "XDG_STATE_HOME": str(folder / "state")}
    command = [BIN / "neve", "watch", "--config", folder / "agent.toml", "--once", "--json"]
    with door.working():
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def received(door: Door, name: str) -> tuple[str, dict[str, bytes | None]]:
    with door.bench.archive.ledger.read() as tx:
        dataset = tx.dataset_named("saxs", name)
        assert dataset is not None
        files = [f.path for f in tx.files(dataset.id) if f.state == "received"]
    return dataset.state, {path: door.bench.read(dataset, path) for path in files}


def test_an_inbox_is_received_once_and_sources_go_when_two_copies_are_proven(door: Door, tmp_path: Path):
    inbox = tmp_path / "inbox"
    run = inbox / "run1"
    run.mkdir(parents=True)
    files = {"a.bin": secrets.token_bytes(3000), "ü b.csv": b"t,x\n0,1\n"}
    for name, content in files.items():
        (run / name).write_bytes(content)
    (run / "half.tmp").write_bytes(b"not yet")
    with h5py.File(run / "live.h5", "w", libver="latest") as live:
        live.create_dataset("x", data=[1])
        live.flush()
        watch(door, tmp_path)
        assert received(door, "run1") == ("open", files), "what is open for writing, or has a temporary name, waits"
    (run / "half.tmp").rename(run / "half")
    (inbox / "run1.done").touch()
    watch(door, tmp_path)
    state, held = received(door, "run1")
    assert (state, set(held) - {"run1.done"}) == ("closed", {*files, "half", "live.h5"})
    with door.bench.archive.ledger.read() as tx:
        report = tx.instrument("saxs")
    assert report.seen_at is not None
    door.settle()
    (run / "late").write_bytes(b"late")
    watch(door, tmp_path)
    assert received(door, "run1+1")[1] == {"late": b"late"}
    left = {path.name for path in inbox.rglob("*") if path.is_file()}
    assert not left & {*files, "half", "live.h5"}, "two copies of each are proven"
    assert check(door.bench.archive) == []
