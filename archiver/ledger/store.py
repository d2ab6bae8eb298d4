"""One door to the ledger: `Ledger.begin()` gives a `Transaction`, whose methods are the only SQL of Névé.

Law: every change of state goes through `Transaction.change`, which refuses what model.py does not allow, moves a row only
from the state the caller saw, and writes the event in the same transaction. So what is recorded can be repeated, and two that
work on one row cannot both win.

On SQLite a writer is alone. On PostgreSQL writers of one dataset wait in one line (`Transaction.hold_still`), readers see one moment,
two that would wait for each other for ever, or add the same thing at once, end with `Moved` for one of them.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from archiver.errors import LedgerUnavailable
from archiver.ledger import migrations
from archiver.ledger.audit import Audit
from archiver.ledger.base import Moved
from archiver.ledger.browse import Browse
from archiver.ledger.counting import Counting
from archiver.ledger.datasets import Datasets
from archiver.ledger.drills import Drills
from archiver.ledger.erasures import Erasures
from archiver.ledger.findings import Findings
from archiver.ledger.flows import Flows
from archiver.ledger.history import History
from archiver.ledger.holds import Holds
from archiver.ledger.leases import Leases
from archiver.ledger.locations import Locations
from archiver.ledger.many import Many
from archiver.ledger.messages import Messages
from archiver.ledger.planning import Planning
from archiver.ledger.quotes import Quotes
from archiver.ledger.readings import Readings
from archiver.ledger.rebuilding import Rebuilding
from archiver.ledger.receiving import Receiving
from archiver.ledger.remarks import Remarks
from archiver.ledger.snapshots import Snapshots

__all__ = ["Ledger", "Moved", "Transaction"]

log = logging.getLogger(__name__)


class Transaction(
    Datasets,
    Snapshots,
    Leases,
    History,
    Audit,
    Browse,
    Holds,
    Messages,
    Quotes,
    Planning,
    Findings,
    Drills,
    Locations,
    Many,
    Erasures,
    Rebuilding,
    Receiving,
    Readings,
    Counting,
    Flows,
    Remarks,
):
    """A unit of work on the ledger; all of it is written, or nothing. `at` is the time of everything in it (aware UTC)."""


class Ledger:
    """The ledger at an SQLAlchemy URL.

    `clock` gives the time. `after_commit`, if set, is called with the names of the states that were just made durable
    (`transfer.copying`); tests end the process there.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        after_commit: Callable[[list[str]], None] | None = None,
    ) -> None:
        self.url = make_url(url)
        self.clock = clock
        self.after_commit = after_commit
        self._sqlite = self.url.get_backend_name() == "sqlite"
        # A connection that died (the database was restarted) is found before it is used.
        self.engine = sa.create_engine(self.url, connect_args={"timeout": 30} if self._sqlite else _POSTGRESQL, pool_pre_ping=not self._sqlite)
        self._one_moment = {"read_only": True} if self._sqlite else {"isolation_level": "REPEATABLE READ"}
        if not self._sqlite:
            sa.event.listen(self.engine, "connect", _postgresql_connect)
        if self._sqlite:
            sa.event.listen(self.engine, "connect", _sqlite_connect)
            sa.event.listen(self.engine, "begin", _sqlite_begin)

    def upgrade(self) -> None:
        """Make the tables, or bring them to this program's revision; nothing happens when they are."""
        if self._sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        with self._reachable(), self.engine.connect() as connection:
            if migrations.current(connection) == migrations.head():
                return
        with self._reachable(), self.engine.connect() as connection:
            migrations.upgrade(connection)

    def check_revision(self) -> None:
        """Raise `LedgerUnavailable` unless the ledger is there and of this program's revision."""
        if self._sqlite and self.url.database and not Path(self.url.database).exists():
            raise LedgerUnavailable(f"There is no ledger at {self.url.database}.", "Run `archiver setup` first.")
        with self._reachable(), self.engine.connect() as connection:
            found, wanted = migrations.current(connection), migrations.head()
        if found != wanted:
            raise LedgerUnavailable(f"The ledger is of revision {found or 'none'}, this program needs {wanted}.", "Run `archiver ledger upgrade`.")

    @contextmanager
    def begin(self, actor: str = "archiver") -> Iterator[Transaction]:
        """A transaction for reading and writing; `actor` stands in its events. Raises `LedgerUnavailable`, `Moved`."""
        with self._reachable(), self.engine.begin() as connection:
            tx = Transaction(connection, self.clock(), actor)
            yield tx
        if self.after_commit and tx.committed_states:
            self.after_commit(tx.committed_states)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction for reading only: it waits for nobody. Raises `LedgerUnavailable`."""
        with self._reachable(), self.engine.connect().execution_options(**self._one_moment) as connection, connection.begin() as unit:
            yield Transaction(connection, self.clock(), "reader", writing=False)
            unit.rollback()

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state == _ALREADY_THERE:
                log.warning("another writer was first: %s", str(error.orig).strip().splitlines()[0])
            if state in _IN_EACH_OTHERS_WAY:
                raise Moved("Another writer was in the way; nothing was written.") from error
            gone = error.connection_invalidated or type(error) in {sa.exc.DatabaseError, sa.exc.OperationalError}
            if not gone:  # the others are faults of ours, not of the database
                raise
            reason = str(error.orig).strip().splitlines()[0]
            where = self.url.database if self._sqlite else self.url.render_as_string(hide_password=True)
            if getattr(error.orig, "sqlstate", None) == _DISK_FULL or "disk is full" in reason:
                raise LedgerUnavailable(
                    f"The disk of the ledger at {where} is full; nothing was written.", "Make room there, then try again."
                ) from error
            raise LedgerUnavailable(
                f"The ledger at {where} does not answer: {reason}.", "See that it is there and not locked; `archiver doctor` tells more."
            ) from error

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


# A host that does not answer is given up; one that vanished during a query is noticed within half a minute. No query of ours is worth compiling,
# or helpers of its own, which many that ask at once do not have.
_OPTIONS = "-c TimeZone=UTC -c jit=off -c max_parallel_workers_per_gather=0"
_POSTGRESQL = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "options": _OPTIONS}
_DISK_FULL = "53100"
_ALREADY_THERE = "23505"  # unique violation: two that both saw that it was not there have added it (PostgreSQL's manual, 13.5)
_IN_EACH_OTHERS_WAY = frozenset({"40001", "40P01", _ALREADY_THERE})  # serialization failure, deadlock


def _postgresql_connect(connection: Any, _record: Any) -> None:
    from psycopg.types.numeric import NumericLoader  # noqa: PLC0415  # takes long, and SQLite does without

    class Whole(NumericLoader):
        """PostgreSQL's sums of bytes are `numeric`; here they are whole numbers, as on SQLite."""

        def load(self, data: Any) -> Any:
            found = super().load(data)
            return int(found) if found == found.to_integral_value() else float(found)

    connection.adapters.register_loader("numeric", Whole)


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's pysqlite begins too late for IMMEDIATE; we begin ourselves
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        for attempt in range(50):
            try:
                cursor.execute(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError:  # switching to WAL ignores the busy timeout
                if attempt == 49:
                    raise
                time.sleep(0.1)
    cursor.close()


def _sqlite_begin(connection: sa.Connection) -> None:
    # A writer takes its lock at once: two that read first and write later would end in "database is locked".
    connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("read_only") else "BEGIN IMMEDIATE")
