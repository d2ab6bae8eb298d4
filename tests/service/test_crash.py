"""Killed with -9 after every state and between doing and recording: started again, copies become true to claims.

One dataset lives its life (received, copied, let go, brought back, cancelled, spoilt, expired) while the process that works it is
killed again and again; each kill happens at a point of `fixtures.crash.POINTS`, its order within a stage and its occurrence by a
seed that is printed. NEVE_SEED replays one.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from fixtures.archive import START, Bench, settings_toml
from fixtures.crash import KILLED, POINTS, assert_erased, assert_sound, driver
from fixtures.store import S3Store

MIB = 2**20
ALL = {"hot", "archive", "deep"}


def contents(seed: int) -> dict[str, bytes]:
    """Small, empty, in parts (5 MiB and some), in a folder, with a name that gets a hashed key."""
    make = random.Random(seed)
    small = {f"scan {number:02}.bin": make.randbytes(make.randrange(1, 5000)) for number in range(6)}
    return {**small, "empty": b"", "deep/er/parts.h5": make.randbytes(5 * MIB + 4321), "new\nline.txt": b"odd name\n"}


@dataclass(frozen=True)
class Stage:
    """One command at its time: killed at each of `kills` (groups in order, shuffled within), then repeated until it has come through.

    `tiers` is what must be true after it (None: not looked at); with `until` it is killed there at last and left so.
    """

    do: str
    days: float
    hours: float = 0
    kills: tuple[tuple[str, ...], ...] = ()
    tiers: set[str] | None = None
    ended: bool = True
    order: dict[str, str] = field(default_factory=dict)
    until: str | None = None


STEPS = ("transfer.copying", "transfer.verifying", "transfer.proven")
ENDS = ("drop.checked", "drop.dropped", "s3.delete_objects")
SPOIL = {"spoil": "empty"}
TAINT = {"taint": "scan 03.bin"}
LIFE = (
    Stage(
        "ingest",
        0,
        kills=(
            ("dataset.open",),
            ("s3.create_multipart_upload", "s3.upload_part"),  # the first file is the one in parts
            ("s3.complete_multipart_upload",),
            ("transfer.planned", "s3.put_object", *STEPS),
            ("dataset.closed",),
        ),
    ),
    Stage(
        "work",
        0,
        1,
        kills=(
            ("transfer.planned",),
            ("s3.create_multipart_upload", "s3.upload_part_copy"),
            ("s3.complete_multipart_upload",),
            ("s3.copy_object", *STEPS),
            ("leftover.found",),
        ),
        order=TAINT,
    ),
    # One copy in archive can't be proven: it goes by the reaper, and is made anew.
    Stage("reap", 0, 1, kills=(("s3.delete_objects",), ("leftover.cleared",))),
    Stage("work", 0, 2),  # from the next source, which is recalled
    Stage("work", 0, 5, tiers=ALL),
    Stage("work", 59),
    Stage("work", 61, kills=(("s3.put_object",),)),  # the stub
    Stage("work", 61, 2, kills=(("drop.planned",), ENDS), tiers={"archive", "deep"}),
    Stage("work", 740, kills=(("drop.planned",),), tiers={"archive", "deep"}, ended=False),
    Stage("reap", 740, kills=(ENDS,), tiers={"deep"}),
    Stage("request", 741, kills=(("restore.requested",),)),
    Stage(
        "work",
        741,
        kills=(
            ("recall.asked",),
            ("transfer.recalling",),
            ("restore.queued",),
            ("recall.running", "s3.restore_object"),
        ),
        tiers={"deep"},
        ended=False,
    ),
    Stage(
        "work",
        741,
        3,
        kills=(("recall.readable",), ("transfer.copying", "s3.copy_object"), ("restore.copying",), ("restore.ready",), ("s3.delete_objects",)),
        tiers=ALL - {"archive"},
        ended=False,
    ),
    Stage("work", 743, 4, kills=(("s3.put_object",), ("restore.expired",))),
    # Asked for again between planned and checked: the drop is revoked.
    Stage("work", 743, 6, until="drop.planned"),
    Stage("request", 743, 7),
    Stage("work", 743, 7, kills=(("drop.revoked",),), tiers=ALL - {"archive"}, ended=False),
    Stage("work", 746),
    # Asked for again after checked: it goes all the same, and comes back.
    Stage("work", 746, 6, until="drop.checked"),
    Stage("request", 746, 7),
    Stage("work", 746, 7, tiers=ALL - {"archive"}, ended=False),
    Stage("work", 749, kills=(("recall.lapsed",),)),
    Stage("work", 749, 6, tiers={"deep"}),
    # Asked for more than goes without an admin's word, who says no.
    Stage("request", 760, kills=(("restore.awaiting_approval",),), order={"approval": "always"}),
    Stage("deny", 760, kills=(("restore.denied",),)),
    # Cancelled while the cold store works.
    Stage("request", 761),
    Stage("work", 761, kills=(("restore.recalling",),)),
    Stage("cancel", 761, 1, kills=(("transfer.cancelled",),)),
    Stage("work", 761, 4),
    Stage("request", 762),
    Stage("cancel", 762, 1, kills=(("restore.cancelled",),)),
    Stage("work", 762, 4),
    Stage("work", 770, tiers={"deep"}),
    # One file can't be copied: the others are there, then a person has it tried again.
    Stage("request", 780),
    Stage("work", 780),
    Stage("work", 780, 3, kills=(("transfer.failed",),), order=SPOIL),
    Stage("work", 780, 4, kills=(("transfer.quarantined",), ("restore.partly_ready",)), order=SPOIL),
    Stage("retry", 780, 5),
    Stage("work", 780, 5, tiers=ALL - {"archive"}, ended=False),
    Stage("work", 783),
    Stage("work", 783, 6),
    # The only file asked for can't be copied: the restore fails, and leaves nothing behind.
    Stage("request", 784, order={"glob": "empty"}),
    Stage("work", 784, 3, order=SPOIL),
    Stage("work", 784, 4, kills=(("restore.failed",),), order=SPOIL),
    Stage("work", 784, 5),
    Stage("work", 800, tiers={"deep"}),
    # One file is erased, then all of them.
    Stage("withdraw", 801, kills=(("erasure.withdrawn",),)),
    Stage("erase", 801, kills=(("erasure.requested",), ("erasure.approved",)), order={"glob": "empty"}),
    Stage("work", 801, 1, kills=(("s3.put_object",), ("erasure.erasing",))),
    Stage("reap", 801, 2, kills=(("s3.delete_objects",),)),  # drops are serial: first in archive, where the manifest lies, then in deep
    Stage("work", 801, 3),
    Stage("reap", 801, 4),
    Stage("work", 801, 5, kills=(("erasure.erased",),)),
    Stage("erase", 802),
    Stage("work", 802, 1),
    Stage("reap", 802, 2),
    Stage("work", 802, 3),
    Stage("reap", 802, 4),
    Stage("work", 802, 5, kills=(("dataset.erased",),)),
)


@pytest.fixture
def crashing(tmp_path: Path, store: S3Store) -> Iterator[Callable[[], Bench]]:
    """Makes an archive whose deep tier must always be recalled (2 h), with parts of 5 MiB."""
    made: list[Bench] = []

    def make() -> Bench:
        folder = tmp_path / str(len(made))
        (folder / "home").mkdir(parents=True)
        deep = {"recall": "always", "recall_wait": "PT2H"}
        text = settings_toml(folder / "home", store, store.buckets("hot", "archive", "deep"), deep=deep)
        worker = f"[worker]\npart_bytes = {5 * MIB}\ncopy_in_parts_above_bytes = {5 * MIB}\nparallel = 2\ntries = 2\n"
        (folder / "neve.toml").write_text(text.replace("[worker]\n", worker), "utf-8")
        made.append(Bench(folder, folder / "neve.toml"))
        return made[-1]

    yield make
    for bench in made:
        bench.give_back()


def test_every_state_has_a_kill_point():
    """model.py's states and the store's writing calls are all killed at by the life above: a new state needs a stage."""
    killed_at = {point for stage in LIFE for group in stage.kills for point in group}
    assert killed_at == POINTS


def live(bench: Bench, seed: int, occurrence: Callable[[random.Random], int]) -> tuple[int, set[str]]:
    """The whole life with its kills; returns how often the process was killed, and at which points."""
    sys.stdout.write(f"NEVE_SEED={seed}\n")
    chance = random.Random(seed)
    files = contents(seed)
    folder = bench.write("run1", files)
    kills, hit = 0, set()
    with driver(bench) as other:
        for number, stage in enumerate(LIFE):
            at = START + timedelta(days=stage.days, hours=stage.hours)
            order = {**stage.order, "folder": str(folder)}
            # What stands alone in its group happens once.
            points = [(p, occurrence(chance) if len(group) > 1 else 1) for group in stage.kills for p in chance.sample(group, len(group))]
            for point, n in points:
                if other.order(stage.do, at, kill=[point, n], **order) == KILLED:
                    kills += 1
                    hit.add(point)
            if stage.until:
                assert other.order(stage.do, at, kill=[stage.until, 1], **order) == KILLED, stage
                hit.add(stage.until)
                continue
            assert other.order(stage.do, at, **order) == 0, stage
            if stage.tiers is not None:
                bench.now = at
                try:
                    assert_sound(bench, files, stage.tiers, ended=stage.ended)
                except AssertionError as error:
                    raise AssertionError(f"NEVE_SEED={seed}, stage {number} {stage}: {error}") from error
        bench.now = at
        assert_erased(bench)
    return kills, hit


def test_killed_at_every_point_and_started_again(crashing: Callable[[], Bench]):
    """Threads race each other, so that a life may pass a point before it is to be killed there: then another life is lived."""
    seed = int(os.environ.get("NEVE_SEED", random.randrange(10**6)))
    left = POINTS
    for again in range(3):
        kills, hit = live(crashing(), seed + again, lambda _: 1)
        sys.stdout.write(f"{kills} kills\n")
        left = left - hit
        if not left:
            break
    assert left == set(), f"NEVE_SEED={seed}: not reached"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(12))
def test_killed_at_random_and_started_again(crashing: Callable[[], Bench], seed: int):
    kills, _ = live(crashing(), seed, lambda chance: chance.randrange(1, 5))
    assert kills >= 20
