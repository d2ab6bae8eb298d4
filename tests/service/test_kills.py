"""Worker, reaper and archiver killed with -9 at random, all three at work on one archive while people ask for data.

Each is killed some moments after its start and started again, at every age of the data. What the archiver had answered before it died is
in the ledger; in the end every file lies where its age asks, byte for byte, once. NEVE_SEED replays the order (not the moment: that is
the machine's).
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from fixtures.archive import START, Bench
from fixtures.crash import KILLED, Driver, driver
from fixtures.processes import PATIENCE
from fixtures.soundness import calm, wrong

from archiver.model import RestoreState

AGES = (0, 24 * 61, 24 * 61 + 2, 24 * 64, 24 * 740, 24 * 745)
"""Hours since it came: copied; its stub; let go from hot; restores over; let go from archive; restored from deep alone."""
RUNS = {f"run-{number}": {f"{n}.bin": bytes([number, n]) * (9000 if n else 700_000) for n in range(5)} for number in range(3)}


class Asker(threading.Thread):
    """People: they restore, hold and cancel, whenever the archiver answers. `answered` is what it has said yes to."""

    def __init__(self, bench: Bench, port: int, chance: random.Random) -> None:
        super().__init__(name="people")
        self.bench, self.chance = bench, chance
        self.answered: list[tuple[str, int]] = []
        self.perhaps_cancelled: set[int] = set()
        self.done = threading.Event()
        self.url = f"http://127.0.0.1:{port}/services/archiver/api/v1/"

    def run(self) -> None:
        with httpx.Client(headers={"Authorization": "Bearer token-of-alice"}, base_url=self.url, timeout=5) as http:
            while not self.done.wait(0.02):
                try:
                    self._ask(http)
                except httpx.TransportError:
                    continue  # it was killed: whatever it did, it has not said so

    def _ask(self, http: httpx.Client) -> None:
        name = self.chance.choice(list(RUNS))
        match self.chance.choice(["restores", "restores", "holds", "cancel"]):
            case "restores":
                answer = http.post(
                    "restores", json={"dataset": name, "days": self.chance.randint(1, 2), "files": self.chance.choice([None, "[01].bin"])}
                )
                if answer.is_success:
                    self.answered.append(("restore", answer.json()["id"]))
            case "holds":
                until = f"{self.bench.now + timedelta(days=2):%Y-%m-%d}"
                answer = http.post("holds", json={"dataset": name, "until": until, "reason": "it is looked at"})
                if answer.is_success:
                    self.answered.append(("hold", answer.json()["id"]))
            case _:
                asked = [number for what, number in self.answered if what == "restore"]
                if asked:
                    number = self.chance.choice(asked)
                    self.perhaps_cancelled.add(number)  # the archiver may die between doing it and saying so
                    if http.post(f"restores/{number}/cancel").is_success:
                        self.answered.append(("cancel", number))


def killed(process: Driver, times: list[float], bench: Bench, what: str, **order: int) -> None:
    for after_s in times:
        assert process.order(what, bench.now, after_s=after_s, **order) == KILLED


def live(bench: Bench, port: int, seed: int, most: int) -> int:
    """Two years of three processes that are killed again and again; returns how often."""
    sys.stdout.write(f"NEVE_SEED={seed}\n")
    chance = random.Random(seed)
    for name, files in RUNS.items():
        bench.ingest(name, files)
    people = Asker(bench, port, chance)
    kills = 0
    with driver(bench) as worker, driver(bench) as reaper, driver(bench, "uvicorn", "fixtures.site", "archiver.pages") as archiver:
        people.start()
        for hours in AGES:
            bench.now = START + timedelta(hours=hours)
            acts = [(worker, "working", {}), (reaper, "reaping", {}), (archiver, "serving", {"port": port})]
            times = [[chance.uniform(0.15, 1) for _ in range(kills)] for kills in (most, most)]
            times.append([chance.uniform(0.8, 2.2) * PATIENCE for _ in range(most // 2)])  # which needs a second before it answers
            threads = [
                threading.Thread(target=killed, args=(process, moments, bench, what), kwargs=order)
                for (process, what, order), moments in zip(acts, times, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            kills += sum(map(len, times))
        people.done.set()
        people.join()
    bench.now = START + timedelta(days=800)
    for hours in (72, 2, 2):  # what was asked for last is ready now, and over then; the stub; the drop
        calm(bench)
        bench.turn(hours=hours)
    calm(bench)
    found = wrong(bench, RUNS, {name: {"deep"} for name in RUNS})
    assert {name: lines for name, lines in found.items() if lines} == {}, f"NEVE_SEED={seed}"
    remembered(bench, people)
    return kills


def remembered(bench: Bench, people: Asker) -> None:
    """What people were told is so."""
    answered = people.answered
    assert {what for what, _ in answered} >= {"restore", "hold"}
    cancelled = {number for what, number in answered if what == "cancel"}
    with bench.archive.ledger.read() as tx:
        for what, number in answered:
            if what == "hold":
                assert tx.hold(number).user == "alice"
            elif number in cancelled:
                assert tx.restore(number).state is RestoreState.CANCELLED, number
            elif number not in people.perhaps_cancelled or tx.restore(number).state is not RestoreState.CANCELLED:
                assert tx.restore(number).state is RestoreState.EXPIRED, number


@pytest.fixture
def bundling(bench_on: Callable[..., Bench]) -> Bench:
    return bench_on(archive={"bundles": True}, deep={"bundles": True, "recall": "always", "recall_wait": "PT0.1S"})


def test_killed_at_random_moments(bundling: Bench, free_port: Callable[[], int]):
    seed = int(os.environ.get("NEVE_SEED", random.randrange(10**6)))
    assert live(bundling, free_port(), seed, 2) >= 30
    bundling.give_back()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_many_random_moments(bundling: Bench, free_port: Callable[[], int], seed: int):
    assert live(bundling, free_port(), seed, 4) >= 60
    bundling.give_back()
