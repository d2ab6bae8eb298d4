"""`neve watch` against the archiver itself: what is complete is received once, what is not waits, what comes late goes on in `name+1`."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from fixtures.door import Door
from fixtures.processes import BIN

from archiver import names
from archiver.check import check

WRITER = Path(__file__).parents[1] / "fixtures" / "swmr_writer.py"
SNAPSHOTS = ("log.snapshot.csv", "scan.snapshot.h5")


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


def until(so: Callable[[], bool], what: str, agent: subprocess.Popen[str], log: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert agent.poll() is None, "the agent has ended"
        assert time.monotonic() < end, f"{what} within {seconds} s: {log.read_text()}"
        time.sleep(0.2)


def test_what_grows_is_seen_while_it_grows_and_is_itself_at_the_end(door: Door, tmp_path: Path):  # noqa: PLR0915 - one story
    """A CSV and a SWMR file: both are shown, whole, while they are written; at the end the files are there and nothing tells of snapshots."""
    run = tmp_path / "inbox" / "run1"
    run.mkdir(parents=True)
    client, reader = door.client(), door.client(door.hub.add("alice", "snow"))
    tier = door.bench.archive.tiers["hot"]
    said = {"inbox": "inbox", "url": door.url, "journal": str(tmp_path / "sent.sqlite3"), "still_s": 4, "poll_s": 1, "snapshot_minutes": 0.02}
    (tmp_path / "agent.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items()))
    env = {**os.environ, "NEVE_KEY": door.key, "XDG_STATE_HOME": str(tmp_path / "state")}
    log = tmp_path / "agent.log"
    over = threading.Event()

    def write_csv() -> None:
        with (run / "log.csv").open("w", buffering=1) as file:
            file.write("t,x\n")
            number = 0
            while not over.wait(0.05):
                file.write(f"{number},{number * number}\n")
                number += 1

    def shown() -> dict[str, bytes]:
        """What a reader sees of growing files, by path."""
        items = reader.get("datasets/1/snapshots").json().get("items", [])
        return {one["path"]: tier.newest(f"{prefix()}/{one['path']}") or b"" for one in items}

    def grown_since(before: dict[str, int]) -> bool:
        now = shown()
        return all(len(now.get(path, b"")) > before.get(path, 0) for path in SNAPSHOTS)

    def prefix() -> str:
        return str(reader.get("datasets/1").json()["prefix"])

    def received_ones() -> int:
        return int(client.get("datasets/1/uploads").json().get("received", 0))

    csv = threading.Thread(target=write_csv)
    writer = subprocess.Popen([sys.executable, WRITER, run / "scan.h5"], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    with log.open("w") as said_by_agent:
        agent = subprocess.Popen([BIN / "neve", "watch", "--config", tmp_path / "agent.toml"], env=env, stderr=said_by_agent, text=True, cwd=tmp_path)
    try:
        csv.start()
        with door.working():
            sizes = []
            for _ in range(2):
                before = {path: len(data) for path, data in shown().items()}
                until(lambda before=before: grown_since(before), "a snapshot of each", agent, log)
                seen = shown()
                sizes.append(len(seen["scan.snapshot.h5"]))
                lines = seen["log.snapshot.csv"].decode().splitlines(keepends=True)
                assert lines == ["t,x\n", *(f"{n},{n * n}\n" for n in range(len(lines) - 1))]
                (tmp_path / "seen.h5").write_bytes(seen["scan.snapshot.h5"])
                with h5py.File(tmp_path / "seen.h5", "r") as held:
                    np.testing.assert_array_equal(held["entry/counts"][:], np.arange(len(held["entry/counts"])))
                    assert len(held["entry/counts"]) >= 6
            assert sizes[1] > sizes[0]
            assert received_ones() == 0
            assert [one["of"] for one in reader.get("datasets/1").json()["snapshots"]] == ["log.csv", "scan.h5"]
            over.set()
            csv.join()
            writer.communicate("end\n", timeout=60)
            until(lambda: received_ones() == 2, "both files", agent, log)
            until(lambda: shown() == {}, "no snapshot any more", agent, log)
            (tmp_path / "inbox" / "run1.done").touch()
            until(lambda: reader.get("datasets/1").json()["state"] == "closed", "the close", agent, log)
    finally:
        over.set()
        csv.join()
        for process in (agent, writer):
            process.terminate()
            process.wait(30)
    door.settle()
    files = {"log.csv", "run1.done", "scan.h5"}
    manifest = json.loads(door.bench.archive.tiers["archive"].newest(names.manifest_key(prefix())) or b"")
    assert {file["path"] for file in manifest["files"]} == files
    assert {one["path"] for one in client.get("datasets/1/receipts").json()["items"]} == files
    assert {key.removeprefix(f"{prefix()}/") for key in door.bench.keys("hot")} == files
    assert list(tier.listed(names.SNAPSHOTS)) == []
    assert received(door, "run1")[1]["scan.h5"] == (run / "scan.h5").read_bytes()
    told = log.read_text()
    assert "run1/scan.h5 is still being written: scan.snapshot.h5, as of " in told, told
    assert check(door.bench.archive) == []
