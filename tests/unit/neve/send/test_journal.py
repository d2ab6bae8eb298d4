"""The journal: it spares work, survives what happens to it, and is never needed."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from pathlib import Path

import pytest
from neve.send.journal import STATES, Entry, Journal
from neve.send.source import Source


def entry(path="/data/a", size=3, mtime=5, state="sent", file_id=7, dataset_id=1):
    return Entry(Source(Path(path), b"a", size, mtime), "0" * 64, dataset_id, "saxs/run42", file_id, state)


def test_an_entry_counts_while_the_file_is_the_same(journal):
    one = entry()
    journal.record([one])
    found = journal.find(one.source)
    assert (found.sha256, found.dataset, found.dataset_id, found.file_id, found.state) == ("0" * 64, "saxs/run42", 1, 7, "sent")
    assert found.at > 1_700_000_000
    assert journal.find(Source(one.source.path, b"a", 4, 5)) is None
    assert journal.find(Source(one.source.path, b"a", 3, 6)) is None
    assert journal.at(one.source.path) == found
    assert journal.of_file(7) == found
    assert journal.of_file(8) is None
    journal.record([entry(size=4, file_id=9)])
    assert journal.at(one.source.path).file_id == 9
    journal.forget([one.source.path])
    assert journal.at(one.source.path) is None


def test_states_are_settled(journal):
    assert set(STATES) == {"sent", "received", "failed"}
    journal.record([entry("/1", file_id=1), entry("/2", file_id=2), entry("/3", file_id=3, dataset_id=2)])
    journal.settle([2], "failed")
    journal.settle_dataset(1, "received")
    assert {one.file_id: one.state for one in journal.entries()} == {1: "received", 2: "failed", 3: "sent"}
    assert [one.file_id for one in journal.entries(dataset_id=1)] == [1, 2]
    assert [one.file_id for one in journal.entries(state="sent")] == [3]


def test_many_entries_are_read_page_by_page(journal):
    journal.record(entry(f"/{number:05}", file_id=number) for number in range(2500))
    assert [one.file_id for one in journal.entries()] == list(range(2500))


def test_paths_that_are_no_text(journal):
    path = Path(os.fsdecode(b"/data/\xff\n"))
    journal.record([Entry(Source(path, b"\xff\n", 1, -1), "0" * 64, 1, "d", 1, "sent")])
    (found,) = journal.entries()
    assert (found.source.path, found.source.name, found.source.mtime_ns) == (path, b"\xff\n", -1)


def test_two_archivers_do_not_meet(tmp_path):
    with Journal(tmp_path / "j", "https://a.example") as one, Journal(tmp_path / "j", "https://b.example") as other:
        one.record([entry()])
        assert other.at(Path("/data/a")) is None
        assert list(other.entries()) == []


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_one_that_cannot_be_read_is_laid_aside(tmp_path, content):
    (tmp_path / "j").write_bytes(content)
    with Journal(tmp_path / "j", "https://a.example") as journal:
        assert journal.laid_aside.read_bytes() == content
        journal.record([entry()])
        assert journal.find(entry().source) is not None


def test_damage_in_the_middle_costs_time_only(tmp_path):
    with Journal(tmp_path / "j", "x") as journal:
        journal.record(entry(f"/{number:05}", file_id=number) for number in range(3000))
    size = (tmp_path / "j").stat().st_size
    with (tmp_path / "j").open("r+b") as file:
        for at in range(8192, size, 8192):
            file.seek(at)
            file.write(b"\xff" * 4096)
    with Journal(tmp_path / "j", "x") as journal:
        found = [journal.at(Path(f"/{number:05}")) for number in range(3000)]
        assert None in found
        journal.record([entry("/new")])
        assert journal.at(Path("/new")) is not None
        assert journal.trouble is not None or journal.laid_aside is not None


def test_one_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError):
        Journal(tmp_path / "file" / "j", "x")
    with pytest.raises(sqlite3.OperationalError):
        Journal(tmp_path, "x")


def test_what_cannot_be_written_is_remembered_until_the_end(tmp_path):
    with Journal(tmp_path / "j", "x") as journal:
        journal.record([entry("/1", file_id=1)])
        journal._db.execute("PRAGMA query_only = ON")
        assert journal.trouble is None
        journal.record([entry("/2", file_id=2)])
        assert "readonly" in journal.trouble
        assert journal.of_file(1) is not None
        assert journal.of_file(2) is not None
        assert [one.file_id for one in journal.entries()] == [1, 2]


def _write(path, number):
    with Journal(path, "x") as journal:
        for each in range(20):
            journal.record([entry(f"/{number}/{each}", file_id=100 * number + each)])


def test_several_processes_write_at_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write, args=(tmp_path / "j", number)) for number in (1, 2, 3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    with Journal(tmp_path / "j", "x") as journal:
        assert len(list(journal.entries())) == 60


def test_no_look_up_reads_more_than_it_asks_for(journal):
    """What the database would do for each statement that a sending makes, or a sweep: never all rows of an archiver."""
    said = []
    journal._db.set_trace_callback(said.append)
    journal.find(entry().source)
    journal.of_file(1)
    journal.settle([1], "received")
    journal.settle_dataset(1, "received")
    journal.forget([Path("/a")])
    list(journal.entries(1, "received"))
    journal._db.set_trace_callback(None)
    statements = [statement for statement in said if statement.partition(" ")[0] in {"SELECT", "UPDATE", "DELETE"}]
    plans = [" ".join(row[3] for row in journal._db.execute(f"EXPLAIN QUERY PLAN {statement}")) for statement in statements]
    narrow = ("archiver=? AND path=?", "archiver=? AND file_id=?", "archiver=? AND dataset_id=?")
    assert len(plans) == 6
    assert [plan for plan in plans if not any(keys in plan for keys in narrow)] == []
