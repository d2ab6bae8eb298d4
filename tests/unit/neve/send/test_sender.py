"""`send()` against a server that keeps every byte and fails as it is told: each file once, whole, whatever happens."""

from __future__ import annotations

import hashlib
import os
import secrets

import pytest
from fixtures.sending import Kinds, fill, sources
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neve.send import sender
from neve.send.sender import send


def test_small_large_and_empty_arrive_and_the_dataset_is_closed(archiver, reception, journal, folder):
    large, exact = os.urandom(1_234_567), os.urandom(200_000)
    files = fill(folder, empty=b"", small=b"abc", piece=os.urandom(50_000), large=large, exact=exact)
    events = Kinds()
    outcome = send(reception, journal, "p1", "run42", sources(folder), report=events.append)
    assert archiver.content() == files
    assert (outcome.sent, outcome.already, outcome.failed, outcome.state) == (5, 0, 0, "closed")
    assert outcome.bytes_sent == archiver.bytes_in == sum(map(len, files.values()))
    assert events[0].kind == "opened"
    told = {about["path"].encode(): about["sha256"] for about in events.of("sent")}
    assert told == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert events.of("progress")[-1] == {"bytes_sent": outcome.bytes_sent, "bytes_done": outcome.bytes_sent, "files_done": 5}
    assert {entry.state for entry in journal.entries()} == {"received"}


def test_a_file_between_small_and_parts_is_sent_in_pieces(archiver, reception, journal, folder):
    archiver.put_bytes = 3_000_000
    files = fill(folder, middle=os.urandom(2_000_001))
    assert send(reception, journal, "p1", "run42", sources(folder)).bytes_sent == 2_000_001
    assert archiver.content() == files


def test_again_sends_nothing(archiver, reception, journal, folder):
    fill(folder, a=b"a" * 100, b=os.urandom(300_000))
    send(reception, journal, "p1", "run42", sources(folder), close=False)
    sent = archiver.bytes_in
    outcome = send(reception, journal, "p1", "run42", sources(folder), close=False)
    assert (outcome.sent, outcome.already, outcome.bytes_sent) == (0, 2, 0)
    # without a journal the files are hashed and asked about again
    outcome = send(reception, None, "p1", "run42", sources(folder))
    assert (outcome.sent, outcome.already) == (0, 2)
    assert archiver.bytes_in == sent


def test_many_small_files_are_asked_and_told_of_in_groups(archiver, reception, journal, folder):
    files = fill(folder, **{f"f{number:04}": b"%d" % number for number in range(901)})
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    assert archiver.content() == files
    assert outcome.sent == 901
    assert archiver.asked_for("/uploads") < 20, "asked in groups of 200, and a few times how far the proofs are"
    assert archiver.asked_for("/done") <= 30


def test_other_content_under_a_known_path_is_sent(archiver, reception, journal, folder):
    fill(folder, a=b"first")
    send(reception, journal, "p1", "run42", sources(folder), close=False)
    fill(folder, a=b"other")  # the same size, and perhaps the same time to the clock of the file system
    send(reception, journal, "p1", "run42", sources(folder))
    assert archiver.content() == {b"a": b"first", b"a@v2": b"other"}


def test_sums_of_a_manifest_must_match(archiver, reception, journal, folder):
    archiver.put_bytes = 500_000
    files = fill(folder, good=b"good", bad=b"bad", pieces=b"p" * 400_000, parts=b"q" * 600_000)
    right = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    sums = {**right, b"bad": "0" * 64, b"pieces": "1" * 64, b"parts": "2" * 64}
    outcome = send(reception, journal, "p1", "run42", sources(folder), sums=sums)
    assert archiver.content() == {b"good": b"good"}
    assert (outcome.sent, outcome.failed, outcome.state) == (1, 3, "open")
    for failure in outcome.failures:
        assert sums[failure.name] in failure.sentence
        assert right[failure.name] in failure.sentence
    assert not any(file.whole is not None for file in archiver.files.values() if file.name != b"good"), "what is wrong is not stored"


def test_too_large_and_reserved_names_spoil_no_group(archiver, reception, journal, folder):
    archiver.file_max_bytes = 1000
    files = fill(folder, **{f"f{number}": b"x" for number in range(20)}, big=b"b" * 1001, **{"NEVE-ARCHIVED.txt": b"stub"})
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    assert set(archiver.content()) == set(files) - {b"big", b"NEVE-ARCHIVED.txt"}
    said = {failure.name: failure.sentence for failure in outcome.failures}
    assert said[b"big"] == "big has 1.0 kB (1001 bytes); the archiver takes files up to 1.0 kB (1000 bytes)"
    assert "reserved" in said[b"NEVE-ARCHIVED.txt"]


def test_waiting_for_proof_and_not_waiting(archiver, reception, journal, folder):
    archiver.prove_s = 0.3
    fill(folder, a=b"a")
    send(reception, journal, "p1", "run42", sources(folder), close=False, wait=False)
    assert [entry.state for entry in journal.entries()] == ["sent"]
    assert send(reception, journal, "p1", "run42", sources(folder)).already == 1
    assert [entry.state for entry in journal.entries()] == ["received"]


def test_memory_is_bounded_by_parts_in_flight(archiver, reception, journal, folder, monkeypatch):
    """Of large files at most four parts are read and not sent."""
    taken, most = [], []
    from neve.send.parts import Memory

    take, give = Memory.take, Memory.give

    def taking(self, size_bytes, run):
        buffer = take(self, size_bytes, run)
        taken.append(1)
        most.append(len(taken))
        return buffer

    def giving(self, buffer):
        taken.pop()
        give(self, buffer)

    monkeypatch.setattr(Memory, "take", taking)
    monkeypatch.setattr(Memory, "give", giving)
    files = fill(folder, **{f"large{number}": os.urandom(700_000) for number in range(3)})
    send(reception, journal, "p1", "run42", sources(folder))
    assert archiver.content() == files
    assert max(most) <= 4


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(
        st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}),
        min_size=1,
        max_size=70,
    )
)
def test_whatever_a_name_holds_it_survives(archiver, reception, tmp_path, names):
    """About a thousand names of any bytes, in folders that are called the same."""
    folder = tmp_path / secrets.token_hex(4)
    folder.mkdir()
    files = {}
    for name in sorted(names):
        inner = folder / os.fsdecode(b"in " + name[:200])
        inner.mkdir(exist_ok=True)
        for path in (inner / os.fsdecode(name), folder / os.fsdecode(name)):
            if not os.path.lexists(path):
                path.write_bytes(data := secrets.token_bytes(8))
                files[os.fsencode(path.relative_to(folder))] = data
    outcome = send(reception, None, "p1", folder.name, sources(folder))
    assert (outcome.failed, outcome.failures) == (0, [])
    assert archiver.content(folder.name) == files


def test_sparse_files_keep_their_size(archiver, reception, journal, folder):
    with (folder / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(1_000_000)
        file.write(b"end")
    send(reception, journal, "p1", "run42", sources(folder))
    assert archiver.content()[b"sparse"] == (folder / "sparse").read_bytes()
    assert len(archiver.content()[b"sparse"]) == 1_000_003


def test_a_clock_before_1970_and_far_away(archiver, reception, journal, folder):
    fill(folder, old=b"o", new=b"n")
    os.utime(folder / "old", ns=(0, -(10**18)))
    os.utime(folder / "new", ns=(0, 9 * 10**18))
    assert send(reception, journal, "p1", "run42", sources(folder)).state == "closed"
    assert [entry.source.mtime_ns for entry in journal.entries()] == [9 * 10**18, -(10**18)]


def test_who_waits_is_told_soon_and_asks_rarely(monkeypatch):
    now = 0.0
    monkeypatch.setattr(sender.time, "monotonic", lambda: now)
    asked = 0
    for pause_s in sender._pauses():
        assert 0.2 <= pause_s <= 5.0
        assert pause_s == pytest.approx(max(0.2, min(now / 10, 5.0)))
        now, asked = now + pause_s, asked + 1
        if now > 3600:
            break
    assert asked < 800
