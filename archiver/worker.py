"""The worker makes the copies true to the claims. That is all that tiering, restoring, expiring and repairing are.

Law: it keeps nothing in memory that it could not lose. Each turn reads from the ledger what is due: datasets to look at, recalls,
restores, transfers, drops; a crash between any two lines is followed by the same turn again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from archiver import drop, policy, recall, restore, transfer
from archiver.archive import Archive, view
from archiver.errors import LedgerUnavailable, NotFound, StoreUnavailable
from archiver.ledger.store import Moved
from archiver.model import DropState, RecallState, TransferState
from archiver.storage import Vanished

log = logging.getLogger(__name__)

_BATCH = 200


class Worker:
    """One worker process' hands. `run` goes on until `stop`; `settle` until nothing is left to do now."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._pool = ThreadPoolExecutor(archive.settings.worker.parallel, thread_name_prefix="worker")
        self._transfers: dict[int, Future[object]] = {}
        self._drops: dict[int, Future[object]] = {}
        self._polled: dict[int, float] = {}

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; a ledger that does not answer is waited for."""
        self._note_policy()
        pause = self.archive.settings.worker.pause.total_seconds()
        while not stop.is_set():
            try:
                busy = self.turn()
            except LedgerUnavailable as error:
                log.warning("%s", error)
                busy = False
            if not busy:
                stop.wait(pause)
        self._pool.shutdown(wait=True)

    def settle(self) -> None:
        """Work until nothing is due. What waits for a recall, a grace period or its next try is left for later."""
        self._note_policy()
        while self.turn():
            pass
        self._pool.shutdown(wait=True)

    def turn(self) -> bool:
        """One look at everything that is due; returns whether anything was done or is under way."""
        done = self._plan()
        done |= self._each(self._recalls(), "recall")
        done |= self._start_transfers()
        done |= self._start_drops()
        running = [*self._transfers.values(), *self._drops.values()]
        if running:
            wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
        done |= self._reap(self._transfers) | self._reap(self._drops)
        done |= self._each(self._restores(), "restore")
        return bool(done or self._transfers or self._drops)

    def _note_policy(self) -> None:
        """When the policy is not the one under which `look_at` was computed, every dataset is looked at again."""
        settings = self.archive.settings
        now = settings.model_dump_json(include={"tiers", "policy"})
        with self.archive.ledger.begin() as tx:
            if tx.note("policy") != now:
                tx.look_at_all()
                tx.set_note("policy", now)
                tx.set_note("tiers", " ".join(settings.tiers))

    def _plan(self) -> bool:
        with self.archive.ledger.read() as tx:
            due = tx.datasets_to_look_at(_BATCH)
        done = False
        for dataset_id in due:
            try:
                self._plan_one(dataset_id)
                done = True
            except StoreUnavailable as error:  # its stub waits; the others have their turn
                log.warning("%s", error)
                with self.archive.ledger.begin() as tx:
                    tx.update_dataset(dataset_id, look_at=tx.at + self.archive.settings.worker.backoff)
        return done

    def _plan_one(self, dataset_id: int) -> None:
        archive = self.archive
        with archive.ledger.begin() as tx:
            seen = view(tx, dataset_id)
            decision = policy.decide(seen, archive.settings, tx.at)
            for obj, tier, origin in decision.transfers:
                tx.plan_transfer(obj, tier, source_copy_id=origin.id)
            for needless in decision.cancel:
                tx.change("transfer", needless, TransferState.CANCELLED, error="Nobody claims it any more.")
            for revoked in decision.revoke:
                tx.change("drop", revoked, DropState.REVOKED, reason="it is claimed again")
            for copy in decision.drops:
                tx.plan_drop(copy, dataset_id, "nobody claims it")
            # What was revoked or cancelled may allow more at once, and a stub is laid or taken after this commit: look again. What was
            # not decided is looked at when time changes it.
            again = decision.revoke or decision.cancel or decision.stub or decision.unstub
            tx.update_dataset(dataset_id, look_at=tx.at if again else decision.look_at)
        # The stub's bytes go first, its ledger line after: repeated, it is the same stub.
        if decision.stub:
            drop.lay_stub(archive, seen.dataset)
        if decision.unstub:
            drop.take_stub(archive, seen.dataset)
        if decision.stub or decision.unstub:
            with archive.ledger.begin() as tx:
                tx.look(dataset_id)

    def _recalls(self) -> list[Callable[[], bool]]:
        with self.archive.ledger.read() as tx:
            recalls = tx.recalls_under_way()
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

    def _each(self, steps: list[Callable[[], bool]], what: str) -> bool:
        done = False
        for step in steps:
            try:
                done |= step()
            except Moved:
                done = True
            except (StoreUnavailable, NotFound, Vanished) as error:
                log.warning("a %s waits: %s", what, error)
        return done

    def _start_transfers(self) -> bool:
        free = self.archive.settings.worker.parallel * 2 - len(self._transfers)
        if free <= 0:
            return True
        with self.archive.ledger.read() as tx:
            due = tx.transfers_due(free, set(self._transfers))
        for one in due:
            self._transfers[one.id] = self._pool.submit(transfer.run, self.archive, one)
        return bool(due)

    def _start_drops(self) -> bool:
        with self.archive.ledger.read() as tx:
            datasets = tx.datasets_with_drops(set(self._drops))
        for dataset_id in datasets[: self.archive.settings.worker.parallel]:
            self._drops[dataset_id] = self._pool.submit(drop.run, self.archive, dataset_id)
        return False

    @staticmethod
    def _reap(running: dict[int, Future[object]]) -> bool:
        """Take in what has ended; returns whether any of it came further (what only waits for its store must not be turned round at once)."""
        done = False
        for key in [key for key, future in running.items() if future.done()]:
            future = running.pop(key)
            error = future.exception()
            if error is not None:
                log.error("work on %s ended by a fault of ours", key, exc_info=error)
            else:
                done |= bool(future.result())
        return done
