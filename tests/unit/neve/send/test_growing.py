"""Snapshots of files that an agent waits for: in time, only when they changed, and never at the cost of a file."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import h5py
import numpy as np
import pytest
from fixtures.watching import put
from neve.send import growing
from neve.send.events import Event
from neve.send.grouping import Place
from neve.send.growing import Taken
from neve.send.ready import Seen
from neve.send.sightings import Count, Row
from neve.send.watch import Status
from neve.send.watch_display import Screen, line
from rich.console import Console


def grow(path, data):
    with path.open("ab") as file:
        file.write(data)


def test_a_growing_file_is_sent_every_so_many_minutes_when_it_has_changed(watching, inbox, archiver):
    path = put(inbox / "run42" / "log.csv", b"0\n1")
    agent = watching(snapshot_minutes=10.0, poll_s=5.0)
    for _ in range(119):  # it grows all the time, so it waits
        agent.pass_time(5, turns=2)
        grow(path, b"0")
    assert archiver.snapshots == []
    agent.pass_time(10)
    assert archiver.snapshots == [(b"log.csv", b"0\n")]
    assert archiver.content() == {}
    taken = agent.watch.status().taken[b"run42/log.csv"]
    assert (taken.path, taken.at, taken.size_bytes) == ("log.snapshot.csv", agent.wall, 2)
    (said,) = agent.said("snapshot")
    assert (said["path"], said["shown_at"], said["size_bytes"]) == ("run42/log.csv", "log.snapshot.csv", 2)
    assert datetime.fromisoformat(said["taken_at"]) == datetime.fromtimestamp(agent.wall, UTC)
    for _ in range(4):
        grow(path, b"\n2")
        agent.pass_time(5)
    assert len(archiver.snapshots) == 1, "not before its time"
    for _ in range(120):
        grow(path, b"2")
        agent.pass_time(5, turns=2)
    assert [name for name, _ in archiver.snapshots] == [b"log.csv"] * 2
    assert archiver.snapshots[1][1].endswith(b"\n2\n")
    # It ends: the file is sent, and nothing more is said of snapshots.
    agent.pass_time(20)
    agent.pass_time(1200)
    assert archiver.content() == {b"log.csv": path.read_bytes()}
    assert len(archiver.snapshots) == 2
    assert agent.watch.status().taken == {}
    assert list((agent.state / "snapshots").iterdir()) == []


def test_none_are_taken_unless_it_is_so_set(watching, inbox, archiver):
    path = put(inbox / "run42" / "log.csv", b"0\n")
    agent = watching(poll_s=5.0)
    for _ in range(200):
        agent.pass_time(8, turns=1)
        grow(path, b"0\n")
    assert archiver.snapshots == []


def test_an_open_hdf5_is_shown_once_and_again_when_it_has_changed(watching, inbox, archiver, tmp_path):
    path = inbox / "run42" / "scan.h5"
    path.parent.mkdir()
    agent = watching(snapshot_minutes=10.0)
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("x", (0,), maxshape=(None,), dtype="i8")
        file.swmr_mode = True
        for rows in (1000, 5000):
            data.resize(rows, axis=0)
            data[:] = np.arange(rows)
            data.flush()
            for _ in range(10):
                agent.pass_time(300)
            name, sent = archiver.snapshots[-1]
            copy = put(tmp_path / "copy.h5", sent)
            with h5py.File(copy, "r") as held:
                assert name == b"scan.h5"
                np.testing.assert_array_equal(held["x"][:], np.arange(rows))
    assert len(archiver.snapshots) == 2
    assert agent.held() == {b"run42/scan.h5": "an HDF5 file that a program has open for writing (SWMR)"}


def test_why_there_is_none_is_said_once(watching, inbox, archiver):
    put(inbox / "run42" / "a.h5", bytes(3000))  # an HDF5 file whose first bytes are still to come
    put(inbox / "run42" / "b.csv.part", b"t,x\n")
    put(inbox / "run42" / "run.sha256", f"{'0' * 64}  gone.h5\n".encode())
    agent = watching(snapshot_minutes=1.0, poll_s=5.0)
    for _ in range(40):
        agent.pass_time(30)
    assert archiver.snapshots == []
    (said,) = agent.said("no_snapshot")
    assert said["path"] == "run42/a.h5"
    assert "name it in `snapshot_match`" in said["reason"]
    assert line(Event("no_snapshot", said)).startswith("run42/a.h5 is still being written, and there is no snapshot now: its format")


def test_only_what_is_named_and_then_of_any_format(watching, inbox, archiver):
    put(inbox / "run42" / "a.h5", bytes(3000))
    path = put(inbox / "run42" / "log.csv", b"t,x\n")
    agent = watching(snapshot_minutes=1.0, snapshot_match=("A.*",), poll_s=5.0)
    for _ in range(20):
        agent.pass_time(8)
        grow(path, b"0,1\n")
    assert archiver.snapshots == [(b"a.h5", bytes(3000))]


def test_an_outage_costs_a_snapshot_and_no_file(watching, inbox, archiver, faults):
    path = put(inbox / "run42" / "log.csv", b"t,x\n")
    agent = watching(snapshot_minutes=1.0, poll_s=5.0)
    down = faults.Times(10**6, lambda _method, path: "snapshots" in path, faults.status(503, {"code": "store-unavailable", "detail": "It is away."}))
    archiver.faults.append(down)

    def while_it_grows(rounds):
        for _ in range(rounds):
            agent.pass_time(8, turns=2)
            grow(path, b"0,1\n")

    while_it_grows(10)
    assert archiver.snapshots == []
    assert [said["reason"] for said in agent.said("no_snapshot")] == ["It is away"]
    put(inbox / "run43" / "done.dat", b"whole")
    while_it_grows(4)
    assert archiver.content("run43") == {b"done.dat": b"whole"}
    archiver.faults.clear()
    archiver.faults.append(faults.Times(1, faults.to_store, faults.cut))
    while_it_grows(24)
    assert archiver.snapshots[0][0] == b"log.csv"
    reasons = [said["reason"] for said in agent.said("no_snapshot")]
    assert len(reasons) == 2 and "the store" in reasons[1].lower(), reasons
    assert list((agent.state / "snapshots").iterdir()) == []


def test_a_fault_of_ours_costs_a_snapshot_and_no_file(watching, inbox, archiver, monkeypatch):
    def faulty(*_arguments, **_more):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(growing, "cut", faulty)
    path = put(inbox / "run42" / "log.csv", b"t,x\n")
    agent = watching(snapshot_minutes=1.0, poll_s=5.0)
    for _ in range(20):
        agent.pass_time(8, turns=2)
        grow(path, b"0,1\n")
    (said,) = agent.said("no_snapshot")
    assert "ZeroDivisionError: a fault" in said["reason"]
    agent.pass_time(30)
    agent.pass_time(30)
    assert archiver.content() == {b"log.csv": path.read_bytes()}


def test_a_large_one_goes_in_parts(watching, inbox, archiver):
    data = b"".join(b"%06d\n" % number for number in range(40_000))
    path = put(inbox / "run42" / "log.csv", data + b"half")
    agent = watching(snapshot_minutes=1.0, poll_s=5.0)
    for _ in range(10):
        agent.pass_time(8)
        grow(path, b"h")
    assert archiver.snapshots == [(b"log.csv", data)]


def test_a_dataset_that_a_field_names_is_read_from_the_copy(watching, inbox, archiver):
    path = inbox / "scan.h5"
    agent = watching(snapshot_minutes=1.0, by="field", field="/entry/title")
    with h5py.File(path, "w", libver="latest") as file:
        file["entry/title"] = "run7"
        file.swmr_mode = True
        agent.pass_time()
        agent.pass_time(90)
        assert [one["name"] for one in archiver.datasets.values()] == ["run7"]
        assert [name for name, _ in archiver.snapshots] == [b"scan.h5"]


def test_people_see_what_there_is_and_as_of_when():
    taken = Taken("scan.snapshot.h5", datetime(2026, 3, 1, 12, 3).astimezone().timestamp(), 1_200_000_000)
    about = {"path": "run42/scan.h5", "shown_at": taken.path, "size_bytes": taken.size_bytes}
    said = line(Event("snapshot", {**about, "taken_at": datetime.fromtimestamp(taken.at, UTC).isoformat()}))
    assert said == "run42/scan.h5 is still being written: scan.snapshot.h5, as of 12:03, 1.2 GB."

    names = (b"run42/scan.h5", b"run42/other.h5")
    waiting = [Row(name, Seen(1, 1), 0.0, 0.0, 1, Place("run42", name), "waiting", "open (SWMR)", 0.0, 0) for name in names]
    status = Status(Count(2, 0, 0, 0, 1, 0.0), "", 0, 0, 0, waiting, 60, {b"run42/scan.h5": taken})
    out = io.StringIO()
    with Screen(Console(file=out, width=140, force_terminal=True, color_system=None), lambda: status).live():
        pass
    assert "scan.snapshot.h5, as of 12:03, 1.2 GB" in out.getvalue()


@pytest.mark.parametrize("ending", ["stop", "restart"])
def test_a_stop_while_one_is_taken_loses_nothing(watching, inbox, archiver, ending):
    path = put(inbox / "run42" / "log.csv", b"t,x\n")
    agent = watching(snapshot_minutes=1.0, poll_s=5.0)
    archiver.faults.append(lambda method, path, _handler: "snapshots" in path and agent.watch.stop.set())
    for _ in range(8):
        agent.pass_time(8, turns=1)
        grow(path, b"0,1\n")
    put(agent.state / "snapshots" / "snapshot-1", b"left by a kill")
    archiver.faults.clear()
    if ending == "stop":
        agent.watch.end()
        return
    agent.reception.patience.stop._event.clear()
    agent.restart()
    assert list((agent.state / "snapshots").iterdir()) == []
