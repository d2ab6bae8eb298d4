"""A worker's or reaper's name in the ledger, and the thread that keeps what it has in hand its own.

Law: what is taken is renewed every third of `worker.lease` while it is worked on, and given back at the end. Who dies without a word
keeps others waiting for one lease at most; for no time at all when it ran on this machine, where a dead process is seen to be dead.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from archiver.archive import Archive
from archiver.errors import LedgerUnavailable
from archiver.ledger.leases import Lease
from archiver.ledger.store import Moved

log = logging.getLogger(__name__)


class Lessee:
    """Used as a context: inside it, leases are renewed; at its end all is given back. `kind`: worker or reaper."""

    def __init__(self, archive: Archive, kind: str) -> None:
        self._archive = archive
        self._here = _machine()
        self.lease = Lease(f"{self._here}:{os.getpid()}:{kind}-{secrets.token_hex(4)}", archive.settings.worker.lease)
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"{kind} leases", daemon=True)

    def __enter__(self) -> Self:
        self._bury()
        self._renewing.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._renewing.join()
        try:
            with self._archive.ledger.read() as tx:
                mine = self.lease.by in tx.lessees()
            if mine:
                with self._archive.ledger.begin() as tx:
                    tx.give_all_back(self.lease.by)
        except (LedgerUnavailable, Moved) as unavailable:
            log.warning("what was in hand goes on when its lease is over: %s", unavailable)

    def give_back(self, *, transfers: Collection[int] = (), datasets: Collection[int] = ()) -> None:
        """Have these in hand no more. What cannot be given back now ends with its lease."""
        if not transfers and not datasets:
            return
        try:
            with self._archive.ledger.begin() as tx:
                tx.give_back(self.lease, transfers=transfers, datasets=datasets)
        except (LedgerUnavailable, Moved) as unavailable:
            log.warning("a lease is left to end by itself: %s", unavailable)

    def _renew(self) -> None:
        while not self._ended.wait(self.lease.span.total_seconds() / 3):
            try:
                with self._archive.ledger.read() as tx:
                    mine = self.lease.by in tx.lessees()
                if mine:
                    with self._archive.ledger.begin() as tx:
                        tx.renew(self.lease)
            except (LedgerUnavailable, Moved) as unavailable:
                log.warning("leases are not renewed now: %s", unavailable)

    def _bury(self) -> None:
        """Take back what processes of this machine had in hand that are no more."""
        with self._archive.ledger.read() as tx:
            dead = [by for by in tx.lessees() if by.startswith(f"{self._here}:") and not _lives(by.split(":")[1])]
        if dead:
            with self._archive.ledger.begin() as tx:
                for by in dead:
                    tx.give_all_back(by)


def _machine() -> str:
    """Host name, and a sign of this boot and this space of process numbers: two containers of one name are two machines."""
    signs = [socket.gethostname()]
    for sign in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        path = Path(sign)
        if path.is_symlink():
            signs.append(str(path.readlink()))
        elif path.exists():
            signs.append(path.read_text("ascii").strip())
    return f"{signs[0]}.{hashlib.sha256(' '.join(signs).encode()).hexdigest()[:8]}"


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
