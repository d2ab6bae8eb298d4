"""Bytes go by no faster than they may, whoever sends them, and not slower."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from archiver.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@given(st.lists(st.lists(st.binary(max_size=50), max_size=8), min_size=1, max_size=4), st.integers(1, 200))
def test_streams_share_one_rate_and_lose_no_byte(streams: list[list[bytes]], rate: int):
    clock = Clock()
    pace = Pace(rate, clock, clock.sleep)
    assert [list(pace.paced(stream)) for stream in streams] == streams
    sent = [piece for stream in streams for piece in stream]
    before_last = sum(map(len, sent[:-1]))  # the last piece is handed on when those before it have had their time
    assert abs((clock.now - 1000.0) - before_last / rate) < 1e-6


def test_without_a_limit_nothing_waits():
    clock = Clock()
    assert list(Pace(None, clock, clock.sleep).paced([b"x" * 10**6] * 3)) == [b"x" * 10**6] * 3
    assert clock.now == 1000.0
