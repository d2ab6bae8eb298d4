"""The reaper ends copies outside hot, with an identity of its own; nothing else of Névé can (rule 6).

Law: it ends what the ledger says and nothing else: drops, as drop.py carries them out, and unproven versions that transfers left
(`leftover`), never one that the ledger counts as a copy. It keeps nothing that it could not lose; two at once do each other no harm.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from archiver import drop, policy
from archiver.archive import Archive
from archiver.errors import LedgerUnavailable, StoreUnavailable
from archiver.guards import Guard
from archiver.lease import Lessee
from archiver.ledger.store import Moved
from archiver.model import Leftover, LeftoverState
from archiver.storage import Tier

log = logging.getLogger(__name__)

_CHUNK = 500


class Reaper:
    """One reaper's hands, in an archive whose tiers are spoken to as the reaper. `run` goes on until `stop`; `settle` until nothing is due."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._guard = Guard(archive)
        self._tiers = {name: tier for name, tier in archive.tiers.items() if name != policy.HOT}
        self._pool = ThreadPoolExecutor(archive.settings.worker.parallel, thread_name_prefix="reaper")
        self._lessee = Lessee(archive, "reaper")
        self._due = drop.Due(archive, self._tiers, self._guard, self._lessee)
        self._running: dict[int, Future[object]] = {}

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; a ledger that does not answer is waited for."""
        pause = self.archive.settings.worker.pause.total_seconds()
        with self._lessee:
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
            self._pool.shutdown(wait=True)

    def settle(self) -> bool:
        """Work until nothing is due that can be done now; returns whether anything was."""
        done = False
        with self._lessee:
            while self.turn():
                done = True
            self._pool.shutdown(wait=True)
        return done

    def turn(self) -> bool:
        """One look at what is due; returns whether anything was ended or is under way."""
        self._guard.beat()
        done = False
        for tier in self._tiers.values():
            done |= clear(self.archive, tier, self._guard)
        self._due.start(self._pool, self._running)
        if self._running:
            wait(self._running.values(), timeout=1.0, return_when=FIRST_COMPLETED)
        for dataset_id in [i for i, future in self._running.items() if future.done()]:
            future = self._running.pop(dataset_id)
            error = future.exception()
            if isinstance(error, LedgerUnavailable):
                log.warning("the drops of dataset %s go on later: %s", dataset_id, error)
            elif error is not None:
                log.error("the drops of dataset %s ended by a fault of ours", dataset_id, exc_info=error)
            else:
                done |= bool(future.result())
        return bool(done or self._running)


def clear(archive: Archive, tier: Tier, guard: Guard) -> bool:
    """End the unproven versions that transfers left in a tier; returns whether any went. What stays is tried at a later turn."""
    done, after = False, 0
    while True:
        with archive.ledger.read() as tx:
            found = tx.leftovers([tier.name], _CHUNK, after)
        if not found:
            return done
        after = found[-1].id
        try:
            why = guard.hold(tier)
            if why is not None:
                log.warning("unproven versions in %s wait: %s", tier.name, why)
                return done
            done |= _clear(archive, tier, found)
        except StoreUnavailable as error:
            log.warning("unproven versions in %s wait: %s", tier.name, error)
            return done
        except Moved:
            log.info("another reaper cleared unproven versions in %s", tier.name)


def _clear(archive: Archive, tier: Tier, found: Sequence[Leftover]) -> bool:
    with archive.ledger.read() as tx:
        counted = {one.id for one in found if tx.is_a_copy(one.tier, one.key, one.version_id)}
    ending = [one for one in found if one.id not in counted]
    kept = tier.delete_versions([(one.key, one.version_id) for one in ending])
    for (key, version_id), reason in kept.items():
        log.error("the store of %s keeps the unproven %s (%s): %s", tier.name, key, version_id, reason)
    gone = [one for one in ending if (one.key, one.version_id) not in kept]
    with archive.ledger.begin() as tx:
        tx.change_all("leftover", gone, LeftoverState.CLEARED)
        for one in found:
            if one.id in counted:
                log.info("%s (%s) in %s stays: the ledger counts on it as a copy", one.key, one.version_id, one.tier)
                tx.forget_leftover(one)
    return bool(gone or counted)
