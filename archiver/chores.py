"""Chores: work that comes back by the clock, whatever else there is to do. A worker does those that are due, one after the other.

Law: a chore does a bounded piece and can be repeated at any moment; of several workers one has it in hand (a lease). One that fails
is said in the log and in the ledger (`archiver status`), and comes back all the same.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from archiver import anchors, closing, drill, fixity, inventory, notices, obstacles, rereading, showing, strays, uploads
from archiver.archive import Archive
from archiver.errors import LedgerUnavailable, PublicError
from archiver.lease import Lessee
from archiver.ledger.leases import Lease
from archiver.ledger.store import Moved
from archiver.storage import NotReadable, Vanished

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chore:
    """What is done, and how long after its end it comes back."""

    name: str
    every: timedelta
    run: Callable[[Archive], None]


CHORES: Sequence[Chore] = (
    Chore("anchors", timedelta(hours=1), anchors.run),
    Chore("obstacles", obstacles.EVERY, obstacles.run),
    Chore("notices", timedelta(minutes=1), notices.run),
    Chore("fixity", fixity.EVERY, fixity.run),
    Chore("inventory", inventory.EVERY, inventory.run),
    Chore("drill", drill.EVERY, drill.run),
    Chore("uploads", uploads.EVERY, uploads.run),
    Chore("closing", closing.EVERY, closing.run),
    Chore("strays", strays.EVERY, strays.run),
    Chore("snapshots", showing.EVERY, showing.sweep),
    Chore("rereading", rereading.EVERY, rereading.run),
)


def do_due(archive: Archive, lease: Lease, chores: Sequence[Chore] = CHORES) -> list[str]:
    """Do those that are due and nobody's; returns their names."""
    done = []
    for chore in chores:
        with archive.ledger.begin() as tx:
            mine = tx.take_chore(chore.name, lease)
        if not mine:
            continue
        error = None
        try:
            chore.run(archive)
        except (PublicError, Moved, Vanished, NotReadable) as failed:
            error = str(failed) or type(failed).__name__
            log.warning("the chore %s failed and comes back: %s", chore.name, error)
        except Exception as failed:
            error = f"a fault of ours: {type(failed).__name__}"
            log.exception("the chore %s ended by a fault of ours", chore.name)
        with archive.ledger.begin() as tx:
            tx.end_chore(chore.name, tx.at + chore.every, error)
        done.append(chore.name)
    return done


def keep_doing(archive: Archive, lessee: Lessee, stop: threading.Event) -> None:
    """Until `stop`: look once a second whether one is due. A ledger that does not answer is waited for."""
    while not stop.wait(1.0):
        try:
            with archive.ledger.read() as tx:
                due = tx.chores_due([chore.name for chore in CHORES])
            if due:
                do_due(archive, lessee.lease, [chore for chore in CHORES if chore.name in due])
        except (LedgerUnavailable, Moved) as error:
            log.warning("chores wait: %s", error)
