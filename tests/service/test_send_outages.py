"""Sending while the network misbehaves and the store is killed: each file is received exactly once, or waits."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fixtures.door import Door
from fixtures.faulty import Fault, FaultyStore, Rule
from fixtures.own_store import OwnStore
from fixtures.sending import sources
from fixtures.store import S3Store
from neve.send.events import Event
from neve.send.patience import Patience
from neve.send.reception import Reception
from neve.send.sender import send

from archiver.check import check

PART = 5 * 2**20
SMALL_PARTS = f"[reception]\nparts_above_bytes = {PART}\n"
CUTS = (Fault.RESET, Fault.CUT_REQUEST, Fault.CUT_ANSWER, Fault.SLOW, Fault.UNAVAILABLE, Fault.SLOW_DOWN, Fault.LOST_ANSWER, Fault.INTERNAL)


def laid(folder: Path) -> dict[str, bytes]:
    """A folder with small files and one of four parts."""
    folder.mkdir()
    files = {f"{number:02}.bin": secrets.token_bytes(1000 * number + 1) for number in range(24)} | {"large.h5": secrets.token_bytes(3 * PART + 17)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


def held(door: Door) -> dict[str, bytes | None]:
    """Every file of every dataset of the instrument, received, once."""
    with door.bench.archive.ledger.read() as tx:
        dataset = tx.dataset_named("saxs", "run")
        assert dataset is not None
        assert tx.followers(dataset.id) == []
        files = tx.files(dataset.id)
        assert {file.state for file in files} == {"received"}
    return {file.path: door.bench.read(dataset, file.path) for file in files}


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))])
def test_a_network_that_cuts_and_slows_what_is_sent(
    doors: Callable[..., Door], store: S3Store, faulty: Callable[..., FaultyStore], tmp_path: Path, seed: int
):
    proxy = faulty(store, seed, [Rule(fault, chance=0.15, most=2) for fault in CUTS])
    door = doors(SMALL_PARTS, endpoint_url=proxy.endpoints[0], worker=f"part_bytes = {PART}")
    files = laid(tmp_path / "run")
    with closing(Reception(door.url, door.key, Patience(longest_s=0.5))) as reception, door.working():
        outcome = send(reception, None, "snow", "run", sources(tmp_path / "run"))
    assert (outcome.failed, outcome.state) == (0, "closed")
    assert held(door) == files
    harmed = {exchange.fault for exchange in proxy.exchanges} - {None}
    assert len(harmed) >= 4, f"the network was to misbehave, seed {seed}"
    assert check(door.bench.archive) == []


def test_a_store_that_is_killed_while_it_is_sent_to(doors: Callable[..., Door], own_store: OwnStore, tmp_path: Path):
    door = doors(SMALL_PARTS, worker=f"part_bytes = {PART}", on=own_store.s3)
    files = laid(tmp_path / "run")
    killed = threading.Event()

    def kill_in_the_middle(event: Event) -> None:
        if event.kind == "progress" and event.about["bytes_sent"] > PART and not killed.is_set():
            killed.set()
            own_store.kill()
            threading.Timer(1.0, own_store.start).start()

    with closing(Reception(door.url, door.key, Patience(longest_s=0.5))) as reception, door.working():
        outcome = send(reception, None, "snow", "run", sources(tmp_path / "run"), report=kill_in_the_middle)
    assert killed.is_set()
    assert (outcome.failed, outcome.state) == (0, "closed")
    assert held(door) == files
    assert check(door.bench.archive) == []
