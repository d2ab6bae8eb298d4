"""A window over a store's object: the same bytes in any order, few requests, none twice, bounded."""

from __future__ import annotations

import io
import random
from concurrent.futures import Future

import h5py
import numpy as np
import pytest
from neve import window
from neve.window import Window

BODY = random.Random(4).randbytes(300_000)


class Store:
    """Answers at once; `asked`: the ranges. `fail`: what the next answers are instead."""

    def __init__(self, body: bytes = BODY, origin: int = 0) -> None:
        self.body, self.asked, self.fail = bytes(origin) + body + b"behind", list[tuple[int, int]](), list[Exception | bytes]()
        self.origin = origin

    def __call__(self, start: int, end: int) -> Future[bytes]:
        answer: Future[bytes] = Future()
        self.asked.append((start, end))
        if not self.fail:
            answer.set_result(self.body[self.origin + start : self.origin + end])
        elif isinstance(failure := self.fail.pop(0), bytes):
            answer.set_result(failure)
        else:
            answer.set_exception(failure)
        return answer

    @property
    def fetched(self) -> int:
        return sum(end - start for start, end in self.asked)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The same with sizes a thousandth of their own."""
    for name, size in {"LEAST_BYTES": 1000, "PIECE_BYTES": 16_000, "STORE_BYTES": 8000, "KEPT_BYTES": 64_000, "METADATA_BYTES": 16}.items():
        monkeypatch.setattr(window, name, size)


def kept(opened: Window) -> int:
    return sum(piece.end - piece.start for piece in opened._pieces)


@pytest.mark.parametrize("seed", range(6))
def test_the_same_bytes_in_any_order(seed):
    chance, store = random.Random(seed), Store(origin=777)
    with Window(store, len(BODY), 777) as opened:
        at = 0
        for _ in range(600):
            at = chance.choice([at, at, chance.randrange(len(BODY) + 10), max(0, at - 50)])
            size = chance.choice([1, 15, 300, 2000, 2000, 40_000])
            assert opened.seek(at) == at
            assert opened.read(size) == BODY[at : at + size]
            at = opened.tell()
            assert kept(opened) <= 64_000
    assert all(0 <= start < end <= len(BODY) for start, end in store.asked)


def test_as_files_are():
    with Window(Store(), len(BODY)) as opened:
        assert opened.seek(-10, io.SEEK_END) == len(BODY) - 10
        assert opened.read() == BODY[-10:]
        assert opened.read(5) == b""
        opened.seek(100)
        opened.seek(20, io.SEEK_CUR)
        assert opened.read() == BODY[120:]
        assert opened.readable()
        assert opened.seekable()
        assert not opened.writable()


def test_on_and_on_is_read_ahead_and_nothing_twice():
    store = Store()
    with Window(store, len(BODY)) as opened:
        for at in range(0, len(BODY), 2000):
            assert opened.read(2000) == BODY[at : at + 2000]
            opened.seek(300)  # HDF5 looks something up
            assert opened.read(8) == BODY[300:308]
            opened.seek(at + 2000)
            if 50_000 < at < 250_000:
                assert max(stop for _, stop in store.asked) >= at + 2000 + 16_000
    assert store.fetched <= len(BODY) + 2 * 16_000  # the look-ups may have to be fetched again
    assert len(store.asked) < 50
    assert sum(end % 8000 == 0 for _, end in store.asked) > 15


def test_small_reads_on_and_on_are_read_ahead_too():
    store = Store()
    with Window(store, len(BODY)) as opened:
        for at in range(0, len(BODY), 10):
            assert opened.read(10) == BODY[at : at + 10]
    assert store.fetched <= len(BODY) + 1000
    assert len(store.asked) < 40


def test_equal_steps_are_read_ahead_and_nothing_between():
    store = Store()
    with Window(store, len(BODY)) as opened:
        for at in range(0, len(BODY) - 2000, 14_000):
            opened.seek(at)
            assert opened.read(2000) == BODY[at : at + 2000]
            if 14_000 * 4 < at < 14_000 * 18:
                assert (at + 14_000, at + 16_000) in store.asked
    assert store.fetched <= 22 * 2000
    assert len(store.asked) == len(set(store.asked))


def test_here_and_there_is_not_read_ahead():
    store = Store()
    places = random.Random(1).sample(range(0, 290_000, 3500), 40)
    with Window(store, len(BODY)) as opened:
        for at in places:
            opened.seek(at)
            opened.read(2000)
    assert store.fetched <= 40 * 2000 + 6000


def test_one_large_read_is_fetched_in_pieces_under_way_together():
    store = Store()
    with Window(store, len(BODY)) as opened:
        assert opened.read(100_000) == BODY[:100_000]
    assert store.asked[0] == (0, 16_000)
    assert max(end - start for start, end in store.asked) <= 16_000
    assert store.fetched <= 100_000 + 3 * 16_000


def test_a_failure_is_remembered_and_what_failed_asked_anew():
    store = Store()
    with Window(store, len(BODY)) as opened:
        store.fail = [ConnectionResetError("gone")]
        with pytest.raises(ConnectionResetError):
            opened.read(3000)
        assert isinstance(opened.failure, ConnectionResetError)
        assert opened.tell() == 0
        assert opened.read(3000) == BODY[:3000]
        store.fail = [b"short"]
        opened.seek(200_000)
        with pytest.raises(EOFError, match="5 bytes instead of 3000 from 200000 on"):
            opened.read(3000)
        opened.seek(200_000)
        assert opened.read(3000) == BODY[200_000:203_000]


def test_what_is_under_way_at_the_end_is_let_go():
    waiting = []

    def never(_start, _end):
        waiting.append(Future())
        if len(waiting) == 1:
            waiting[0].set_result(BODY[:5000])
        return waiting[-1]

    opened = Window(never, 5000 + 2000)
    opened.read(5000)
    opened._last, opened._run = (0, 5000), 0
    opened.seek(5000)
    opened._ask(5000, 7000)
    opened.close()
    assert waiting[-1].cancelled()


@pytest.mark.parametrize("compressed", [False, True])
def test_a_stack_of_images_frame_by_frame(monkeypatch, compressed):
    monkeypatch.undo()
    import hdf5plugin

    frames = np.random.default_rng(2).poisson(3, (40, 500, 600)).astype("u2")
    body = io.BytesIO()
    with h5py.File(body, "w") as file:
        how = dict(hdf5plugin.Bitshuffle(cname="lz4")) if compressed else {}
        file.create_dataset("data", data=frames, chunks=(1, 500, 600), maxshape=(None, 500, 600), **how)
    store = Store(body.getvalue(), 512)
    with Window(store, len(body.getvalue()), 512) as opened, h5py.File(opened, "r") as file:
        assert len(store.asked) == 1
        assert all(np.array_equal(file["data"][number], frames[number]) for number in range(40))
        assert store.fetched <= len(body.getvalue()) + 2 * window.LEAST_BYTES
        assert np.array_equal(file["data"][::7], frames[::7])
        assert np.array_equal(file["data"][:, 5, 7], frames[:, 5, 7])
