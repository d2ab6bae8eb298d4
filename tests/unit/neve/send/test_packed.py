"""Small files that are sent together: each once, whole, in a tar that is right to the byte, whatever happens to one of them or to the pack."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from contextlib import closing

import pytest
from fixtures.sending import Kinds, fill, sources
from neve.errors import ServiceUnavailable
from neve.send import packed
from neve.send.answers import Pack, PackMember, Put, parse_asked
from neve.send.packed import Load, Otherwise, Tar
from neve.send.patience import Stopped
from neve.send.reception import Reception
from neve.send.run import Task
from neve.send.sender import send
from neve.send.source import Source


def small(folder, count=40, size_bytes=700):
    return fill(folder, **{f"f{number:03}": os.urandom(size_bytes + number) for number in range(count)})


def is_done(method, path):
    return method == "POST" and "/packs/" in path and path.endswith("/done")


def is_put_of_a_pack(method, path):
    return path.startswith("/store/5")


def arrived(archiver, files, outcome, events=None):
    """All is there, and counted once."""
    assert archiver.content() == files
    assert (outcome.failed, outcome.state) == (0, "closed")
    assert (outcome.sent, outcome.bytes_sent) == (len(files), sum(map(len, files.values())))
    if events is not None:
        assert events.of("progress")[-1] == {"bytes_sent": outcome.bytes_sent, "bytes_done": outcome.bytes_sent, "files_done": len(files)}
        assert Counter(about["path"] for about in events.of("sent")).most_common(1)[0][1] == 1
        assert len(events.of("sent")) == len(files)


@pytest.mark.parametrize("ending", [b"", b"\xff\xfe", "😀é".encode(), b"\n\\ "])
def test_names_sizes_and_times_of_all_kinds(archiver, reception, journal, folder, ending):
    deep = folder / ("d" * 150) / ("e" * 150)
    deep.mkdir(parents=True)
    for number in range(200):
        name = b"%03d" % number + ending
        path = folder / os.fsdecode(name + b"x" * (255 - len(name)) if number % 3 == 0 else name)
        path = deep / f"file{number}" if number % 7 == 0 else path
        path.write_bytes(os.urandom((0, 1, 511, 512, 513, 20_000)[number % 6]))
        os.utime(path, ns=(0, (-5 * 10**9, 0, 1_700_000_000 * 10**9 + 999, 2**33 * 10**9, 9 * 10**18)[number % 5]))
    files = {source.name: source.path.read_bytes() for source in sources(folder)}
    events = Kinds()
    outcome = send(reception, journal, "p1", "run42", sources(folder), report=events.append)
    arrived(archiver, files, outcome, events)
    assert all(file.packed for file in archiver.files.values())
    assert archiver.asked_for("/uploads/done") == 0
    assert {about["path"]: about["sha256"] for about in events.of("sent")}.keys() == {about["path"] for about in events.of("sent")}
    assert {entry.source.name: entry.sha256 for entry in journal.entries()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    assert {entry.state for entry in journal.entries()} == {"received"}


def test_beside_larger_files(archiver, reception, journal, folder):
    files = {**small(folder, 500), **fill(folder, large=os.urandom(500_000), middle=os.urandom(64_000), zlarge=os.urandom(300_000))}
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    arrived(archiver, files, outcome)
    assert {file.name for file in archiver.files.values() if not file.packed} == {b"large", b"zlarge"}
    assert sum(path.startswith("/store/5") for _, path in archiver.asked) == 3, "one PUT for each group of 200"


def test_few_go_singly(archiver, reception, journal, folder):
    arrived(archiver, small(folder, 15), send(reception, journal, "p1", "run42", sources(folder)))
    assert not any(file.packed for file in archiver.files.values())


def test_an_archiver_without_packs_is_asked_without_after_one_refusal(archiver, reception, journal, folder):
    archiver.pack_of = None
    arrived(archiver, small(folder, 450), send(reception, journal, "p1", "run42", sources(folder)))
    asked = [path for method, path in archiver.asked if method == "POST" and path.endswith("/uploads")]
    assert len(asked) == 4


def test_a_spoilt_group_is_still_no_archiver_without_packs(archiver, reception, journal, folder):
    files = {**small(folder, 60), **fill(folder, **{"NEVE-ARCHIVED.txt": b"stub"})}
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    assert (outcome.sent, outcome.failed) == (60, 1)
    assert set(archiver.content()) == set(files) - {b"NEVE-ARCHIVED.txt"}
    assert any(file.packed for file in archiver.files.values())


@pytest.mark.parametrize("kind", ["changed", "removed", "replaced", "a link"])
def test_what_happens_to_one_file_costs_that_file_only(archiver, reception, journal, folder, kind):
    files = small(folder)
    once = []

    def happen(method, path, _handler):
        if method == "POST" and path.endswith("/uploads") and not once:
            once.append(1)
            (folder / "f020").unlink()
            if kind == "a link":
                (folder / "f020").symlink_to(folder / "f001")
            elif kind != "removed":
                files[b"f020"] = b"new" if kind == "changed" else b"n" * 720
                (folder / "f020").write_bytes(files[b"f020"])
        return False

    archiver.faults.append(happen)
    events = Kinds()
    outcome = send(reception, journal, "p1", "run42", sources(folder), report=events.append)
    if kind in {"changed", "replaced"}:
        arrived(archiver, files, outcome, events)
        assert {about["path"] for about in events.of("changed")} == {"f020"}
    else:
        del files[b"f020"]
        assert archiver.content() == files
        assert (outcome.sent, outcome.failed, outcome.state) == (39, 1, "open")
        assert outcome.bytes_sent == sum(map(len, files.values()))
        assert [failure.name for failure in outcome.failures] == [b"f020"]
        assert sum(file.packed for file in archiver.files.values()) == 39, "the others went together all the same"


def test_a_file_that_changes_when_it_was_read_already(archiver, reception, journal, folder):
    files = small(folder)
    once = []

    def change(method, path, handler):
        if is_put_of_a_pack(method, path) and not once:
            once.append(1)
            files[b"f000"] = b"later"
            (folder / "f000").write_bytes(b"later")
        return False

    archiver.faults.append(change)
    events = Kinds()
    outcome = send(reception, journal, "p1", "run42", sources(folder), report=events.append)
    arrived(archiver, files, outcome, events)
    assert archiver.taken_apart == 1


def test_many_unreadable_files_do_not_have_the_rest_sent_for_each(archiver, reception, journal, folder):
    files = small(folder, 100)
    found = list(sources(folder))
    for name in sorted(files)[50:]:
        (folder / name.decode()).unlink()
        del files[name]
    outcome = send(reception, journal, "p1", "run42", found)
    assert archiver.content() == files
    assert (outcome.sent, outcome.failed) == (50, 50)
    assert archiver.bytes_in <= 4 * 200_000


def test_a_wrong_sum_of_a_manifest_is_not_stored(archiver, reception, journal, folder):
    files = small(folder)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} | {b"f007": "0" * 64}
    outcome = send(reception, journal, "p1", "run42", sources(folder), sums=sums)
    del files[b"f007"]
    assert archiver.content() == files
    assert (outcome.sent, outcome.failed) == (39, 1)
    assert "manifest says 0000" in outcome.failures[0].sentence
    assert not any(file.whole is not None for file in archiver.files.values() if file.name == b"f007")
    assert sum(path.startswith("/store/5") for _, path in archiver.asked) == 2


@pytest.mark.parametrize("fault", ["cut", "busy", "lost", "expired"])
def test_a_store_that_is_away_or_loses_its_answer(archiver, reception, journal, folder, faults, fault):
    files = small(folder, 150, 5000)
    do = {"cut": faults.cut, "busy": faults.status(503), "lost": faults.lose(archiver), "expired": faults.status(403)}[fault]
    times = faults.Times(2 if fault != "lost" else 1, is_put_of_a_pack, do)
    archiver.faults.append(times)
    events = Kinds()
    outcome = send(reception, journal, "p1", "run42", sources(folder), report=events.append)
    arrived(archiver, files, outcome, events)
    assert times.left == archiver.taken_apart == 0, "the same pack was sent again"
    assert all(count == 1 for count in archiver.times.values()), "and what stood there (412) was not stored twice"
    assert all(file.packed for file in archiver.files.values())


def test_a_store_that_says_at_once_that_it_stands_there(archiver, reception, journal, folder, faults):
    """An answer was lost; to the next PUT the store answers 412 before the body has come. What was not read for it is read for the sums."""
    files = small(folder, 190, 60_000)
    said = []

    def early(handler):
        said.append(1)
        handler.reply(412, b"<Error><Code>PreconditionFailed</Code></Error>", "application/xml")
        handler.close_connection = True
        handler.connection.shutdown(1)

    def at_once(method, path, handler):
        if not is_put_of_a_pack(method, path) or not archiver.times:
            return False
        early(handler)
        return True

    archiver.faults += [at_once, faults.Times(1, is_put_of_a_pack, faults.lose(archiver))]
    events = Kinds()
    outcome = send(reception, journal, "p1", "run42", sources(folder), report=events.append)
    assert archiver.content() == files
    assert (outcome.sent, outcome.failed, outcome.state) == (190, 0, "closed")
    assert said
    assert events.of("progress")[-1]["bytes_done"] == sum(map(len, files.values()))
    assert outcome.bytes_sent < sum(map(len, files.values()))
    assert archiver.taken_apart == 0


def test_a_link_through_which_no_pack_gets(archiver, reception, journal, folder, faults):
    files = small(folder, 100, 8000)
    archiver.faults.append(faults.Times(10**6, is_put_of_a_pack, faults.status(503)))
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    arrived(archiver, files, outcome)
    assert not any(file.packed for file in archiver.files.values())


@pytest.mark.parametrize("fault", ["refused", "404", "409"])
def test_packs_that_come_to_nothing_for_ever_end_singly(archiver, reception, journal, folder, faults, fault):
    files = small(folder)
    where, code, name = {"refused": (is_put_of_a_pack, 413, ""), "404": (is_done, 404, "not-found"), "409": (is_done, 409, "conflict")}[fault]
    times = faults.Times(10**6, where, faults.status(code, archiver.problem(code, name)[1] if name else None))
    archiver.faults.append(times)
    arrived(archiver, files, send(reception, journal, "p1", "run42", sources(folder)))
    assert 10**6 - times.left == 3


def test_a_pack_that_is_missing_is_sent_again(archiver, reception, journal, folder):
    files = small(folder)
    left = [1, 2]

    def lose(method, path, _handler):
        if is_done(method, path) and left:
            left.pop()
            for pack in archiver.packs.values():
                pack.whole = None
        return False

    archiver.faults.append(lose)
    events = Kinds()
    arrived(archiver, files, send(reception, journal, "p1", "run42", sources(folder), report=events.append), events)
    assert all(file.packed for file in archiver.files.values())


def test_another_sum_than_was_told_before_fails_that_file(archiver, reception, journal, folder):
    files = small(folder)

    def other(method, path, _handler):
        if is_done(method, path):
            for file in archiver.files.values():
                if file.name == b"f030":
                    file.sha256 = "1" * 64
        return False

    archiver.faults.append(other)
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    del files[b"f030"]
    assert archiver.content() == files
    assert [failure.name for failure in outcome.failures] == [b"f030"]
    assert "1" * 64 in outcome.failures[0].sentence


def test_a_wrong_offset_is_not_sent(archiver, reception, journal, folder):
    archiver.spoil_offsets = 1
    arrived(archiver, small(folder), send(reception, journal, "p1", "run42", sources(folder)))
    assert not any(path.startswith("/store/5") for _, path in archiver.asked)


def test_a_pack_that_cannot_be_proven_is_sent_once_more(archiver, reception, journal, folder):
    files = small(folder)
    archiver.spoil = set(files)
    outcome = send(reception, journal, "p1", "run42", sources(folder))
    assert archiver.content() == files
    assert (outcome.sent, outcome.failed, outcome.state) == (40, 0, "closed")


def test_stopped_in_the_middle_it_goes_on(archiver, reception, journal, folder):
    files = small(folder, 600)
    gate, held = threading.Event(), threading.Event()

    def hold(method, path, _handler):
        if is_done(method, path):
            held.set()
            gate.wait(30)
        return False

    archiver.faults.append(hold)
    threading.Thread(target=lambda: held.wait(30) and (reception.patience.stop.set(), gate.set())).start()
    with pytest.raises(Stopped):
        send(reception, journal, "p1", "run42", sources(folder))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("neve-")]
    archiver.faults.clear()
    with closing(Reception(archiver.url, archiver.key)) as again:
        outcome = send(again, journal, "p1", "run42", sources(folder))
    assert archiver.content() == files
    assert (outcome.failed, outcome.state) == (0, "closed")
    assert all(count == 1 for count in archiver.times.values()), "nothing that stood there was stored twice"


def test_killed_it_sends_nothing_twice_that_stands_there(archiver, folder, tmp_path):
    files = small(folder, 600)
    held = threading.Event()
    puts = []

    def hold(method, path, handler):
        puts.extend([1] * is_put_of_a_pack(method, path))
        if len(puts) > 1 and is_put_of_a_pack(method, path):
            held.set()
            handler.rfile.read(1000)
            time.sleep(1)
            handler.close_connection = True
            return True
        return False

    archiver.faults.append(hold)
    key = tmp_path / "key"
    key.write_text(archiver.key)
    env = {**os.environ, "NEVE_URL": archiver.url, "NEVE_KEY_FILE": str(key), "XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "neve.send", "send", folder, "--project", "p1", "--name", "run42"]
    process = subprocess.Popen(command, env=env)
    try:
        assert held.wait(30)
        deadline = time.monotonic() + 30
        while not archiver.times and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait(30)
    archiver.faults.clear()
    assert archiver.times
    assert subprocess.run(command, env=env, capture_output=True, timeout=60, check=False).returncode == 0
    assert archiver.content() == files
    assert all(count == 1 for count in archiver.times.values())


class Quiet:
    """As much of a run as a tar asks for."""

    def moved(self, _count):
        pass

    def check(self):
        pass


def load(paths, **other):
    tasks = [Task(Source(path, os.fsencode(path.name), path.stat().st_size, path.stat().st_mtime_ns)) for path in paths]
    members, at = [], 0
    for number, task in enumerate(tasks):
        at += 512
        members.append(PackMember(number, task.source.name, task.source.size_bytes, 0, at))
        at += task.source.size_bytes + -task.source.size_bytes % 512
    about = {"pack_id": 1, "dataset_id": 1, "size_bytes": at + 1024, "put": Put("", {}), "members": tuple(members)} | other
    return Load(Pack(**about), tasks)


def test_a_pack_is_never_in_memory(folder):
    for number in range(64):
        with (folder / f"{number:02}").open("wb") as file:
            file.truncate(1 << 20)
    tar = Tar(load(sorted(folder.iterdir())), Quiet())
    tar.check()
    tracemalloc.start()
    total = first = 0
    for piece in tar.pieces():
        if not first:
            first = len(piece)
            assert tar.sums == [], "made while it is asked for"
        total += len(piece)
        tar.left(len(piece))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (total, tar.moved) == (64 * (512 + (1 << 20)) + 1024, 64 << 20)
    assert most < 2 << 20


@pytest.mark.parametrize(
    "other", [{"size_bytes": 1}, {"members": (PackMember(0, b"a", 4, 0, 512),)}, {"members": (PackMember(0, b"a", 3, 0, 1024),)}]
)
def test_what_is_reckoned_otherwise_is_not_sent(folder, other):
    (folder / "a").write_bytes(b"abc")
    Tar(load([folder / "a"]), Quiet()).check()
    with pytest.raises(Otherwise):
        Tar(load([folder / "a"], **other), Quiet()).check()


def test_answers_that_are_not_understood():
    item = {"file_id": 3, "dataset_id": 1, "path": "a", "state": "pack", "pack_id": 7}
    member = {"file_id": 3, "path": "a", "path_base64": "/w==", "size_bytes": 1, "mtime_s": -1, "offset_bytes": 512}
    pack = {"pack_id": 7, "dataset_id": 1, "size_bytes": 2048, "put": {"url": "http://s", "headers": {}}, "members": [member]}
    [read], [made] = parse_asked({"items": [item], "packs": [pack]}, 1)
    assert (read.pack_id, made.members) == (7, (PackMember(3, b"\xff", 1, -1, 512),))
    for answer in (
        {"items": [item]},
        {"items": [item], "packs": []},
        {"items": [{**item, "pack_id": 8}], "packs": [pack]},
        {"items": [item], "packs": [{**pack, "members": [member, {**member, "file_id": 4}]}]},
        {"items": [item], "packs": [pack, {**pack, "pack_id": 8, "members": []}]},
        {"items": [{**item, "state": "put", "put": pack["put"]}], "packs": [pack]},
    ):
        with pytest.raises(ValueError, match="pack"):
            parse_asked(answer, 1)


def test_a_state_of_a_pack_that_nobody_knows_ends_it(archiver, reception, journal, folder, faults):
    small(folder)
    archiver.faults.append(faults.Times(1, is_done, faults.status(200, {"pack_id": 5_000_001, "state": "perhaps"}, kind="application/json")))
    with pytest.raises(ServiceUnavailable, match="does not understand"):
        send(reception, journal, "p1", "run42", sources(folder))
    assert packed.THREADS == 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("neve-")]
