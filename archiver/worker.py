"""The worker makes the copies true to the claims. That is all that tiering, restoring, expiring and repairing are.

Law: it keeps nothing in memory that it could not lose. Each turn reads from the ledger what is due: datasets to look at, recalls,
restores, transfers, snapshots, drops in hot (the others are the reaper's); a crash between any two lines is followed by the same turn again.
Several workers share one ledger: each takes transfers and drops by lease (lease.py), plans what no other plans just now.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from archiver import (
    batch,
    changeover,
    chores,
    closing,
    contents,
    drop,
    erasure,
    guards,
    locations,
    plan,
    policy,
    recall,
    restore,
    showing,
)
from archiver.archive import Archive, packs_view, view
from archiver.errors import Conflict, LedgerUnavailable, NotFound, StoreUnavailable
from archiver.guards import Guard
from archiver.lease import Lessee
from archiver.ledger import Transaction
from archiver.ledger.store import Moved
from archiver.model import DatasetState, DropState, ObjectKind, RecallState, Transfer, TransferState
from archiver.policy import View
from archiver.storage import Vanished

log = logging.getLogger(__name__)

_BATCH = 200
_READ_TOGETHER = 250  # files looked into, or datasets closed, before the next look at the ledger
_SNAPSHOTS = 1  # in hand at once: the other hands are for what is received for good
_AT_ONCE = 50  # the ledger's other writers wait so long
_GIVES_WAY_S, _LULL_S = 5.0, 1.0
"""For so long no copy is begun while senders send: half of the time within which what came in a pack is to stand in `/data`."""


@dataclass(frozen=True)
class _Hands:
    """Threads, and what they have in hand: by number of the transfer."""

    pool: ThreadPoolExecutor
    running: dict[int, Future[object]] = field(default_factory=dict)


class Worker:
    """One worker process' hands. `run` goes on until `stop`; `settle` until nothing is left to do now."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        parallel = archive.settings.worker.parallel
        self._copies = _Hands(ThreadPoolExecutor(parallel, thread_name_prefix="worker"))  # for drops and snapshots, too
        # What was sent from outside has hands of its own: who sent it waits, and must not wait for copies that nobody waits for.
        self._arrivals = _Hands(ThreadPoolExecutor(parallel, thread_name_prefix="arrivals"))
        self._runs = False  # with senders beside it; not only until all is done
        self._sent_since: float | None = None
        self._sent_at = float("-inf")
        self._drops: dict[int, Future[object]] = {}
        self._snapshots: dict[int, Future[object]] = {}
        self._reading: Future[None] | None = None  # received files that are looked into
        self._guard = Guard(archive)
        self._lessee = Lessee(archive, "worker")
        self._due = drop.Due(archive, {policy.HOT: archive.tiers[policy.HOT]}, self._guard, self._lessee)
        self._polled: dict[int, float] = {}
        self._caps = {name: tier.parallel for name, tier in archive.settings.tiers.items() if tier.parallel is not None}

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; a ledger that does not answer is waited for."""
        changeover.take_up(self.archive)
        pause = self.archive.settings.worker.pause.total_seconds()
        self._runs = True
        with self._lessee:
            doing = threading.Thread(target=chores.keep_doing, args=(self.archive, self._lessee, stop), name="chores", daemon=True)
            doing.start()
            while not stop.is_set():
                try:
                    busy = self.turn()
                except Moved as moved:
                    log.info("%s", moved)
                    busy = True
                except LedgerUnavailable as error:
                    log.warning("%s", error)
                    busy = False
                if not busy:
                    stop.wait(pause)
            self._end()

    def settle(self) -> None:
        """Work until nothing is due. What waits for a recall, a grace period or its next try is left for later."""
        changeover.take_up(self.archive)
        with self._lessee:
            while self.turn():
                pass
            self._end()

    def _end(self) -> None:
        for hands in (self._copies, self._arrivals):
            hands.pool.shutdown(wait=True)

    def turn(self) -> bool:
        """One look at everything that is due; returns whether anything was done or is under way."""
        self._guard.beat()
        done = restore.admit(self.archive)
        done |= self._plan()
        done |= self._each(self._recalls(), "a recall")
        done |= self._start_transfers()
        done |= self._each([self._start_snapshots], "a snapshot")
        self._start_reading()
        self._due.start(self._copies.pool, self._drops)
        running: list[Future[Any]] = [*self._arrivals.running.values(), *self._copies.running.values()]
        running += [*self._drops.values(), *self._snapshots.values()]
        running += [self._reading] if self._reading else []
        if running:
            wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
        done |= self._reap_transfers(self._arrivals) | self._reap_transfers(self._copies)
        done |= self._reap(self._drops) | self._reap(self._snapshots) | self._reap_reading()
        done |= self._each(self._closings(), "a close")
        done |= self._each(self._restores(), "a restore")
        done |= self._each(self._erasures(), "an erasure")
        done |= self._each([lambda: locations.write_due(self.archive)], "a location record")
        return bool(done or running)

    def _plan(self) -> bool:
        with self.archive.ledger.read() as tx:
            due = tx.datasets_to_look_at(_BATCH)
            busy = tx.busy(due)
        resting = self._rest([dataset_id for dataset_id in due if dataset_id not in busy])
        done = bool(resting)
        for dataset_id in due:
            if dataset_id in resting:
                continue
            try:
                self._plan_one(dataset_id)
                done = True
            except Moved:  # its rows are moving just now: it is due still
                done = True
            except StoreUnavailable as error:  # its stub waits; the others have their turn
                log.warning("%s", error)
                with self.archive.ledger.begin() as tx:
                    tx.update_dataset(dataset_id, look_at=tx.at + self.archive.settings.worker.backoff)
        return done

    def _rest(self, quiet: list[int]) -> set[int]:
        """Those with which nothing is to be done are settled many at a time, and their files not read; returns which."""
        found: set[int] = set()
        for start in range(0, len(quiet), _AT_ONCE):
            try:
                with self.archive.ledger.begin() as tx:
                    mine = [dataset_id for dataset_id in quiet[start : start + _AT_ONCE] if tx.take_look(dataset_id)]
                    resting = plan.at_rest(tx, self.archive.settings, mine)
                    for dataset_id, (look_at, tier) in resting.items():
                        tx.update_dataset(dataset_id, look_at=look_at, tier=tier)
            except Moved:
                continue  # each is then planned by itself
            found.update(resting)
        return found

    def _plan_one(self, dataset_id: int) -> None:
        archive = self.archive
        with archive.ledger.begin() as tx:
            if not tx.take_look(dataset_id):
                return  # another worker plans it, or has
            tx.lapse_holds(dataset_id)
            seen = self._seen(tx, dataset_id)
            decision = policy.decide(seen, archive.settings, tx.at)
            if tx.note(guards.HOLD) is not None:  # as if all were claimed still; `archiver release` has every dataset looked at again
                decision.stub, decision.drops = False, []
            waiting = policy.sponsors(seen)
            tx.plan_transfers(
                [
                    (obj, tier, origin.id if origin else None, waiting.get(obj.id) if tier == policy.HOT else None)
                    for obj, tier, origin in decision.transfers
                ]
            )
            for needless in decision.cancel:
                tx.cancel_transfer(needless)
            for transfer_, priority, user in policy.urgent(seen, waiting):
                tx.urge(transfer_, priority, user)
            for revoked in decision.revoke:
                tx.change("drop", revoked, DropState.REVOKED, reason="it is claimed again")
            for copy in decision.drops:
                tx.plan_drop(copy, dataset_id, "nobody claims it")
            # What was revoked or cancelled may allow more at once, and a stub is laid or taken after this commit: look again. What was
            # not decided is looked at when time changes it.
            again = decision.revoke or decision.cancel or decision.stub or decision.unstub
            going = {d.copy_id for d in seen.drops if d not in decision.revoke} | {c.id for c in decision.drops}
            whole = seen.files or seen.dataset.state is not DatasetState.OPEN
            tier = {"tier": policy.nearest(seen, archive.settings, going)} if whole else {}
            tx.update_dataset(dataset_id, look_at=tx.at if again else decision.look_at, **tier)
        # The stub's bytes go first, its ledger line after: repeated, it is the same stub.
        if decision.stub:
            drop.lay_stub(archive, seen.dataset)
        if decision.unstub:
            drop.take_stub(archive, seen.dataset)
        if decision.stub or decision.unstub:
            with archive.ledger.begin() as tx:
                tx.look(dataset_id)

    def _seen(self, tx: Transaction, dataset_id: int) -> View:
        """What is to be known of a dataset. Of one that is open with small files only, nothing is copied on but packs: its files are not read one by
        one with each that comes."""
        dataset, settings = tx.dataset(dataset_id), self.archive.settings
        grows = dataset.state is DatasetState.OPEN and not tx.claims(dataset_id)
        if grows and not policy.copies_on(dataset, tx.largest_received(dataset_id), settings, tx.at):
            return packs_view(tx, dataset_id)
        return view(tx, dataset_id)

    def _recalls(self) -> list[Callable[[], bool]]:
        held = recall.held_back(self.archive)
        with self.archive.ledger.read() as tx:
            recalls = [one for one in tx.recalls_under_way() if one.id not in held]
        poll = self.archive.settings.worker.recall_poll.total_seconds()
        steps: list[Callable[[], bool]] = []
        for one in recalls:
            if one.state is RecallState.RUNNING:
                if time.monotonic() - self._polled.get(one.id, float("-inf")) < poll:
                    continue
                self._polled[one.id] = time.monotonic()
            steps.append(lambda one=one: recall.advance(self.archive, one) is not one.state)  # type: ignore[misc]
        return steps

    def _restores(self) -> list[Callable[[], bool]]:
        with self.archive.ledger.read() as tx:
            restores = tx.restores_under_way()
        return [lambda one=one: restore.advance(self.archive, one) is not one.state for one in restores]  # type: ignore[misc]

    def _erasures(self) -> list[Callable[[], bool]]:
        with self.archive.ledger.read() as tx:
            due = tx.erasures_due()
        return [lambda one=one: erasure.advance(self.archive, one) for one in due]  # type: ignore[misc]

    def _each(self, steps: list[Callable[[], bool]], what: str) -> bool:
        done = False
        for step in steps:
            try:
                done |= step()
            except Moved:
                done = True
            except (StoreUnavailable, NotFound, Conflict, Vanished) as error:
                log.warning("%s waits: %s", what, error)
        return done

    def _start_transfers(self) -> bool:
        most = self.archive.settings.worker.parallel * 2  # so that nobody is idle; taken several at a time, they cost the ledger less
        all_hands = [(self._arrivals, True), *([] if self._gives_way() else [(self._copies, False)])]
        free = [(hands, sent, most - running) for hands, sent in all_hands if (running := len(set(hands.running.values()))) <= most // 2]
        taken: list[tuple[_Hands, list[Transfer]]] = []
        if free:
            with self.archive.ledger.begin() as tx:
                begun = {*self._arrivals.running, *self._copies.running}
                taken = [(hands, together) for hands, sent, room in free for together in self._take(tx, room, begun, sent=sent)]
        for hands, together in taken:
            future: Future[object] = hands.pool.submit(batch.run, self.archive, together)
            hands.running.update((one.id, future) for one in together)
        return bool(taken) or len(free) < len(all_hands)

    def _gives_way(self) -> bool:
        """Who sends waits until it is proven. Copies wait for a lull, or some seconds: nobody misses those, restores take longer."""
        now = time.monotonic()
        if self._arrivals.running:
            self._sent_at = now
            self._sent_since = now if self._sent_since is None else self._sent_since
        elif now - self._sent_at > _LULL_S:
            self._sent_since = None
        return self._runs and self._sent_since is not None and now - self._sent_since < _GIVES_WAY_S

    def _take(self, tx: Transaction, room: int, begun: set[int], *, sent: bool) -> list[list[Transfer]]:
        """What is due, `room` batches of it at most; `begun` grows by it."""
        taken: list[list[Transfer]] = []
        while len(taken) < room:
            due = tx.take_transfers(self._lessee.lease, room - len(taken), begun, self._caps, sent=sent)
            for one in due:
                if one.id not in begun:
                    taken.append([one, *self._alike(tx, one, begun)])
                    begun.update(each.id for each in taken[-1])
            if not due:
                break
        return taken

    def _start_snapshots(self) -> bool:
        """Snapshots of growing files that were sent, or are over."""
        ended = showing.look(self.archive)
        with self.archive.ledger.read() as tx:
            if not tx.snapshots_wait():
                return ended
        with self.archive.ledger.begin() as tx:
            due = tx.take_snapshots(self._lessee.lease, _SNAPSHOTS - len(self._snapshots), self._snapshots)
        for one in due:
            self._snapshots[one.id] = self._copies.pool.submit(showing.advance, self.archive, one)
        return ended

    def _start_reading(self) -> None:
        """Look into what was received from outside, some files at a time."""
        if self._reading is not None:
            return
        with self.archive.ledger.read() as tx:
            files = tx.unread(_READ_TOGETHER)
        if files:
            self._reading = self._arrivals.pool.submit(contents.read, self.archive, files)

    def _reap_reading(self) -> bool:
        if self._reading is None or not self._reading.done():
            return False
        reading, self._reading = self._reading, None
        error = reading.exception()
        if isinstance(error, StoreUnavailable | LedgerUnavailable):
            log.warning("what is inside received files is read later: %s", error)
        elif error is not None:
            log.error("looking into received files ended by a fault of ours", exc_info=error)
        return error is None

    def _closings(self) -> list[Callable[[], bool]]:
        with self.archive.ledger.read() as tx:
            if not tx.closings():
                return []
        with self.archive.ledger.begin() as tx:
            due = tx.take_datasets_closing(self._lessee.lease, _READ_TOGETHER)
        return [lambda one=one: self._close(one) for one in due]  # type: ignore[misc]

    def _close(self, dataset_id: int) -> bool:
        try:
            none_left, moved = showing.settle(self.archive, dataset_id)
            if not none_left:
                return moved  # what they have become, or their end, is waited for
            return closing.close(self.archive, dataset_id) is None  # else why stands in the transfer; it is tried again
        finally:
            self._lessee.give_back(datasets=[dataset_id])

    def _alike(self, tx: Transaction, one: Transfer, begun: set[int]) -> list[Transfer]:
        """Small transfers that go with this one in a batch, where it is small itself and its tier has no cap."""
        together = one.state is (TransferState.PLANNED if one.source_uri is None else TransferState.VERIFYING)
        if not together or one.tier in self._caps:
            return []
        obj = tx.object(one.object_id)
        if obj.size_bytes >= batch.BELOW_BYTES or obj.kind is not ObjectKind.FILE:
            return []
        return tx.take_alike(self._lessee.lease, one, {*begun, one.id}, batch.BELOW_BYTES, batch.MOST - 1)

    def _reap_transfers(self, hands: _Hands) -> bool:
        ended = {key: future for key, future in hands.running.items() if future.done()}
        done = self._reap(hands.running)
        # Most have given their lease back with their last change of state; the others could not go on, and another may.
        leased = {one for future in set(ended.values()) if not future.exception() for one in _leased(future.result())}
        waiting = [key for key, future in ended.items() if future.exception() or key in leased]
        self._lessee.give_back(transfers=waiting)
        return done

    @staticmethod
    def _reap(running: dict[int, Future[object]]) -> bool:
        """Take in what has ended; returns whether any of it came further (what only waits for its store must not be turned round at once)."""
        done = False
        ended: dict[Future[object], list[int]] = {}
        for key, future in running.items():
            if future.done():
                ended.setdefault(future, []).append(key)
        for future, keys in ended.items():
            for key in keys:
                del running[key]
            error = future.exception()
            if isinstance(error, LedgerUnavailable):
                log.warning("work on %s goes on later: %s", keys, error)
            elif error is not None:
                log.error("work on %s ended by a fault of ours", keys, exc_info=error)
            else:
                done |= bool(future.result())
        return done


def _leased(ended: object) -> list[int]:
    return [one.id for one in ended if one.lease_by is not None] if isinstance(ended, list) else []
