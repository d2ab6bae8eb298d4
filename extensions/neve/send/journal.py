"""The journal of a sending machine: which file, as it stood, was sent where, and with which SHA-256.

Law: it spares asking and hashing, nothing more. It is never the reason to delete a source (the archiver's receipts are), and losing it costs a
reading of the files, not data: a journal that cannot be read is laid aside and a new one begun. A row counts only while the file's size and time are
those that were written down. It holds no key and no address but the archiver's.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from neve.send.source import Source

State = Literal["sent", "received", "failed"]
STATES: dict[State, str] = {
    "sent": "all bytes are with the archiver, not proven yet",
    "received": "the archiver said that it is proven",
    "failed": "the archiver could not prove it, or refused it",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that was sent. `dataset`: its full name; `sha256`: hex, over the bytes that were sent."""

    source: Source
    sha256: str
    dataset_id: int
    dataset: str
    file_id: int
    state: State
    at: float = 0.0  # seconds since 1970; set when it is written down


class Journal:
    """What was sent to one archiver. Thread-safe; several processes may use one file.

    `path`: the sqlite3 file, made with its folder where missing; None: one that ends with the process. `archiver`: its address.
    `laid_aside`: where a journal that could not be read was put; `trouble`: why it cannot be used any more (a full disk must not stop the sending
    that would empty it): what comes then is remembered until the process ends.
    """

    def __init__(self, path: Path | None, archiver: str) -> None:
        self._archiver = archiver
        self._lock = threading.RLock()
        self.laid_aside: Path | None = None
        self.trouble: str | None = None
        self._spare: sqlite3.Connection | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _opened(path)
        except sqlite3.DatabaseError as error:
            if path is None or isinstance(error, sqlite3.OperationalError):  # locked, no right, disk full: not the journal's content
                raise
            self.laid_aside = path.with_name(f"{path.name}.broken-{time.time_ns()}")
            path.replace(self.laid_aside)
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
            self._db = _opened(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def find(self, source: Source) -> Entry | None:
        """What was sent of this very file: same path, size and time. This is what a rescan asks."""
        entry = self.at(source.path)
        same = entry is not None and (entry.source.size_bytes, entry.source.mtime_ns) == (source.size_bytes, source.mtime_ns)
        return entry if same else None

    def at(self, path: Path) -> Entry | None:
        """What was sent last from this path, whatever the file is now."""
        return self._one("path = ?", _key(path))

    def of_file(self, file_id: int) -> Entry | None:
        """The entry of a file by the archiver's number for it."""
        return self._one("file_id = ?", file_id, "INDEXED BY sent_file")

    def record(self, entries: Iterable[Entry]) -> None:
        """Write down, in one transaction, replacing what stood under the same paths."""
        now = time.time()
        rows = [
            (
                *(self._archiver, _key(entry.source.path), entry.source.name, entry.source.size_bytes, entry.source.mtime_ns, entry.sha256),
                *(entry.dataset_id, entry.dataset, entry.file_id, entry.state, now),
            )
            for entry in entries
        ]
        self._write(f"INSERT OR REPLACE INTO sent (archiver, {_COLUMNS}) VALUES (?, {', '.join('?' * 10)})", rows)  # noqa: S608 - no input in it

    def settle(self, file_ids: Iterable[int], state: State) -> None:
        """Set the state of files by the archiver's numbers."""
        self._write(
            "UPDATE sent INDEXED BY sent_file SET state = ? WHERE archiver = ? AND file_id = ?",
            [(state, self._archiver, file_id) for file_id in file_ids],
        )

    def settle_dataset(self, dataset_id: int, state: State) -> None:
        """Set the state of all that was "sent" to a dataset."""
        self._write(
            "UPDATE sent INDEXED BY sent_dataset SET state = ? WHERE archiver = ? AND dataset_id = ? AND state = 'sent'",
            [(state, self._archiver, dataset_id)],
        )

    def forget(self, paths: Iterable[Path]) -> None:
        """Remove entries, as of sources that are gone."""
        self._write("DELETE FROM sent WHERE archiver = ? AND path = ?", [(self._archiver, _key(path)) for path in paths])

    def entries(self, dataset_id: int | None = None, state: State | None = None) -> Iterator[Entry]:
        """All entries, in order of path, read page by page."""
        for database in (self._db, self._spare):
            after = b""
            one, index = ("AND dataset_id = ?", "INDEXED BY sent_dataset") if dataset_id is not None else ("", "")
            where = f"path > ? {one} AND (? IS NULL OR state = ?) ORDER BY path LIMIT 1000"
            while database is not None:
                values = (after, *([dataset_id] if one else []), state, state)
                with self._lock:
                    rows = self._rows(database, where, values, index)
                if not rows:
                    break
                after = rows[-1][0]
                yield from map(_entry, rows)

    def close(self) -> None:
        with self._lock:
            self._db.close()
            if self._spare is not None:
                self._spare.close()

    def _one(self, where: str, value: Any, index: str = "") -> Entry | None:
        with self._lock:
            for database in (self._spare, self._db):
                if database is not None and (rows := self._rows(database, where, (value,), index)):
                    return _entry(rows[0])
        return None

    def _rows(self, database: sqlite3.Connection, where: str, values: tuple[Any, ...], index: str = "") -> list[tuple[Any, ...]]:
        """What is written down; a place that cannot be read is as one where nothing is."""
        statement = f"SELECT {_COLUMNS} FROM sent {index} WHERE archiver = ? AND {where}"  # noqa: S608 - no input in it
        try:
            return database.execute(statement, (self._archiver, *values)).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return []

    def _give_up(self, error: sqlite3.Error) -> None:
        if self.trouble is None:
            self.trouble = str(error)
            self._spare = _opened(None)

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with self._lock:
            try:
                with self._db:
                    self._db.executemany(statement, rows)
            except sqlite3.Error as error:
                self._give_up(error)
            if self._spare is not None:
                with self._spare:
                    self._spare.executemany(statement, rows)


# The indexes are named where they serve: without statistics sqlite (3.40) takes the primary key, and reads all rows of the archiver.
_COLUMNS = "path, name, size_bytes, mtime_ns, sha256, dataset_id, dataset, file_id, state, at"
_TABLES = """
CREATE TABLE IF NOT EXISTS sent (
    archiver TEXT NOT NULL, path BLOB NOT NULL, name BLOB NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL,
    dataset_id INTEGER NOT NULL, dataset TEXT NOT NULL, file_id INTEGER NOT NULL, state TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (archiver, path)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sent_file ON sent (archiver, file_id);
CREATE INDEX IF NOT EXISTS sent_dataset ON sent (archiver, dataset_id, path);
DROP INDEX IF EXISTS sent_waiting;
"""


def _opened(path: Path | None) -> sqlite3.Connection:
    """A rollback journal, not WAL: homes of instruments lie on network mounts, where WAL's shared memory does not work."""
    connection = sqlite3.connect(":memory:" if path is None else path, timeout=60, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA synchronous = {'OFF' if path is None else 'NORMAL'}")
        connection.execute("PRAGMA cache_size = -8000")
        connection.executescript(_TABLES)
        connection.execute("SELECT max(at) FROM sent WHERE archiver = ''").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _key(path: Path) -> bytes:
    return str(path).encode("utf-8", "surrogatepass") if os.name == "nt" else os.fsencode(path)


def _path(key: bytes) -> Path:
    return Path(key.decode("utf-8", "surrogatepass")) if os.name == "nt" else Path(os.fsdecode(key))


def _entry(row: tuple[Any, ...]) -> Entry:
    path, name, size_bytes, mtime_ns, sha256, dataset_id, dataset, file_id, state, at = row
    return Entry(Source(_path(path), name, size_bytes, mtime_ns), sha256, dataset_id, dataset, file_id, state, at)
