"""Parts of copies that are near each other are asked for once, each byte as it lies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from archiver.model import Copy, Proof
from archiver.storage import Tier
from archiver.stretch import Part, Stretches, in_order

BODY = bytes(n * n % 251 for n in range(300_000))


class Asked:
    """A tier that holds BODY at every key, and counts what it is asked for."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int, int]] = []

    def parts(self, key: str, _version: str, size_bytes: int, _step: int, offset_bytes: int) -> Iterator[bytes]:
        self.requests.append((key, offset_bytes, size_bytes))
        yield BODY[offset_bytes : offset_bytes + size_bytes]


def copy(number: int) -> Copy:
    return Copy(number, number, "archive", f"bundle-{number}", "v", "STANDARD", Proof.READ_BACK, datetime(2026, 3, 1, tzinfo=UTC), None)


def read(parts: list[Part]) -> tuple[dict[tuple[int, int], bytes], list[tuple[str, int, int]]]:
    tier, stretches = Asked(), Stretches(parts)
    return {(p.copy.id, p.offset_bytes): stretches.read(cast(Tier, tier), p) for p in sorted(parts, key=in_order)}, tier.requests


@given(st.sets(st.tuples(st.integers(1, 3), st.integers(0, 500)), min_size=1, max_size=40), st.integers(0, 600))
def test_each_part_reads_as_it_lies_whatever_stands_between(places: set[tuple[int, int]], size_bytes: int):
    parts = [Part(copy(number), block * 600, min(size_bytes, 600)) for number, block in places]
    found, requests = read(parts)
    assert found == {(p.copy.id, p.offset_bytes): BODY[p.offset_bytes : p.offset_bytes + p.size_bytes] for p in parts}
    assert len(requests) <= len(parts)


def test_neighbours_cost_one_request_and_what_is_far_or_elsewhere_another():
    near = [Part(copy(1), 512 + n * 1024, 500) for n in range(100)]
    assert read(near)[1] == [("bundle-1", 512, 99 * 1024 + 500)]
    assert len(read([*near, Part(copy(1), 290_000, 10)])[1]) == 2
    assert len(read([*near, Part(copy(2), 512, 500)])[1]) == 2


def test_memory_holds_no_more_than_was_said():
    _, requests = read([Part(copy(1), n * 2**20, 2**20) for n in range(20)])
    assert [length for _, _, length in requests] == [8 * 2**20, 8 * 2**20, 4 * 2**20]
