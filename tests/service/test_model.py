"""The whole archive against a model of a few lines, driven by Hypothesis: whatever is done in whatever order, and wherever it is cut short.

The model: a file lies in hot while it is young, restored or held, in archive for two years, in deep for ever; its bytes are those that
were sent. `Died` is a process that ends between two calls to its store: neither store nor ledger hears of it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from fixtures import packed
from fixtures.archive import Bench
from fixtures.soundness import calm, wrong
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from archiver import app, hold, reception, restore, strays, upload
from archiver.config import load
from archiver.errors import Conflict
from archiver.keys import Sender
from archiver.model import DatasetState
from archiver.reaper import Reaper
from archiver.storage import Tier
from archiver.worker import Worker

SENDER = Sender("instrument/saxs", "saxs", ("snow",))
YOUNG, FIRST = timedelta(days=60), timedelta(days=730)
FILES = st.dictionaries(
    st.sampled_from(["a.csv", "b c+.csv", "sub/ü.csv", "large.bin"]),
    st.binary(max_size=50) | st.integers(0, 255).map(lambda byte: bytes([byte]) * 1_100_000),
    min_size=1,
)


class Died(BaseException):
    """The process is no more."""


@dataclass
class Kept:
    """What the model knows of a dataset."""

    born: datetime
    files: dict[str, bytes]
    closed: bool = False
    sent: bool = True
    held_until: datetime | None = None
    restores: dict[int, str | None] = field(default_factory=dict)  # what it is of, by number


class Archiving(RuleBasedStateMachine):
    make: ClassVar[Callable[[], Bench]]

    @initialize()
    def begin(self) -> None:
        self.bench = type(self).make()
        self.kept: dict[str, Kept] = {}

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            try:
                self.compare()
            finally:
                self.bench.give_back()

    def some(self, data: st.DataObject, *, closed: bool = True) -> str:
        return data.draw(st.sampled_from(sorted(name for name, kept in self.kept.items() if kept.closed or not closed)))

    def any_closed(self) -> bool:
        return any(kept.closed for kept in self.kept.values())

    # what comes

    @rule(files=FILES)
    def receive(self, files: dict[str, bytes]) -> None:
        name = f"run-{len(self.kept)}"
        self.bench.ingest(name, files)
        self.kept[name] = Kept(self.bench.now, files, closed=True)

    @rule(files=FILES)
    def open(self, files: dict[str, bytes]) -> None:
        name = f"run-{len(self.kept)}"
        archive = self.bench.archive
        app.send(archive, "snow", "saxs", name, reception.scan([self.bench.write(name, files)]))
        self.kept[name] = Kept(self.bench.now, files)

    @rule(byte=st.integers(0, 255), sent=st.booleans())
    def open_in_packs(self, byte: int, sent: bool) -> None:
        """As a sender of many small files does; `sent`: it lives to send what it has asked for."""
        name, archive = f"run-{len(self.kept)}", self.bench.archive
        files = {f"scan/{number:02}.dat": bytes([byte]) * (7 * number) for number in range(18)}
        dataset = upload.open_dataset(archive, SENDER, name, None, None)
        wanted = [upload.Wanted(path.encode(), len(content), None, "m", packed.sha(content)) for path, content in files.items()]
        items = upload.begin(archive, SENDER, dataset.id, wanted, packs=True)
        assert {item.state for item in items} == {"pack"}
        if sent:
            packed.pass_on(archive, SENDER, dataset.id, items, {path.encode(): content for path, content in files.items()})
        self.kept[name] = Kept(self.bench.now, files, sent=sent)

    @precondition(lambda self: any(not kept.closed for kept in self.kept.values()))
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, kept in self.kept.items() if not kept.closed)))
        self.bench.ingest(name, self.kept[name].files)  # all of it is there: it is only closed
        self.kept[name].closed = True

    # what time and people do

    @rule(days=st.sampled_from([1, 7, 30, 61, 400]))
    def advance(self, days: int) -> None:
        self.bench.turn(days=days)

    @precondition(any_closed)
    @rule(data=st.data(), days=st.integers(1, 40))
    def restore(self, data: st.DataObject, days: int) -> None:
        name = self.some(data)
        glob = data.draw(st.sampled_from([None, *sorted(self.kept[name].files)]))
        asked = restore.request(self.bench.archive, "alice", name, glob, days, None)
        self.kept[name].restores[asked.id] = glob

    @precondition(lambda self: any(kept.restores for kept in self.kept.values()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(number for kept in self.kept.values() for number in kept.restores)))
        with suppress(Conflict):  # it has ended already
            restore.cancel(self.bench.archive, "alice", number, None, admin=False)

    @precondition(any_closed)
    @rule(data=st.data(), days=st.integers(1, 200))
    def hold(self, data: st.DataObject, days: int) -> None:
        kept = self.kept[name := self.some(data)]
        until = self.bench.now + timedelta(days=days)
        made = hold.request(self.bench.archive, "bob", name, until, "it is looked at", None, None)
        kept.held_until = until
        if made.restore_id is not None:
            kept.restores[made.restore_id] = None

    # what we do

    @rule()
    def work(self) -> None:
        Worker(self.bench.archive).settle()

    @rule()
    def reap(self) -> None:
        Reaper(self.bench.reaping).settle()

    @rule(calls=st.integers(1, 25))
    def worker_dies(self, calls: int) -> None:
        worker = Worker(self.bench.archive)
        self._die(calls, worker.settle)
        worker._end()

    @rule(calls=st.integers(1, 6))
    def reaper_dies(self, calls: int) -> None:
        reaping = self.bench.reaping
        reaper = Reaper(reaping)
        self._die(calls, reaper.settle)
        reaper._pool.shutdown()

    @rule(files=FILES, calls=st.integers(1, 12))
    def sender_dies(self, files: dict[str, bytes], calls: int) -> None:
        name = f"run-{len(self.kept)}"
        self.kept[name] = Kept(self.bench.now, files, closed=True)
        self._die(calls, lambda: self.bench.ingest(name, files))
        self.bench.ingest(name, files)

    def _die(self, calls: int, act: Callable[[], Any]) -> None:
        """Have something done that ends without a word at its n-th call to a store, if there are as many; then begin anew."""
        archive, lock, left = self.bench.archive, threading.Lock(), [calls]
        call, answer_of, begin, read = Tier._call, Tier._answer, archive.ledger.begin, archive.ledger.read

        def alive() -> None:
            if left[0] < 0:
                raise Died

        def counted(ask: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            alive()
            answer = ask(*arguments, **named)
            with lock:
                left[0] -= 1
            return answer

        def answered(*arguments: Any) -> Any:
            answer = counted(answer_of, *arguments)
            alive()
            return answer

        def called(*arguments: Any, **named: Any) -> Any:
            answer = counted(call, *arguments, **named)
            if left[0] < 0 and answer is not None and "Body" in answer:
                answer["Body"].close()
            alive()
            return answer

        def written(actor: str = "archiver") -> Any:
            alive()
            return begin(actor)

        def looked() -> Any:
            alive()
            return read()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tier, "_call", called)
            patch.setattr(Tier, "_answer", answered)
            patch.setattr(archive.ledger, "begin", written)
            patch.setattr(archive.ledger, "read", looked)
            with suppress(Died):
                act()
            left[0] = -1  # whoever of it still works dies now
        archive.ledger.dispose()
        self.bench.archive = app.open_archive(load(self.bench.settings_file), lambda: self.bench.now)
        self.bench.turn(minutes=3)  # longer than a lease: here the dead one's process lives on

    # what must be

    @rule()
    def compare(self) -> None:
        """Once nothing is under way, everything lies where the model says, byte for byte."""
        calm(self.bench)
        self.bench.turn(hours=2)  # between the stub and the drop
        calm(self.bench)
        strays.run(self.bench.archive)
        closed = {name: kept for name, kept in self.kept.items() if kept.closed}
        found = wrong(self.bench, {n: k.files for n, k in closed.items()}, {n: {p: self._tiers(k, p) for p in k.files} for n, k in closed.items()})
        assert {name: lines for name, lines in found.items() if lines} == {}
        for name, kept in self.kept.items():
            if not kept.closed:
                with self.bench.archive.ledger.read() as tx:
                    dataset = tx.find_dataset(name)
                assert dataset.state is DatasetState.OPEN
                assert not kept.sent or {path: self.bench.read(dataset, path) == content for path, content in kept.files.items()} == dict.fromkeys(
                    kept.files, True
                )

    def _tiers(self, kept: Kept, path: str) -> set[str]:
        now, age = self.bench.now, self.bench.now - kept.born
        hot = age < YOUNG or (kept.held_until is not None and now < kept.held_until)
        with self.bench.archive.ledger.read() as tx:
            for number, of in kept.restores.items():
                asked = tx.restore(number)
                if asked.state != "cancelled" and of in {None, path}:
                    hot |= asked.ready_at is not None and now < asked.ready_at + timedelta(days=asked.keep_days)
        return {"deep"} | ({"archive"} if age < FIRST else set()) | ({"hot"} if hot else set())


@pytest.fixture
def archives(tmp_path_factory: pytest.TempPathFactory, store: Any) -> Callable[[], Bench]:
    """`archives()`: a new one."""
    from fixtures.archive import settings_toml

    def make() -> Bench:
        folder = tmp_path_factory.mktemp("model")
        (folder / "home").mkdir()
        buckets = store.buckets("hot", "archive", "deep")
        text = settings_toml(folder / "home", store, buckets, archive={"bundles": True}, deep={"bundles": True})
        (folder / "neve.toml").write_text(text, "utf-8")
        return Bench(folder, folder / "neve.toml")

    return make


def drive(archives: Callable[[], Bench], **bounds: Any) -> None:
    Archiving.make = staticmethod(archives)
    # A smaller example would cost minutes: what failed is printed step by step as it is.
    phases = (Phase.explicit, Phase.generate)
    health = list(HealthCheck)
    run_state_machine_as_test(
        Archiving, settings=settings(deadline=None, database=None, phases=phases, suppress_health_check=health, print_blob=True, **bounds)
    )


def test_it_does_what_the_model_says(archives: Callable[[], Bench]):
    drive(archives, max_examples=4, stateful_step_count=14, derandomize=True)


@pytest.mark.long
def test_it_does_what_the_model_says_at_length(archives: Callable[[], Bench]):
    drive(archives, max_examples=60, stateful_step_count=30)
