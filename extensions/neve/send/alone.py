"""One at a time: a lock that ends with its process, however that ends, on every system.

It is an exclusive transaction on a sqlite3 file: the operating system's own file locks, in the one spelling that Python has for all of them.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from neve.errors import Conflict


class Alone:
    """Held from now until `close`, or the end of the process. Raises Conflict when another process holds it."""

    def __init__(self, path: Path, what: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode = DELETE")
            self._db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            self._db.close()
            raise Conflict(f"{what} is watched by another process of this machine already.", "End that one first; an inbox has one agent.") from error

    def close(self) -> None:
        """Let others have it."""
        self._db.close()
