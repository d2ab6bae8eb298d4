"""A bundle is a function of its members: any tar opens it, offsets are right before it is built, and a wrong member is noticed."""

from __future__ import annotations

import hashlib
import io
import itertools
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import bundle
from archiver.errors import ProofFailed
from archiver.model import File, FileState, MetadataState
from archiver.storage import Digester

WHEN = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
SMALL = 2**20


def file(path: bytes, content: bytes, mtime: datetime | None = WHEN, number: int = 1) -> File:
    return File(
        id=number, dataset_id=1, path=path.decode("utf-8", "backslashreplace"), path_raw=path, state=FileState.RECEIVED, size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(), crc64nvme="", object_id=number, offset_bytes=0, mtime=mtime, received_at=WHEN, format=None,
        metadata_state=MetadataState.NONE, metadata_error=None, metadata={},
    )  # fmt: skip


def build(contents: dict[bytes, bytes], mtime: datetime | None = WHEN) -> tuple[bundle.Layout, bytes]:
    files = [file(path, content, mtime, n) for n, (path, content) in enumerate(contents.items(), start=1)]
    laid = bundle.layout(files)
    return laid, b"".join(bundle.stream(files, ([contents[f.path_raw]] for f in files)))


_name = st.binary(min_size=1, max_size=200).filter(lambda b: b"\0" not in b and b.strip(b"/.") and b"/" not in b)


@given(st.dictionaries(_name, st.binary(max_size=1500), min_size=1, max_size=8), st.none() | st.datetimes(timezones=st.just(UTC)))
def test_any_tar_reader_finds_every_member_with_its_name_and_bytes_where_the_layout_says(contents, mtime):
    laid, body = build(contents, mtime)
    assert len(body) == laid.size_bytes
    for place in laid.places:
        path = place.file.path_raw
        assert body[place.offset_bytes : place.offset_bytes + place.file.size_bytes] == contents[path]
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:", errors="surrogateescape") as tar:
        found = {m.name.encode("utf-8", "surrogateescape"): (tar.extractfile(m) or io.BytesIO()).read() for m in tar.getmembers()}
    assert found == contents
    assert build(contents, mtime)[1] == body, "built again, it is the same"


def test_gnu_tar_extracts_it(tmp_path: Path):
    contents = {b"a.dat": b"x" * 700, "deep/été 1.txt".encode(): b"", b"deep/" + b"n" * 180 + b".csv": b"1,2\n", b"bad\xff.bin": b"\0" * 512}
    (tmp_path / "b.tar").write_bytes(build(contents)[1])
    done = subprocess.run(["tar", "-xf", "b.tar"], cwd=tmp_path, capture_output=True, text=True)
    said = done.stderr.replace("tar: Ignoring unknown extended header keyword 'hdrcharset'\n", "")  # of the name that is no UTF-8; it is kept
    assert (done.returncode, said) == (0, "")
    for path, content in contents.items():
        assert Path(bytes(tmp_path).decode(), path.decode("utf-8", "surrogateescape")).read_bytes() == content
    assert (tmp_path / "a.dat").stat().st_mtime == int(WHEN.timestamp())


def test_what_is_bundled_is_small_and_each_bundle_keeps_its_size():
    files = [file(f"{n:03}".encode(), b"x" * size, number=n) for n, size in enumerate([100] * 50 + [SMALL, SMALL + 1] + [0], start=1)]
    laid = bundle.layouts(files, SMALL, 20_000)
    assert {p.file.id for one in laid for p in one.places} == {f.id for f in files if f.size_bytes < SMALL}
    assert len(laid) > 1
    assert all(one.size_bytes <= 20_000 for one in laid)
    assert bundle.layouts(files[:1], SMALL, 20_000) == [], "a bundle of one is no gain"
    assert bundle.layouts(files, 0, 20_000) == [], "0 means none"


@pytest.mark.parametrize("wrong", [b"aaab", b"aaa", b"aaaaa", b""])
def test_a_member_that_is_not_what_arrived_ends_the_build(wrong: bytes):
    with pytest.raises(ProofFailed, match=r"^a in hot reads as"):
        list(bundle.stream([file(b"a", b"aaaa")], [[wrong]]))


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 50))
def test_parts_are_of_one_size_but_the_last(pieces, size):
    parts = list(bundle.in_parts(pieces, size))
    assert b"".join(parts) == b"".join(pieces)
    assert all(len(p) == size for p in parts[:-1])
    assert all(parts), "no empty part"


def pieces(body: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(body):
            return
        yield body[at : at + size]
        at += size


@given(st.dictionaries(_name, st.binary(max_size=1500), min_size=1, max_size=6), st.lists(st.integers(1, 3000), min_size=1, max_size=4), st.randoms())
def test_what_somebody_else_built_is_read_in_any_pieces_and_with_one_bit_changed_it_is_noticed(contents, sizes, random):
    laid, body = build(contents)
    files = [place.file for place in laid.places]
    whole = Digester()
    found = [(one.path_raw, digest.sha256) for one, digest in bundle.read(files, pieces(body, sizes), whole)]
    assert found == [(path, hashlib.sha256(content).hexdigest()) for path, content in contents.items()]
    assert (whole.digest().size_bytes, whole.digest().sha256) == (len(body), hashlib.sha256(body).hexdigest())
    bad = bytearray(body)
    at = random.randrange(len(bad))
    bad[at] ^= 1 << random.randrange(8)
    in_member = any(place.offset_bytes <= at < place.offset_bytes + place.file.size_bytes for place in laid.places)
    if in_member:
        assert [digest.sha256 for _, digest in bundle.read(files, [bytes(bad)], Digester())] != [sha for _, sha in found]
    else:
        with pytest.raises(ProofFailed, match="not laid out as it was told of"):
            list(bundle.read(files, [bytes(bad)], Digester()))


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"", lambda b: b[:600], lambda b: b + b])
def test_too_few_bytes_and_too_many_are_noticed(spoil: Callable[[bytes], bytes]):
    laid, body = build({b"a": b"1" * 100, b"b": b""})
    with pytest.raises(ProofFailed, match="not laid out"):
        list(bundle.read([place.file for place in laid.places], [spoil(body)], Digester()))
