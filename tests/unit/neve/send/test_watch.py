"""The agent over an inbox, against a server that keeps every byte; time is the test's."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress

import h5py
import numpy as np
import pytest
from fixtures.watching import put
from neve.errors import NotSignedIn
from neve.send.sender import send
from neve.send.source import Source

HOUR_NS = 3_600_000_000_000


def test_a_still_file_is_sent_and_its_dataset_closes_when_quiet(watching, inbox, archiver):
    put(inbox / "run42" / "a.dat", b"abc")
    agent = watching()
    agent.pass_time()
    assert agent.held() == {b"run42/a.dat": "changed less than 10 seconds ago"}
    agent.pass_time(9.9)
    assert archiver.content() == {}
    agent.pass_time(0.2)
    assert archiver.content() == {b"a.dat": b"abc"}
    assert agent.held() == {}
    assert agent.watch.status().received == 1
    assert archiver.datasets[1]["state"] == "open"
    agent.pass_time(280)
    assert archiver.datasets[1]["state"] == "open"
    agent.pass_time(15)
    assert archiver.datasets[1]["state"] == "closed"
    assert agent.said("closed") == [{"dataset": "saxs/run42", "state": "closed"}]


def test_a_growing_file_waits_as_long_as_it_grows(watching, inbox, archiver):
    path = put(inbox / "run42" / "log.csv", b"0\n")
    agent = watching(poll_s=5.0)
    for number in range(20):
        agent.pass_time(6)
        with path.open("ab") as file:
            file.write(b"%d\n" % number)
    agent.pass_time(6)
    assert archiver.content() == {}
    agent.pass_time(20)
    agent.pass_time(20)
    assert archiver.content() == {b"log.csv": path.read_bytes()}


@pytest.mark.parametrize("mtime", ["future", "past", "set back while it grows"])
def test_clocks_do_not_matter(watching, inbox, archiver, mtime):
    now_ns = time.time_ns()
    path = put(inbox / "run42" / "a.dat", b"half", mtime_ns=now_ns + 1000 * HOUR_NS if mtime == "future" else 1)
    agent = watching(poll_s=5.0)
    agent.pass_time(6)
    # the second half comes with an older time than the first
    put(path, b"half and half", mtime_ns=now_ns - 1000 * HOUR_NS if mtime != "future" else now_ns)
    agent.wall -= 1e7  # this machine's clock jumps as well
    agent.pass_time(6)
    agent.pass_time(8)
    assert archiver.content() == {}
    agent.pass_time(11)
    assert archiver.content() == {b"a.dat": b"half and half"}


def test_an_open_hdf5_waits_for_ever_with_its_age_and_is_sent_when_it_closes(watching, inbox, archiver):
    path = inbox / "run42" / "scan.h5"
    path.parent.mkdir()
    agent = watching()
    with h5py.File(path, "w", libver="latest") as file:
        file["data"] = np.arange(1000)
        file.flush()
        agent.pass_time()
        for _ in range(50):
            agent.pass_time(3600)
        assert agent.held() == {b"run42/scan.h5": "an HDF5 file that a program has open for writing"}
        assert archiver.files == {}
        assert archiver.datasets == {}
        assert archiver.reports[-1] == {
            "waiting": 1, "oldest_waiting_s": 50 * 3600, "message": "run42/scan.h5: an HDF5 file that a program has open for writing",
        }  # fmt: skip
        agent.restart()  # its age is not forgotten
        agent.pass_time(20)
        assert archiver.reports[-1]["oldest_waiting_s"] >= 50 * 3600
    agent.pass_time(70)
    agent.pass_time(70)
    assert archiver.content() == {b"scan.h5": path.read_bytes()}


def test_temporary_names_wait_until_they_are_renamed(watching, inbox, archiver):
    put(inbox / "run42" / "a.h5.part", b"abc")
    put(inbox / "run43.tmp" / "b.dat", b"b")
    agent = watching()
    agent.pass_time(100)
    agent.pass_time(1000)
    assert set(agent.held().values()) == {"its name is a temporary one"}
    assert archiver.files == {}
    (inbox / "run42" / "a.h5.part").rename(inbox / "run42" / "a.h5")
    (inbox / "run43.tmp").rename(inbox / "run43")
    agent.pass_time(31)
    agent.pass_time(31)
    assert archiver.content() == {b"a.h5": b"abc"}
    assert archiver.content("run43") == {b"b.dat": b"b"}
    assert agent.held() == {}


def test_a_marker_makes_complete_at_once_and_closes(watching, inbox, archiver):
    agent = watching(still_s=1000.0)
    put(inbox / "run42" / "a.dat", b"a")
    put(inbox / "run42" / "deep" / "b.dat", b"b")
    put(inbox / "run43" / "c.dat", b"c")
    agent.pass_time(40)
    assert archiver.files == {}
    put(inbox / "run42" / ".complete", b"")
    agent.pass_time(40)
    assert archiver.content() == {b"a.dat": b"a", b"deep/b.dat": b"b", b".complete": b""}
    assert {one["name"]: one["state"] for one in archiver.datasets.values()} == {"run42": "closed"}
    assert list(agent.held()) == [b"run43/c.dat"]


def test_a_marker_beside_a_folder_and_beside_a_file(watching, inbox, archiver):
    put(inbox / "run42" / "a.dat", b"a")
    put(inbox / "run42.done", b"")
    put(inbox / "scan_1.h5", b"one")
    put(inbox / "scan_1.h5.done", b"")
    put(inbox / "run44" / "x.dat", b"x")
    put(inbox / "run44" / "x.dat.done", b"")
    put(inbox / "run44" / "y.dat", b"y")
    agent = watching(still_s=1000.0)
    agent.pass_time(turns=10)
    assert archiver.content() == {b"a.dat": b"a", b"run42.done": b""}
    assert archiver.content("scan_1") == {b"scan_1.h5": b"one", b"scan_1.h5.done": b""}
    assert archiver.content("run44") == {b"x.dat": b"x", b"x.dat.done": b""}
    # a marker of one file closes nothing
    assert {one["name"]: one["state"] for one in archiver.datasets.values()} == {"run42": "closed", "scan_1": "open", "run44": "open"}


def test_a_marker_does_not_speak_for_what_comes_after_it(watching, inbox, archiver):
    """Nor for what was written after it while nobody looked."""
    now_ns = time.time_ns()
    put(inbox / "run42" / "a.dat", b"a", mtime_ns=now_ns - HOUR_NS)
    put(inbox / "run42" / "late.dat", b"ha", mtime_ns=now_ns)
    put(inbox / "run42" / ".complete", b"", mtime_ns=now_ns - HOUR_NS // 2)
    agent = watching(still_s=100.0)
    agent.pass_time(turns=10)
    assert archiver.content() == {b"a.dat": b"a", b".complete": b""}
    put(inbox / "run42" / "copied.dat", b"half", mtime_ns=now_ns - 2 * HOUR_NS)  # an old time on a new file
    agent.pass_time(40)
    assert set(archiver.content()) == {b"a.dat", b".complete"}
    agent.pass_time(70)
    agent.pass_time(40)
    assert archiver.content() == {b"a.dat": b"a", b".complete": b"", b"late.dat": b"ha", b"copied.dat": b"half"}


def test_a_manifest_makes_complete_and_is_sent_when_it_is_fulfilled(watching, inbox, archiver):
    agent = watching(still_s=50.0)
    sums = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("data/a.dat", "data/b.dat")}
    put(inbox / "bag" / "data" / "a.dat", b"data/a.dat")
    put(inbox / "bag" / "bagit.txt", b"BagIt-Version: 1.0\n")
    agent.pass_time(1)
    put(inbox / "bag" / "manifest-sha256.txt", "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()).encode())
    agent.scan_now()
    assert archiver.content("bag") == {b"data/a.dat": b"data/a.dat"}
    agent.pass_time(1000)
    agent.pass_time(1000)
    assert agent.held() == {b"bag/manifest-sha256.txt": "names bag/data/b.dat, which is not received yet"}
    assert archiver.datasets[1]["state"] == "open"  # however quiet
    put(inbox / "bag" / "data" / "b.dat", b"data/b.dat")
    agent.pass_time(100)
    agent.pass_time(100)
    assert set(archiver.content("bag")) == {b"data/a.dat", b"data/b.dat", b"bagit.txt", b"manifest-sha256.txt"}
    assert archiver.datasets[1]["state"] == "closed"


def test_what_a_manifest_denies_is_not_received(watching, inbox, archiver):
    agent = watching()
    put(inbox / "run42" / "a.dat", b"half")
    put(inbox / "run42" / "a.dat.sha256", hashlib.sha256(b"half and half").hexdigest().encode())
    agent.pass_time(20)
    assert archiver.content() == {}
    assert "not received" in agent.held()[b"run42/a.dat"]
    assert agent.watch.status().count.refused == 1
    archiver.asked.clear()
    agent.pass_time(300)
    assert archiver.asked_for("/uploads") == 0, "asked again too soon"
    assert archiver.asked_for("/report") == 1
    put(inbox / "run42" / "a.dat", b"half and half")
    agent.pass_time(40)
    agent.pass_time(40)
    agent.pass_time(40)
    assert set(archiver.content()) == {b"a.dat", b"a.dat.sha256"}
    assert archiver.content()[b"a.dat"] == b"half and half"


def test_a_manifest_that_comes_after_its_file_was_received_with_other_bytes(watching, inbox, archiver):
    agent = watching()
    put(inbox / "run42" / "a.dat", b"wrong")
    agent.pass_time(5)
    agent.pass_time(20)
    assert archiver.content() == {b"a.dat": b"wrong"}
    put(inbox / "run42" / "SHA256SUMS", f"{hashlib.sha256(b'right').hexdigest()}  a.dat\nno line\n".encode())
    agent.pass_time(60)
    agent.pass_time(60)
    assert "Line 2" in agent.held()[b"run42/SHA256SUMS"]
    put(inbox / "run42" / "SHA256SUMS", f"{hashlib.sha256(b'right').hexdigest()}  a.dat\n".encode())
    agent.pass_time(60)
    agent.pass_time(1000)
    assert agent.held()[b"run42/SHA256SUMS"].startswith("says the SHA-256 of run42/a.dat is ")
    assert archiver.datasets[1]["state"] == "open"


def test_the_same_path_with_other_content_is_sent_again(watching, inbox, archiver):
    agent = watching()
    put(inbox / "run42" / "a.dat", b"first")
    agent.pass_time(5)
    agent.pass_time(20)
    put(inbox / "run42" / "a.dat", b"second one")
    agent.pass_time(31)
    agent.pass_time(31)
    assert archiver.content() == {b"a.dat": b"first", b"a.dat@v2": b"second one"}


def test_known_files_are_not_asked_about_again(watching, inbox, archiver):
    for number in range(30):
        put(inbox / "run42" / f"{number}.dat", b"%d" % number)
    agent = watching()
    agent.pass_time()
    agent.pass_time(20)
    assert len(archiver.content()) == 30
    archiver.asked.clear()
    for _ in range(3):
        agent.pass_time(31)
    agent.restart()
    agent.pass_time()
    agent.pass_time(31)
    assert {path.rpartition("/")[2] for _, path in archiver.asked} == {"report"}
    assert agent.said("scanned")[-1]["received"] == 30


@pytest.mark.parametrize("lost", ["nothing", "sightings", "journal and sightings"])
def test_killed_anywhere_each_file_is_received_once(watching, inbox, archiver, journal, monkeypatch, lost):
    """The process ends after N questions to the archiver, for every N, and starts anew."""
    from neve.send.reception import Reception

    files = {f"{name}.dat": name.encode() * 100 for name in "abc"}
    for name, data in files.items():
        put(inbox / "run42" / name, data)
    put(inbox / "run42" / ".complete", b"")
    call, left = Reception._call, [0]

    class Killed(BaseException):
        pass

    def counted(self, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return call(self, *args, **kwargs)

    monkeypatch.setattr(Reception, "_call", counted)
    agent = watching()
    for questions in range(40):
        left[0] = questions
        with suppress(Killed):
            agent.pass_time(20, turns=8)
        if lost != "nothing":
            (agent.state / "watch.sqlite3").unlink()
        if "journal" in lost:
            journal.forget([entry.source.path for entry in journal.entries()])
        agent.restart()
        for file in inbox.rglob("*.*"):
            row = agent.sightings.get(file.relative_to(inbox).as_posix().encode())
            received = [one for one in archiver.files.values() if one.name == file.name.encode() and one.state == "received"]
            assert len(received) <= 1
            assert received or row is None or row.state == "waiting"
    left[0] = 10_000
    agent.pass_time(20, turns=10)
    agent.pass_time(400, turns=10)
    assert archiver.content() == {name.encode(): data for name, data in {**files, ".complete": b""}.items()}
    assert archiver.datasets[1]["state"] == "closed"
    assert agent.held() == {}


def test_a_file_that_changes_while_it_is_sent(watching, inbox, archiver):
    path = put(inbox / "run42" / "a.dat", b"first")
    agent = watching()
    agent.pass_time()

    def change(method, url, _handler):
        if method == "PUT" and path.read_bytes() == b"first":
            put(path, b"second, longer")
        return False

    archiver.faults.append(change)
    agent.pass_time(20)
    agent.pass_time(60)
    agent.pass_time(60)
    received = archiver.content()  # the first, where it was read in full before it changed, and in any case the second
    assert b"second, longer" in received.values()
    assert set(received.values()) <= {b"first", b"second, longer"}
    assert agent.held() == {}


def test_a_revoked_key_ends_it_with_a_sentence(watching, inbox, archiver):
    agent = watching()
    archiver.key = "another"
    with pytest.raises(NotSignedIn, match="revoked"):
        agent.pass_time(61, turns=3)


def test_a_dataset_that_is_refused_does_not_stop_the_others(watching, inbox, archiver):
    put(inbox / "bad" / "a.dat", b"a")
    put(inbox / "good" / "b.dat", b"b")

    def refuse(method, path, handler):
        if path.endswith("/datasets") and b'"bad"' in (body := handler.body()):
            handler.reply(409, b'{"code": "conflict", "detail": "saxs/bad belongs to another project."}', "application/problem+json")
            return True
        if path.endswith("/datasets"):
            handler.body = lambda: body
        return False

    archiver.faults.append(refuse)
    agent = watching()
    agent.pass_time()
    agent.pass_time(20)
    assert archiver.content("good") == {b"b.dat": b"b"}
    assert agent.held() == {b"bad/a.dat": "saxs/bad belongs to another project."}
    archiver.faults.clear()
    agent.pass_time(601)
    assert archiver.content("bad") == {b"a.dat": b"a"}


def test_an_inbox_that_is_away_is_not_an_empty_one(watching, inbox, archiver):
    put(inbox / "run42" / "a.dat", b"a")
    agent = watching()
    agent.pass_time()
    inbox.rename(inbox.with_name("unmounted"))
    agent.pass_time(31)
    assert "cannot be read" in agent.said("away")[0]["reason"]
    inbox.with_name("unmounted").rename(inbox)
    agent.pass_time(31)
    agent.pass_time(31)
    assert archiver.content() == {b"a.dat": b"a"}


@pytest.mark.skipif(os.name == "nt", reason="names and kinds of POSIX file systems")
def test_names_and_kinds_of_a_file_system(watching, inbox, archiver):
    names = [b"a b+%&#'\"", b"new\nline", "☃ é.dat".encode(), b"\xff\xfe.dat", b"x" * 255, b"A.dat", b"a.dat", b"back\\slash"]
    for name in names:
        put(inbox / "run42" / os.fsdecode(name), name)
    (inbox / "run42" / "link").symlink_to(inbox)
    os.mkfifo(inbox / "run42" / "pipe")
    agent = watching()
    agent.pass_time()
    agent.pass_time(20)
    agent.pass_time(31)
    assert archiver.content() == {name: name for name in names}
    assert sorted(about["source"].rpartition("/")[2] for about in agent.said("skipped")) == ["link", "pipe"]


def test_by_pattern_and_what_it_does_not_name(watching, inbox, archiver):
    put(inbox / "ice" / "scan7_001.h5", b"one")
    put(inbox / "ice" / "scan7_002.h5", b"two")
    put(inbox / "notes.txt", b"?")
    agent = watching(by="pattern", pattern=r"[^/]+/(?P<dataset>scan\d+)_", project="p1")
    agent.pass_time()
    agent.pass_time(20)
    assert archiver.content("scan7") == {b"ice/scan7_001.h5": b"one", b"ice/scan7_002.h5": b"two"}
    assert agent.held() == {b"notes.txt": "no rule says which dataset it belongs to"}
    agent.restart(pattern=r"(?P<dataset>.+?)[._]")
    agent.pass_time()
    agent.pass_time(20)
    assert archiver.content("notes") == {b"notes.txt": b"?"}


def test_by_a_field_of_the_file(watching, inbox, archiver):
    path = inbox / "today" / "x.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["entry/entry_identifier"] = "sample 9"
    put(inbox / "today" / "notes.txt", b"n")
    agent = watching(by="field", field="/entry/entry_identifier")
    agent.pass_time()
    agent.pass_time(20)
    assert set(archiver.content("sample 9")) == {b"today/x.h5"}
    assert archiver.content("today") == {b"notes.txt": b"n"}
    agent.pass_time(400)
    assert {one["state"] for one in archiver.datasets.values()} == {"closed"}


def test_once_ends_when_time_alone_holds_nothing_back(watching, inbox, archiver):
    put(inbox / "run42" / "a.dat", b"a")
    put(inbox / "run42" / "b.part", b"b")
    agent = watching()
    agent.pass_time()
    assert not agent.watch.settled()
    agent.pass_time(20)
    assert agent.watch.settled()
    assert archiver.content() == {b"a.dat": b"a"}


def test_a_dataset_sent_by_hand_under_another_name_is_left_alone(watching, inbox, archiver, reception, journal):
    path = put(inbox / "run42" / "a.dat", b"a")
    info = path.stat()
    send(reception, journal, "p1", "mine", [Source(path, b"a.dat", info.st_size, info.st_mtime_ns)], close=False)
    agent = watching()
    agent.pass_time()
    agent.pass_time(1000)
    assert [one["name"] for one in archiver.datasets.values()] == ["mine"]
    assert archiver.datasets[1]["state"] == "open"
