"""Reception killed with -9, at each step of sending and of proving, sent and worked again: every file is received once, byte for byte.

The order of the kills is by a seed that is printed. NEVE_SEED replays one.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from datetime import timedelta

import pytest
from fixtures.archive import START
from fixtures.crash import KILLED, assert_sound, driver
from fixtures.door import Door
from fixtures.soundness import calm, wrong

from archiver import strays

MIB = 2**20
SETTINGS = f"[reception]\nparts_above_bytes = {5 * MIB}\n"
SENDING = (
    "dataset.open",
    "transfer.planned",
    "s3.head_object",
    "s3.create_multipart_upload",
    "transfer.copying",
    "s3.list_parts",
    "s3.complete_multipart_upload",
    "transfer.verifying",
    "dataset.closing",
)
PROVING = ("s3.get_object", "transfer.proven", "s3.put_object", "dataset.closed", "transfer.planned", "transfer.copying", "transfer.verifying")

PACKING = ("dataset.open", "transfer.planned", "s3.head_object", "transfer.copying", "transfer.verifying", "dataset.closing")
UNPACKING = (
    "s3.get_object",
    "transfer.proven",
    "transfer.planned",
    "transfer.copying",
    "s3.put_object",
    "transfer.verifying",
    "s3.copy_object",
    "dataset.closed",
    "drop.planned",
    "drop.checked",
    "s3.delete_objects",
    "drop.dropped",
)

ANNOUNCING = (
    "snapshot.sending",
    "s3.create_multipart_upload",
    "s3.list_parts",
    "s3.complete_multipart_upload",
    "snapshot.proving",
)
SHOWING = (
    "s3.get_object",
    "snapshot.showing",
    "s3.copy_object",
    "snapshot.clearing",
    "s3.list_multipart_uploads",
    "s3.delete_objects",
    "snapshot.shown",
)
ENDING = ("snapshot.ending", "s3.delete_objects", "snapshot.ended")
BECOMING = ("snapshot.promoted", "transfer.proven", "dataset.closed")


def contents(chance: random.Random) -> dict[str, bytes]:
    small = {f"scan {number:02}.bin": chance.randbytes(chance.randrange(1, 5000)) for number in range(5)}
    return {**small, "empty": b"", "deep/er/parts.h5": chance.randbytes(5 * MIB + 4321), "new\nline.txt": b"odd name\n"}


def received(door: Door, seed: int, most: int) -> set[str]:
    """Send and work, killed at each point at its n-th time (n up to `most`); returns the points at which it was."""
    bench, chance = door.bench, random.Random(seed)
    sys.stdout.write(f"NEVE_SEED={seed}\n")
    files = contents(chance)
    folder = bench.write("run1", files)
    hit = set()
    with driver(bench, "httpx") as other:
        for do, points in (("send", SENDING), ("work", PROVING)):
            at = START + timedelta(hours=1)
            for point in chance.sample(points, len(points)) if most > 1 else points:
                if other.order(do, at, kill=[point, chance.randint(1, most)], folder=str(folder)) == KILLED:
                    hit.add(f"{do} {point}")
            assert other.order(do, at, folder=str(folder)) == 0
        assert other.order("send", at, folder=str(folder)) == 0, "all of it is there: nothing is to be done"
    bench.now = at
    assert_sound(bench, files, {"hot", "archive", "deep"})
    return hit


def test_killed_at_every_point_of_reception(doors):
    seed = int(os.environ.get("NEVE_SEED", random.randrange(10**6)))
    left = {f"send {point}" for point in SENDING} | {f"work {point}" for point in PROVING}
    for again in range(3):
        left -= received(doors(SETTINGS), seed + again, 1)
        if not left:
            break
    assert left == set(), f"NEVE_SEED={seed}: not reached"


def received_in_packs(door: Door, seed: int, most: int, proving: Sequence[str] = UNPACKING) -> set[str]:
    """As `received`, with small files sent together. The sender's first try has one file that is another by the next: its pack is taken apart."""
    bench, chance = door.bench, random.Random(seed)
    sys.stdout.write(f"NEVE_SEED={seed}\n")
    files = {f"scan/{number:03}.dat": chance.randbytes(chance.randrange(0, 3000)) for number in range(40)} | {"large": chance.randbytes(MIB)}
    hit = set()
    at = START + timedelta(hours=1)
    with driver(bench, "httpx") as other:

        def killed_at(do: str, *points: str) -> None:
            for point in chance.sample(points, len(points)) if most > 1 else points:
                if other.order(do, at, kill=[point, chance.randint(1, most)], folder=str(folder), packs=True) == KILLED:
                    hit.add(f"{do} {point}")

        folder = bench.write("run1", {**files, "scan/007.dat": b"as it was before"})
        if most == 1:  # then it surely does not come to its end
            killed_at("send", *PACKING[:-1])
        bench.write("run1", files)
        killed_at("send", *PACKING[1:])
        assert other.order("send", at, folder=str(folder), packs=True) == 0
        killed_at("work", *proving)
        assert other.order("work", at) == 0
        assert other.order("send", at, folder=str(folder), packs=True) == 0, "all of it is there: nothing is to be done"
    bench.now = at
    calm(bench)
    strays.run(bench.archive)
    assert wrong(bench, {"run1": files}, {"run1": {"hot", "archive", "deep"}}) == {"run1": []}
    return hit


def test_killed_at_every_point_of_packs(doors):
    seed = int(os.environ.get("NEVE_SEED", random.randrange(10**6)))
    left = {f"send {point}" for point in PACKING} | {f"work {point}" for point in UNPACKING}
    for again, first in enumerate(("s3.get_object", "s3.copy_object", "dataset.closed")):
        points = UNPACKING[UNPACKING.index(first) :]
        left -= received_in_packs(doors(archive={"bundles": True}, deep={"bundles": True}), seed + again, 1, points)
        if not left:
            break
    assert left == set(), f"NEVE_SEED={seed}: not reached"


@pytest.mark.parametrize(("announcing", "showing", "ending"), [(ANNOUNCING, SHOWING, ENDING), ((), (), BECOMING)], ids=["shown", "file"])
def test_killed_at_every_point_of_a_snapshot(doors, announcing, showing, ending):
    """What is shown is whole whenever it is looked at; at the end the file that came is there without its snapshot, the other's became a file."""
    door: Door = doors(SETTINGS)
    bench, chance = door.bench, random.Random(7)
    tier = bench.archive.tiers["hot"]
    grown = {"small.csv": chance.randbytes(3000), "large.dat": chance.randbytes(7 * MIB)}
    folder = bench.write("growing", grown)
    hit, stood = set(), dict.fromkeys(grown, 0)
    with driver(bench, "httpx") as other:
        for number, count in enumerate((2000, 6 * MIB), start=1):
            at = START + timedelta(minutes=number)
            for do, points in (("snapshot", announcing), ("work", showing)):
                for point in points:
                    if other.order(do, at, kill=[point, 1], folder=str(folder), bytes=count) == KILLED:
                        hit.add(point)
                    for path, whole in grown.items():
                        stem, _, suffix = path.partition(".")
                        shown = tier.newest(f"snow/saxs/2026/03/run1/{stem}.snapshot.{suffix}")
                        lengths = {0 if shown is None else len(shown), stood[path]}
                        assert lengths <= {stood[path], min(count, len(whole))}, (do, point, path)
                        assert shown is None or shown == whole[: len(shown)], (do, point, path)
                assert other.order(do, at, folder=str(folder), bytes=count) == 0
            stood = {path: min(count, len(whole)) for path, whole in grown.items()}
        final = {"small.csv": grown["small.csv"] + b"the end", **{f"{n}.bin": chance.randbytes(100) for n in range(4)}}
        at += timedelta(minutes=1)
        assert other.order("send", at, folder=str(bench.write("final", final))) == 0
        for point in ending:
            if other.order("work", at, kill=[point, 1]) == KILLED:
                hit.add(point)
        assert other.order("work", at) == 0
        assert other.order("sweep", at) == 0
        assert other.order("work", at) == 0
    assert {*announcing, *showing, *ending} - hit == set(), "not reached"
    bench.now = at
    assert_sound(bench, {**final, "large.snapshot.dat": grown["large.dat"][: 6 * MIB]}, {"hot", "archive", "deep"})


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_with_packs(doors, seed: int):
    hit: set[str] = set()
    for again in range(6):
        hit |= received_in_packs(doors(archive={"bundles": True}, deep={"bundles": True}), 10 * seed + again, 4)
        if len(hit) >= 10:
            break
    assert len(hit) >= 10


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_killed_at_random_in_reception(doors, seed: int):
    """A pass that does not come to its point so often does all there is to do, and leaves the others nothing: so again, with other files."""
    hit: set[str] = set()
    for again in range(6):
        hit |= received(doors(SETTINGS), 10 * seed + again, 4)
        if len(hit) >= 8:
            break
    assert len(hit) >= 8
