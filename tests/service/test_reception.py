"""Reception meets what file systems and people do: changed, late, vanishing and hostile files, taken places, wrong names."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fixtures.archive import Bench

from archiver import app, reception, restore, transfer
from archiver.check import check
from archiver.errors import ForeignObject, NotFound, PublicError, SourceChanged, UnreadableSource, WrongUse
from archiver.model import DatasetState, FileState, RestoreState
from archiver.storage import Tier


def receive(bench: Bench, name: str, *paths: Path, project: str = "snow", instrument: str = "saxs"):
    return app.ingest(bench.archive, project, instrument, name, list(paths))


def files_of(bench: Bench, reference: str) -> dict[str, str]:
    with bench.archive.ledger.read() as tx:
        return {f.path: f.state for f in tx.files(tx.find_dataset(reference).id)}


def nothing_received(bench: Bench) -> bool:
    with bench.archive.ledger.read() as tx:
        received = tx.totals()
    return not received and not bench.keys("hot")


# the same, other, late


def test_the_same_content_again_is_no_work(bench: Bench):
    folder = bench.write("run1", {"a": b"a", "b": b"b"})
    receive(bench, "run1", folder)
    os.utime(folder / "a", (1, 1))  # a new time is no new content
    datasets, arrivals = receive(bench, "run1", folder)
    assert [d.full_name for d in datasets] == ["saxs/run1"]
    assert [a.transfer_id for a in arrivals] == [None, None]
    with bench.archive.ledger.read() as tx:
        assert tx.states()["dataset"] == {"closed": 1}
        assert tx.states()["transfer"] == {"proven": 3}


def test_other_content_under_a_known_path_while_open_is_kept_beside_it(bench: Bench):
    folder = bench.write("run1", {"a.h5": b"one"})
    for content in (b"one", b"two!", b"three", b"two!"):
        (folder / "a.h5").write_bytes(content)
        app.send(bench.archive, "snow", "saxs", "run1", reception.scan([folder]))
    assert files_of(bench, "run1") == {"a.h5": "received", "a.h5@v2": "received", "a.h5@v3": "received"}
    datasets, _ = receive(bench, "run1", folder)
    assert [bench.read(datasets[0], p) for p in ("a.h5", "a.h5@v2", "a.h5@v3")] == [b"one", b"two!", b"three"]


def test_a_name_that_looks_like_a_version_is_a_file_of_its_own(bench: Bench):
    folder = bench.write("run1", {"a": b"one"})
    app.send(bench.archive, "snow", "saxs", "run1", reception.scan([folder]))
    (folder / "a").write_bytes(b"two")
    (folder / "a@v2").write_bytes(b"its own")
    datasets, arrivals = receive(bench, "run1", folder)
    assert {a.source.path_raw: a.path for a in arrivals} == {b"a": "a@v2", b"a@v2": "a@v2@v2"}
    assert [bench.read(datasets[0], p) for p in ("a", "a@v2", "a@v2@v2")] == [b"one", b"two", b"its own"]
    assert [a.transfer_id for a in receive(bench, "run1", folder)[1]] == [None, None]


def test_after_closing_everything_new_goes_to_a_linked_dataset(bench: Bench):
    folder = bench.write("run1", {"a": b"a", "b": b"b"})
    first = receive(bench, "run1", folder)[0][0]
    (folder / "a").write_bytes(b"other")
    (folder / "late").write_bytes(b"late")
    datasets, arrivals = receive(bench, "run1", folder)
    assert [d.full_name for d in datasets] == ["saxs/run1+1", "saxs/run1"]
    assert {a.path: a.transfer_id is None for a in arrivals} == {"a": False, "b": True, "late": False}
    following = datasets[0]
    assert following.follows_id == first.id
    assert following.state is DatasetState.CLOSED
    assert files_of(bench, "run1") == {"a": "received", "b": "received"}
    assert bench.read(first, "a") == b"a"
    assert bench.read(following, "a") == b"other"
    (folder / "later").write_bytes(b"later")
    again, arrivals = receive(bench, "run1", folder)
    assert {d.full_name for d in again} == {"saxs/run1", "saxs/run1+1", "saxs/run1+2"}
    assert sum(a.transfer_id is not None for a in arrivals) == 1


def test_a_file_that_comes_after_a_close_was_cut_short_is_in_no_manifest_but_its_own(bench: Bench):
    """The manifest was proven, the process died before the dataset closed: a late file may not slip in unlisted."""
    folder = bench.write("run1", {"a": b"a"})
    app.send(bench.archive, "snow", "saxs", "run1", reception.scan([folder]))
    app._arrive(bench.archive, [reception.prepare_close(bench.archive, 1)])
    (folder / "late").write_bytes(b"late")
    datasets, _ = receive(bench, "run1", folder)
    assert {d.full_name: set(files_of(bench, d.full_name)) for d in datasets} == {"saxs/run1": {"a"}, "saxs/run1+1": {"late"}}
    assert all(d.state is DatasetState.CLOSED for d in datasets)
    for dataset in datasets:
        assert {f["path"] for f in manifest(bench, dataset, "hot")["files"]} == set(files_of(bench, dataset.full_name))


# files that do not keep still


@pytest.fixture
def while_sending(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """`while_sending(act)`: `act` once, while `a` is sent: by itself or, when it was read, with others."""

    def arm(act: Callable[[], object]) -> None:
        pieces, begin_put, todo = transfer._pieces, Tier.begin_put, [act]

        def begun(tier: Tier, key: str, *rest) -> Callable[[], str]:
            if todo and key.endswith("/a"):
                todo.pop()()
            return begin_put(tier, key, *rest)

        def wrapped(*arguments) -> Iterator[bytes]:
            for piece in pieces(*arguments):
                if todo:
                    todo.pop()()
                yield piece

        monkeypatch.setattr(transfer, "_pieces", wrapped)
        monkeypatch.setattr(Tier, "begin_put", begun)

    return arm


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _same_size(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"X")


def _renamed_over(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("others", [{}, {"b": b"b", "c": b""}], ids=["alone", "with others"])
@pytest.mark.parametrize("act", [_grow, _same_size, _renamed_over, Path.unlink, lambda p: os.truncate(p, 1)])
def test_a_file_that_changes_while_it_is_sent_is_not_received(bench: Bench, while_sending, act, others):
    folder = bench.write("run1", {"a": b"a" * 100_000, **others})
    while_sending(lambda: act(folder / "a"))
    with pytest.raises(PublicError, match=r"changed while it was sent|cannot be read"):
        receive(bench, "run1", folder)
    assert files_of(bench, "run1") == {"a": FileState.ARRIVING, **dict.fromkeys(others, FileState.RECEIVED)}
    (folder / "a").write_bytes(b"done now")
    dataset = receive(bench, "run1", folder)[0][0]
    assert bench.read(dataset, "a") == b"done now"
    bench.settle()
    assert check(bench.archive) == []


def test_a_file_that_is_written_all_the_time_is_refused_until_it_rests(bench: Bench):
    folder = bench.write("run1", {"a": b"a" * 3_000_000})
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            _grow(folder / "a")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(8):  # more often than a transfer is tried: it may not be given up for good
            with pytest.raises(PublicError, match=r"Send it again|Run the same command again"):
                receive(bench, "run1", folder)
    finally:
        stop.set()
        writer.join()
    dataset = receive(bench, "run1", folder)[0][0]
    assert bench.read(dataset, "a") == (folder / "a").read_bytes()


def test_a_file_of_another_size_than_registered_is_refused(bench: Bench):
    folder = bench.write("run1", {"a": b"a"})
    for arrival in reception.register(bench.archive, "snow", "saxs", "run1", reception.scan([folder])):
        _grow(folder / "a")
        with pytest.raises(PublicError, match="has 5 bytes now, it had 1"):
            app._arrive(bench.archive, [arrival.transfer_id])
    assert SourceChanged.exit_code == 1
    assert nothing_received(bench)


# what is no file, and names that cannot be


def test_what_cannot_be_read_stops_before_anything_is_written(bench: Bench):
    folder = bench.write("run1", {"a": b"a"})
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(folder / "a")
    (folder / "loop").symlink_to(folder)
    for path, says in (
        (folder / "nowhere", "No such file or directory"),
        (folder / "empty", "There is no file in"),
        (folder / "pipe", "neither a file nor a folder"),
        (folder / "link", "neither a file nor a folder"),
        (folder / "loop", "neither a file nor a folder"),
        (folder / "a" / "b", "Not a directory"),
        (Path("/dev/null"), "neither a file nor a folder"),
    ):
        with pytest.raises(UnreadableSource, match=says):
            receive(bench, "run1", *([] if path.name == "empty" else [folder / "a"]), path)
    assert nothing_received(bench)
    assert [s.path_raw for s in reception.scan([folder])] == [b"a"]  # neither links nor pipes, and no loop


def test_a_file_that_vanishes_between_listing_and_sending(bench: Bench):
    folder = bench.write("run1", {"a": b"a", "b": b"b"})
    arrivals = reception.register(bench.archive, "snow", "saxs", "run1", reception.scan([folder]))
    (folder / "a").unlink()
    with pytest.raises(PublicError, match="No such file"):
        app._arrive(bench.archive, [arrival.transfer_id for arrival in arrivals])
    assert files_of(bench, "run1") == {"a": "arriving", "b": "received"}


def test_two_sources_of_one_path(bench: Bench):
    one, two = bench.write("one", {"a": b"1"}), bench.write("two", {"a": b"2"})
    with pytest.raises(WrongUse, match="the same path 'a'"):
        receive(bench, "run1", one, two)
    with pytest.raises(WrongUse, match="the same path 'a'"):
        receive(bench, "run1", one / "a", one / "a")
    assert nothing_received(bench)


@pytest.mark.parametrize(
    ("project", "instrument", "error", "says"),
    [
        ("nobody", "saxs", NotFound, "no project 'nobody'"),
        ("snow", "none", NotFound, "no instrument 'none'"),
        ("ice-cores", "saxs", WrongUse, "belongs"),
    ],
)
def test_not_into_what_is_unknown_or_anothers(bench: Bench, project, instrument, error, says):
    bench.ingest("run1", {"a": b"a"})
    with pytest.raises(error, match=says):
        receive(bench, "run1", bench.write("other", {"b": b"b"}), project=project, instrument=instrument)
    with bench.archive.ledger.read() as tx:
        assert tx.states()["dataset"] == {"closed": 1}


IMPOSSIBLE = (
    "", "a/b", "a\\b", ".", "..", ".hidden", " a", "a ", "a\n", "a\x00", "a\x7f", "é" * 101, "x" * 300, "a\u202eb", "\ud800",
)  # fmt: skip


def test_dataset_names_that_cannot_be(bench: Bench):
    folder = bench.write("run1", {"a": b"a"})
    for name in IMPOSSIBLE:
        with pytest.raises(WrongUse, match="cannot be the name"):
            receive(bench, name, folder)
    assert nothing_received(bench)


# hostile names of files

HOSTILE = [
    b"plain.txt", b"with space", b" leading", b"trailing ", b"plus+plus", b"per%cent", b"%2F%00%41", b"a&b=c?d#e", b"it's \"quoted\"",
    b"semi;colon,comma", b"new\nline", b"tab\there", b"carriage\rreturn", b"bell\x07", b"back\\slash", b"star*[x]?", b"$(rm -rf)`x`", b"~", b"-rf",
    b"a:b|c<d>", b".hidden", b"..two", b"...", b"dots.", b"NEVE-ARCHIVED.txt", b"folder/NEVE-ARCHIVED.txt", b".neve/tier", b".versions",
    b".uploads/x", b"plain.txt@v2", b"\xff\xfe not utf-8", b"latin-\xe9.dat", b"caf\xc3\xa9", b"cafe\xcc\x81", b"CAFE", b"cafe", b"Cafe",
    "❄️ névé 雪.h5".encode(), "rtl \u202e txt.exe".encode(), b"\xef\xbb\xbfbom",
    b"x" * 240, b"/".join([b"d" * 100] * 12) + b"/deep", b"/".join([b"s"] * 60) + b"/deep",
]  # fmt: skip
NOT_FOR_SEAWEEDFS = [
    b"plain.txt",
    b"plain.txt.versions",
    b"x" * 255,
    b"\xc3\xa9" * 127,
    b"e" * 250 + b".hdf5",
    b"f" * 255 + b"/file",
    b"/".join([c * 255 for c in (b"u", b"v", b"w", b"y")]),
]


def manifest(bench: Bench, dataset, tier: str) -> dict:
    store = bench.archive.tiers[tier]
    key = f".neve/manifests/{dataset.prefix}.json"
    head = store.head(key)
    assert head is not None, f"no manifest in {tier}"
    return json.loads(b"".join(store.read(key, head.version_id)))


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(HOSTILE, id="odd"),
        pytest.param(NOT_FOR_SEAWEEDFS, id="what SeaweedFS cannot version"),
    ],
)
def test_hostile_names_come_back_byte_for_byte(bench: Bench, hostile: list[bytes]):
    contents = {name: b"content of " + name for name in hostile}
    folder = bench.folder / "hostile"
    for name, content in contents.items():
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (2**31, -1000))
    dataset = receive(bench, "run1", folder)[0][0]
    bench.settle()
    assert check(bench.archive) == []
    assert receive(bench, "run1", folder)[0] == [bench_dataset(bench, dataset.id)]  # known again by its true name
    for tier in ("archive", "deep"):
        described = manifest(bench, dataset, tier)
        assert {bytes.fromhex(f["path_hex"]) for f in described["files"]} == set(hostile)
    bench.turn(days=800)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert bench.tiers(dataset) == {"deep"}
    asked = restore.request(bench.archive, "alice", "run1", None, 3, None)
    bench.settle()
    with bench.archive.ledger.read() as tx:
        assert tx.restore(asked.id).state is RestoreState.READY
        files = tx.files(dataset.id)
        keys = {f.path_raw: tx.object(f.object_id).key for f in files}
    assert {f.path_raw for f in files} == set(hostile)
    assert len(set(keys.values())) == len(hostile)
    hot = bench.archive.tiers["hot"]
    for name, content in contents.items():
        head = hot.head(keys[name])
        assert b"".join(hot.read(keys[name], head.version_id)) == content, name
        assert len(keys[name].encode()) <= 1024
        assert keys[name].isprintable()
    if hostile is HOSTILE:
        assert keys[b"plain.txt"] == f"{dataset.prefix}/plain.txt"
        assert keys[b"NEVE-ARCHIVED.txt"] != f"{dataset.prefix}/NEVE-ARCHIVED.txt"
    assert check(bench.archive) == []


def bench_dataset(bench: Bench, dataset_id: int):
    with bench.archive.ledger.read() as tx:
        return tx.dataset(dataset_id)


def test_a_file_from_the_far_future_or_past(bench: Bench):
    folder = bench.write("run1", {"a": b"a", "b": b"b"})
    for name, at in (("a", 2**33), ("b", -(2**31))):
        os.utime(folder / name, (at, at))
    dataset = receive(bench, "run1", folder)[0][0]
    assert bench.read(dataset, "a") == b"a"
    assert dataset.received_at == bench.now  # age comes from the ledger


def test_a_time_that_no_calendar_has(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """Some file systems hold times beyond the year 9999."""
    folder = bench.write("run1", {"a": b"a"})
    fstat = os.fstat

    class Absurd:
        def __init__(self, found: os.stat_result) -> None:
            self.found = found
            self.st_mtime = 1e15

        def __getattr__(self, name: str):
            return getattr(self.found, name)

    monkeypatch.setattr(reception.os, "fstat", lambda fd: Absurd(fstat(fd)))
    sources = reception.scan([folder])
    assert sources[0].mtime is None
    monkeypatch.undo()
    assert receive(bench, "run1", folder)[0][0].file_count == 1


# taken places


@pytest.mark.parametrize("others", [{}, {"b": b"b", "c": b""}], ids=["alone", "with others"])
def test_a_foreign_object_at_the_key_is_left_alone_and_said(bench: Bench, others):
    folder = bench.write("run1", {"a": b"ours", **others})
    hot: Tier = bench.archive.tiers["hot"]
    key = f"snow/saxs/{bench.now:%Y/%m}/run1/a"
    foreign = hot.put_text(key, "theirs")
    for _ in range(2):
        with pytest.raises(PublicError, match="holds an object that the ledger does not know"):
            receive(bench, "run1", folder)
        assert b"".join(hot.read(key, foreign)) == b"theirs"
    assert ForeignObject.code == "foreign-object"
    assert files_of(bench, "run1") == {"a": FileState.ARRIVING, **dict.fromkeys(others, FileState.RECEIVED)}
    hot.delete_version(key, foreign)
    dataset = receive(bench, "run1", folder)[0][0]
    assert bench.read(dataset, "a") == b"ours"


# the manifest


def test_the_manifest_alone_is_enough(bench: Bench):
    dataset = bench.ingest("run1", {"a.bin": b"a", "sub/b": b"", "new\nline": b"x"})
    bench.settle()
    with bench.archive.ledger.read() as tx:
        files = {f.path_raw: f for f in tx.files(dataset.id)}
        keys = {f.path_raw: tx.object(f.object_id).key for f in files.values()}
    for tier in ("archive", "deep"):
        store = bench.archive.tiers[tier]
        assert store.head(f".neve/manifests/{dataset.prefix}.json").storage_class == "STANDARD"
        described = manifest(bench, dataset, tier)
        assert described["neve_manifest"] == 1
        assert {k: described["dataset"][k] for k in ("project", "instrument", "name", "prefix")} == {
            "project": "snow", "instrument": "saxs", "name": "run1", "prefix": dataset.prefix,
        }  # fmt: skip
        assert described["dataset"]["received_at"] == dataset.received_at.isoformat()
        for listed in described["files"]:
            raw = bytes.fromhex(listed["path_hex"])
            file = files.pop(raw) if tier == "deep" else files[raw]
            assert (listed["sha256"], listed["crc64nvme"], listed["size_bytes"]) == (file.sha256, file.crc64nvme, file.size_bytes)
            assert listed["key"] == keys[raw]
            head = store.head(listed["key"])
            assert store.digest(listed["key"], head.version_id, head.size_bytes).sha256 == listed["sha256"]
    assert files == {}  # each was listed
