"""Whatever a store answers, or does not: the archive heals by itself, and wrong bytes never become a copy.

One archive lives its life (received, copied, let go, brought back, let go again) through a proxy that harms what it passes on. Each
dataset has faults of its own, so that one life tells of all, and none harms another's. Archive lies behind another door than hot and
deep: copies into it are streamed, the others are made by the store. NEVE_SEED replays.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.archive import Bench, settings_toml
from fixtures.faulty import Fault, FaultyStore, Rule
from fixtures.glacier import Glacier
from fixtures.soundness import calm, wrong
from fixtures.store import S3Store

from archiver import inventory, restore
from archiver.errors import PublicError

MIB, KIB = 2**20, 2**10
ALL = {"hot", "archive", "deep"}
ROUNDS = 80
SEED = int(os.environ.get("NEVE_SEED", random.randrange(10**6)))
WORKER = f"[worker]\npart_bytes = {5 * MIB}\ncopy_in_parts_above_bytes = {5 * MIB}\n"
F = Fault

# By dataset: each fault's chance, and how often in a row at most. A client asks four times before it gives up: what happens six times
# in a row gets through to us, what happens twice does not.
FAULTS: dict[str, dict[Fault, tuple[float, int]]] = {
    "errors": {F.INTERNAL: (0.3, 6), F.UNAVAILABLE: (0.3, 6), F.SLOW_DOWN: (0.3, 6)},
    "lost-answers": {F.LOST_ANSWER: (0.5, 6), F.RESET: (0.5, 6)},
    "slow": {F.SLOW: (0.3, 1)},
    "cut": {F.CUT_ANSWER: (0.6, 3), F.CUT_REQUEST: (0.7, 6)},
    "wrong-reads": {F.WRONG_READ: (0.5, 2)},
    "wrong-writes": {F.WRONG_WRITE: (0.7, 2)},
    "inside-200": {F.ERROR_IN_200: (0.9, 6), F.REFUSED_KEYS: (1, 3)},
    "not-there": {F.NOT_THERE: (0.4, 2)},
    "everything": dict.fromkeys(set(F) - {F.SLOW, F.ALREADY_RECALLING}, (0.15, 2)),
}
COLD: dict[str, dict[Fault, tuple[float, int]]] = {
    "errors": {F.INTERNAL: (0.2, 6), F.SLOW_DOWN: (0.2, 6), F.LOST_ANSWER: (0.2, 6), F.RESET: (0.2, 6)},
    "recalls": {F.ALREADY_RECALLING: (1, 2), F.UNAVAILABLE: (0.2, 6)},
    "wrong": {F.WRONG_READ: (0.5, 2), F.CUT_ANSWER: (0.5, 3)},
}
WHOLE_BUCKETS = Rule(F.UNAVAILABLE, keys="^$", nth=(*range(12, 18), *range(40, 44), 60))
"""What is asked of a whole bucket: the store's clock, listings."""


def rules(name: str, faults: dict[Fault, tuple[float, int]]) -> list[Rule]:
    return [Rule(fault, keys=of(name), chance=chance, most=most, sure=2) for fault, (chance, most) in faults.items()]


def of(name: str) -> str:
    """A dataset's keys."""
    return f"/{name}(/|[.]json$)"


def contents(name: str) -> dict[str, bytes]:
    """Small ones for a bundle, an odd name among them, an empty one, one by itself, one in parts."""
    make = random.Random(f"{SEED} {name}")
    small = {"scan 1+ü%.csv": make.randbytes(make.randrange(1, 3000)), "scan 2.csv": make.randbytes(500), "empty": b""}
    large = {} if name in {"slow", "wrong-reads", "not-there"} else {"parts.h5": make.randbytes(5 * MIB + make.randrange(1, 5000))}
    return {**small, "sub/alone.bin": make.randbytes(100 * KIB), **large}


@dataclass
class Life:
    """One archive, the proxies before its stores, and what was wrong when a stage was over, by dataset."""

    bench: Bench
    proxies: list[FaultyStore]
    files: dict[str, dict[str, bytes]]
    deceived: set[str]  # datasets of which the store denies what is there, or has twice: a version that is no copy is left to the inventory
    problems: dict[str, list[str]] = field(default_factory=dict)

    def receive(self) -> None:
        for name, files in self.files.items():
            self.problems[name] = []
            for _ in range(ROUNDS):
                try:
                    self.bench.ingest(name, files)
                    break
                except PublicError:
                    self.bench.turn(seconds=10)  # "run the same command again"

    def calm(self) -> None:
        calm(self.bench, ROUNDS)

    def ask(self, days: int) -> None:
        for name in self.files:
            restore.request(self.bench.archive, "alice", name, None, days, None)

    def look(self, stage: str, tiers: set[str], *, last: bool = False) -> None:
        with ExitStack() as resting:
            for proxy in self.proxies:
                resting.enter_context(proxy.at_rest())
            found = wrong(self.bench, self.files, dict.fromkeys(self.files, tiers), () if last else self.deceived)
        for name, lines in found.items():
            self.problems[name] += [f"{stage}: {line}" for line in lines]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, store: S3Store, faulty: Callable[..., FaultyStore], quick_clients: None) -> Iterator[Life]:
    """Two years of an archive with all its faults."""
    sys.stdout.write(f"NEVE_SEED={SEED}\n")
    folder = tmp_path_factory.mktemp("faults")
    proxy = faulty(store, SEED, doors=2)
    tiers = {
        "hot": {"endpoint_url": proxy.endpoints[0]},
        "archive": {"endpoint_url": proxy.endpoints[1], "bundles": True},
        "deep": {"endpoint_url": proxy.endpoints[0], "bundles": True},
    }
    (folder / "home").mkdir()
    text = settings_toml(folder / "home", store, store.buckets("hot", "archive", "deep"), **tiers)
    text = text.replace("[worker]\n", WORKER).replace("[policy]\n", f"[policy]\nbundle_below_bytes = {64 * KIB}\n")
    (folder / "neve.toml").write_text(text, "utf-8")
    bench = Bench(folder, folder / "neve.toml")
    made = Life(bench, [proxy], {name: contents(name) for name in FAULTS}, {"not-there", "everything"})
    proxy.rules = [*(rule for name, faults in FAULTS.items() for rule in rules(name, faults)), WHOLE_BUCKETS]
    made.receive()
    made.calm()
    made.look("received", ALL)
    for days, hours in ((61, 0), (0, 2)):  # the stub, then the drop
        bench.turn(days=days, hours=hours)
        made.calm()
    made.ask(days=2)
    made.calm()
    made.look("restored", ALL)
    for days, hours in ((680, 0), (0, 2)):
        bench.turn(days=days, hours=hours)
        made.calm()
    proxy.rules = []
    for tier in bench.archive.tiers:
        inventory.full(bench.archive, tier)
    made.calm()
    made.look("the faults over", {"deep"}, last=True)
    yield made
    bench.give_back()


@pytest.mark.parametrize("name", FAULTS)
def test_the_archive_heals_and_no_wrong_byte_becomes_a_copy(life: Life, name: str):
    assert life.problems[name] == [], f"NEVE_SEED={SEED}"
    happened = life.proxies[0].happened(of(name))
    assert set(happened) >= (set(FAULTS[name]) if len(FAULTS[name]) < 4 else set()), happened
    assert sum(happened.values()) > 1, happened


def test_an_upload_that_was_begun_unheard_is_ended(life: Life):
    """Its answer was lost, so the client began another: when that is complete, the first does not stay, billed for ever."""
    life.proxies[0].rules = [Rule(F.LOST_ANSWER, keys="p/parts", operations=frozenset({"create_multipart_upload"}), nth=(1,))]
    hot = life.bench.archive.tiers["hot"]
    version = hot.put("p/parts", 5 * MIB + 1, iter([bytes(5 * MIB), b"1"]), "STANDARD")
    assert sum(e.operation == "create_multipart_upload" and e.keys == ("p/parts",) for e in life.proxies[0].exchanges) == 2
    assert not hot.client.list_multipart_uploads(Bucket=hot.bucket).get("Uploads")
    hot.delete_version("p/parts", version)


@pytest.fixture(scope="module")
def cold_life(
    tmp_path_factory: pytest.TempPathFactory, store: S3Store, _moto_process: Glacier, faulty: Callable[..., FaultyStore], quick_clients: None
) -> Iterator[Life]:
    """The same where archive is GLACIER_IR and deep is DEEP_ARCHIVE, another provider's: recalled, and proven by the store's own checksums."""
    sys.stdout.write(f"NEVE_SEED={SEED}\n")
    _moto_process.restores_take(0.3)
    folder = tmp_path_factory.mktemp("cold-faults")
    near, far = faulty(store, SEED), faulty(_moto_process, SEED)
    tiers = {
        "hot": {"endpoint_url": near.endpoints[0]},
        "archive": {"endpoint_url": far.endpoints[0], "storage_class": "GLACIER_IR", "bundles": True},
        "deep": {"endpoint_url": far.endpoints[0], "storage_class": "DEEP_ARCHIVE", "bundles": True, "recall": "auto"},
    }
    (folder / "home").mkdir()
    buckets = _moto_process.buckets("archive", "deep") | store.buckets("hot")
    text = settings_toml(folder / "home", store, {name: buckets[name] for name in tiers}, **tiers)
    text = text.replace("[worker]\n", WORKER).replace("[policy]\n", f"[policy]\nbundle_below_bytes = {64 * KIB}\n")
    (folder / "neve.toml").write_text(text, "utf-8")
    bench = Bench(folder, folder / "neve.toml", datetime.now(UTC) - timedelta(days=800))
    made = Life(bench, [near, far], {name: contents(name) for name in COLD}, set(COLD))  # moto's copies know no If-None-Match
    near.rules = [rule for name in ("errors", "wrong") for rule in rules(name, COLD[name])]
    far.rules = [rule for name, faults in COLD.items() for rule in rules(name, faults)]
    made.receive()
    made.calm()
    made.look("received", ALL)
    bench.now = datetime.now(UTC) - timedelta(hours=4)
    made.calm()
    bench.turn(hours=2)
    made.calm()
    made.look("in deep alone", {"deep"})
    bench.now = datetime.now(UTC)
    made.ask(days=2)
    made.calm()
    made.look("restored", {"hot", "deep"})
    yield made
    bench.archive.ledger.dispose()


@pytest.mark.parametrize("name", COLD)
def test_the_same_where_copies_are_cold(cold_life: Life, name: str):
    assert cold_life.problems[name] == [], f"NEVE_SEED={SEED}"
    happened = sum((proxy.happened(of(name)) for proxy in cold_life.proxies), Counter())
    assert set(happened) == set(COLD[name])
