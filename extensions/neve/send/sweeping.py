"""Deleting sources, where it is so set: the only thing in the agent that cannot be repeated.

Law: a source goes only after the archiver's receipt of this very content (size and SHA-256 as they were sent) shows proven copies in two distinct
places, and only while the file on disk is still what was sent, byte for byte. The journal alone is never a reason. Folders go when they are empty
and their dataset is closed; the inbox itself never.
"""

from __future__ import annotations

import hashlib
import sqlite3
import stat
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from neve.send.events import Event
from neve.send.journal import Entry, Journal
from neve.send.patience import Patience
from neve.send.reception import Reception
from neve.send.source import Changed, Unreadable, check_unchanged, open_source, shown

COPIES = 2
_TOGETHER = 500
_PIECE_BYTES = 1 << 20


@dataclass(slots=True)
class Swept:
    """What was deleted, and how many of the dataset's sources are left for another time."""

    files: int = 0
    size_bytes: int = 0
    left: int = 0


def sweep(reception: Reception, journal: Journal, root: Path, dataset_id: int, *, before: float, prune: bool, tell: Callable[[Event], None]) -> Swept:
    """Delete the sources below `root` that were sent to a dataset before `before` (seconds since 1970) and are proven twice.

    `prune`: remove the folders that this empties. Raises NeveError, Stopped.
    """
    swept = Swept()
    with closing(sqlite3.connect("")) as proven:  # a file that vanishes: a dataset may have a million receipts
        proven.execute("CREATE TABLE proven (sha256 TEXT, size_bytes INT, name BLOB, PRIMARY KEY (sha256, size_bytes, name)) WITHOUT ROWID")
        _collect(reception, dataset_id, proven)
        gone: list[Path] = []
        folders: set[Path] = set()
        for entry in _of_inbox(journal.entries(dataset_id, "received"), root):
            path = entry.source.path
            if entry.at > before or not _is_proven(proven, entry):
                swept.left += 1
                continue
            reason = _delete(entry, reception.patience)
            if reason is None:
                swept.files += 1
                swept.size_bytes += entry.source.size_bytes
                folders.add(path.parent)
            elif reason:
                swept.left += 1
                tell(Event("kept", {"path": shown(path), "reason": reason}))
                continue
            gone.append(path)
            if len(gone) >= _TOGETHER and prune:
                journal.forget(gone)
                gone.clear()
    if prune:  # until it is closed, a manifest may still ask the journal about them
        journal.forget(gone)
        for folder in folders:
            _prune(folder, root)
    return swept


def _collect(reception: Reception, dataset_id: int, proven: sqlite3.Connection) -> None:
    for receipt in reception.receipts(dataset_id):
        if len({copy.place for copy in receipt.copies if copy.proven_at}) >= COPIES:
            proven.execute("INSERT OR IGNORE INTO proven VALUES (?, ?, ?)", (receipt.sha256, receipt.size_bytes, receipt.name))


def _of_inbox(entries: Iterable[Entry], root: Path) -> Iterable[Entry]:
    return (entry for entry in entries if root in entry.source.path.parents)


def _is_proven(proven: sqlite3.Connection, entry: Entry) -> bool:
    """Whether the same content stands in a receipt under the file's name, or, where there was another of this name, under `name@v2`."""
    found = proven.execute("SELECT name FROM proven WHERE sha256 = ? AND size_bytes = ?", (entry.sha256, entry.source.size_bytes))
    return any(name == entry.source.name or name.startswith(entry.source.name + b"@v") for (name,) in found)


def _delete(entry: Entry, patience: Patience) -> str | None:
    """Delete a source that is still what was sent. None: done; empty: it is not there (any more); else why not. Raises Stopped.

    Its bytes are read once more: dates are coarse on some disks, and kept by some programs that change a file.
    """
    path = entry.source.path
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return ""
        with open_source(entry.source) as file:
            found = hashlib.sha256()
            while piece := file.read(_PIECE_BYTES):
                found.update(piece)
                patience.pause(0)
            check_unchanged(entry.source, file)
        if found.hexdigest() != entry.sha256:
            return "has other bytes than those that were sent, with the same size and date; it stays"
        path.unlink()
    except (FileNotFoundError, Changed):
        return ""  # another file stands here by now: it has its own way to the archiver
    except Unreadable as error:
        return str(error)
    except OSError as error:
        return f"cannot be deleted ({error.strerror or error})"
    return None


def _prune(folder: Path, root: Path) -> None:
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()  # refuses what is not empty
        except OSError:
            return
        folder = folder.parent
