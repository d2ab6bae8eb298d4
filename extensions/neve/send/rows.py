"""The agent's rows: one sqlite3 file per inbox, so that a million files weigh nothing in memory. What is known of datasets is here as well.

Law: a kill loses nothing that the inbox, the journal and the archiver do not know; what a power cut breaks is begun anew.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEVER = 1e300  # seconds: only a change or a new start looks again
PAGE = 500
_VERSION = 1
_SCHEMA = """
CREATE TABLE files (
    name BLOB PRIMARY KEY, size_bytes INT, mtime_ns INT, first_at REAL, changed_at REAL, changed_scan INT, scan INT,
    project TEXT, dataset TEXT, path BLOB, state TEXT, reason TEXT, due_at REAL, tries INT) WITHOUT ROWID;
CREATE INDEX files_due ON files (state, due_at);
CREATE INDEX files_of_group ON files (project, dataset, state, path);
CREATE TABLE signals (
    name BLOB PRIMARY KEY, target BLOB, project TEXT, closes TEXT, manifest INT, size_bytes INT, mtime_ns INT,
    first_scan INT, scan INT) WITHOUT ROWID;
CREATE INDEX signals_target ON signals (target);
CREATE INDEX signals_closes ON signals (project, closes);
CREATE TABLE sums (name BLOB, manifest BLOB, sha256 TEXT, PRIMARY KEY (name, manifest)) WITHOUT ROWID;
CREATE INDEX sums_manifest ON sums (manifest, name);
CREATE TABLE groups (
    project TEXT, dataset TEXT, open INT /* 0 closed, 1 seen here, 2 something was sent */,
    changed_at REAL, changed_scan INT, due_at REAL, tries INT, PRIMARY KEY (project, dataset)) WITHOUT ROWID;
CREATE TABLE targets (dataset_id INT PRIMARY KEY, full_name TEXT, closed INT, due_at REAL, tries INT) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Group:
    """A dataset as the rule names it, open as far as this machine knows."""

    project: str
    dataset: str
    changed_at: float
    changed_scan: int
    tries: int


class Rows:
    """The file. Thread-safe. One that cannot be read, or is another version's, is begun anew."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._db = self._open(path)
        except sqlite3.DatabaseError:
            for ending in ("", "-journal"):
                with suppress(FileNotFoundError):
                    path.with_name(path.name + ending).unlink()
            self._db = self._open(path)

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            # No WAL: the folder may lie on a network mount. Not synced either: a kill loses nothing, and what a power cut breaks is begun anew.
            db.execute("PRAGMA journal_mode = TRUNCATE")
            db.execute("PRAGMA synchronous = OFF")
            _make(db)
        except BaseException:
            db.close()
            raise
        return db

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def run(self, sql: str, *values: Any) -> list[Any]:
        """What a statement gives."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def many(self, sql: str, values: Iterable[tuple[Any, ...]]) -> None:
        """The same for each of `values`."""
        with self._lock:
            self._db.executemany(sql, values)

    @contextmanager
    def together(self) -> Iterator[None]:
        """One transaction around many looks."""
        with self._lock:
            self._db.execute("BEGIN")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _make(db: sqlite3.Connection) -> None:
    """The tables, in a new file. Raises DatabaseError for one that is broken or not of this version."""
    if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("broken")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, _VERSION}:
        raise sqlite3.DatabaseError(f"version {version}")
    if version == 0:
        db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")


class Datasets:
    """Datasets: as the rule names them (`Group`), which are to be closed; and as the archiver numbers them, whose receipts are to be asked for."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def begin(self, now: float) -> None:
        """A new start: every dataset is quiet from now on."""
        self._rows.run("UPDATE groups SET changed_at = ?, changed_scan = 0, due_at = 0, tries = 0", now)
        self._rows.run("UPDATE targets SET due_at = 0, tries = 0")

    def touch(self, project: str, dataset: str, now: float, scan: int) -> None:
        """Something new in a dataset: it is open (again), and not quiet."""
        self._rows.run(
            "INSERT INTO groups VALUES (?, ?, 1, ?, ?, 0, 0) ON CONFLICT DO UPDATE"
            " SET open = max(open, 1), changed_at = ?, changed_scan = ?, due_at = 0, tries = 0",
            project, dataset, now, scan, now, scan,
        )  # fmt: skip

    def know(self, project: str, dataset: str, now: float, scan: int) -> None:
        """A dataset of which something was received before: asked to close in time, unless it is known to be closed."""
        self._rows.run(
            "INSERT INTO groups VALUES (?, ?, 2, ?, ?, 0, 0) ON CONFLICT DO UPDATE SET open = 2 WHERE open = 1",
            project, dataset, now, scan,
        )  # fmt: skip

    def was_sent(self, project: str, dataset: str) -> None:
        """Something of the dataset is with the archiver: it can be closed, and its manifests may be fulfilled."""
        self._rows.run(
            "UPDATE files SET due_at = 0 WHERE project = ? AND dataset = ? AND state = 'waiting'"
            " AND name IN (SELECT name FROM signals WHERE manifest)",
            project, dataset,
        )  # fmt: skip
        self._rows.run("UPDATE groups SET open = 2, due_at = 0 WHERE project = ? AND dataset = ?", project, dataset)

    # Closing

    def open_groups(self, now: float) -> list[Group]:
        """Open datasets of which nothing is complete and unsent, whose next question is due."""
        found = self._rows.run(
            "SELECT project, dataset, changed_at, changed_scan, tries FROM groups AS g WHERE open = 2 AND due_at <= ? AND NOT EXISTS"
            " (SELECT 1 FROM files AS f WHERE f.project = g.project AND f.dataset = g.dataset AND state IN ('ready', 'sending'))",
            now,
        )
        return [Group(*row) for row in found]

    def holding(self, group: Group) -> list[bytes]:
        """Names of up to a page of a dataset's files that wait or were refused."""
        return [
            row[0] for row in self._rows.run("SELECT name FROM files WHERE project = ? AND dataset = ? LIMIT ?", group.project, group.dataset, PAGE)
        ]

    def closing_signal(self, group: Group) -> bool:
        """Whether a marker or manifest that closes the dataset has come, and nothing of the dataset after it."""
        return bool(
            self._rows.run(
                "SELECT 1 FROM signals WHERE project = ? AND closes = ? AND first_scan >= ? LIMIT 1", group.project, group.dataset, group.changed_scan
            )
        )

    def put_off(self, group: Group, due_at: float, tries: int = 0) -> None:
        """Ask about the dataset again later."""
        self._rows.run("UPDATE groups SET due_at = ?, tries = ? WHERE project = ? AND dataset = ?", due_at, tries, group.project, group.dataset)

    def next_group_due(self) -> float:
        """When to ask about an open dataset next."""
        found = self._rows.run("SELECT min(due_at) FROM groups WHERE open = 2")[0][0]
        return NEVER if found is None else float(found)

    def closed(self, group: Group) -> None:
        """The dataset is closed, unless something came meanwhile."""
        self._rows.run(
            "UPDATE groups SET open = 0 WHERE project = ? AND dataset = ? AND changed_at = ?", group.project, group.dataset, group.changed_at
        )

    # Where files were sent

    def target(self, dataset_id: int, full_name: str, *, closed: bool = False) -> None:
        """A dataset of the archiver that holds files of this inbox; what is new in it may be deleted here some day."""
        self._rows.run(
            "INSERT INTO targets VALUES (?, ?, ?, 0, 0) ON CONFLICT DO UPDATE SET due_at = 0, tries = 0, closed = max(closed, excluded.closed)",
            dataset_id, full_name, closed,
        )  # fmt: skip

    def known_target(self, dataset_id: int, full_name: str) -> None:
        """The same for what a scan meets, without asking anew."""
        self._rows.run("INSERT INTO targets VALUES (?, ?, 0, 0, 0) ON CONFLICT DO NOTHING", dataset_id, full_name)

    def next_target(self, now: float) -> tuple[int, bool, int] | None:
        """The dataset (id, closed, tries) whose receipts are to be asked for next."""
        found = self._rows.run("SELECT dataset_id, closed, tries FROM targets WHERE due_at <= ? ORDER BY due_at LIMIT 1", now)
        return (int(found[0][0]), bool(found[0][1]), int(found[0][2])) if found else None

    def next_target_due(self) -> float:
        """When receipts are to be asked for next."""
        found = self._rows.run("SELECT min(due_at) FROM targets")[0][0]
        return NEVER if found is None else float(found)

    def put_off_target(self, dataset_id: int, due_at: float) -> None:
        """Ask for its receipts again later."""
        self._rows.run("UPDATE targets SET due_at = ?, tries = tries + 1 WHERE dataset_id = ?", due_at, dataset_id)

    def forget_target(self, dataset_id: int) -> None:
        """All its sources are gone from here."""
        self._rows.run("DELETE FROM targets WHERE dataset_id = ?", dataset_id)
