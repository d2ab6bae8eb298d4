"""How much a home holds, found out from outside while its owner, who may be hostile, works in it.

Law: no symbolic link is followed, not even one that takes a folder's place meanwhile; another file system is not entered; what a file takes on disk
counts, and of a file with several names each counts its share. Time, depth and memory are bounded: what was not seen makes the sum an "at least".
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

LARGEST = 3
_DEEPEST = 200  # two files are open per level
_LONGEST = 60
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
TRASH = ".local/share/Trash"


@dataclass(frozen=True)
class Usage:
    """What a home holds on the disk."""

    used_bytes: int
    largest: list[tuple[str, int]]  # its largest folders with their bytes, the largest first
    trash_bytes: int  # of that, what JupyterLab's file browser deleted
    whole: bool  # False: there is more, that was not seen


def measure(home: Path, within_s: float) -> Usage:
    """Raises `OSError`: there is no such folder, or it may not be read."""
    root = os.open(home, _FOLDER)
    try:
        walk = _Walk(os.fstat(root).st_dev, time.monotonic() + within_s)
        used, largest = walk.folder_bytes(root), sorted(walk.largest, reverse=True)
        trash = walk.path_bytes(root, TRASH)
    finally:
        os.close(root)
    return Usage(round(used), [(_shown(name), round(size)) for size, name in largest], round(trash), walk.whole)


def _shown(name: str) -> str:
    """A name that its owner may have made of any bytes, for pages and JSON."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in os.fsencode(name).decode("utf-8", "replace"))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


class _Walk:
    def __init__(self, device: int, deadline: float) -> None:
        self.whole = True
        self.largest: list[tuple[float, str]] = []
        self._device, self._deadline = device, deadline

    def folder_bytes(self, folder: int, depth: int = 0) -> float:
        """What is in an open folder, as far as there is time."""
        size = 0.0
        with os.scandir(folder) as entries:
            for entry in entries:
                if time.monotonic() > self._deadline:
                    self.whole = False
                    break
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # gone since it was listed
                if status.st_dev != self._device:
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    size += status.st_blocks * 512 / max(1, status.st_nlink)  # 0: deleted just now
                    continue
                inside = status.st_blocks * 512 + self._entered(folder, entry.name, depth + 1)
                size += inside
                if depth == 0:
                    self.largest = sorted([*self.largest, (inside, entry.name)], reverse=True)[:LARGEST]
        return size

    def path_bytes(self, folder: int, path: str, depth: int = 1) -> float:
        """What is in a folder below an open one, which counts as so deep; nothing where it is not there."""
        name, _, rest = path.partition("/")
        inside = self._opened(folder, name)
        if inside is None:
            return 0.0
        try:
            return self.path_bytes(inside, rest) if rest else self.folder_bytes(inside, depth)
        finally:
            os.close(inside)

    def _entered(self, folder: int, name: str, depth: int) -> float:
        if depth > _DEEPEST:
            self.whole = False
            return 0.0
        return self.path_bytes(folder, name, depth)

    def _opened(self, folder: int, name: str) -> int | None:
        try:
            inside = os.open(name, _FOLDER, dir_fd=folder)
        except PermissionError:  # only where we are not root
            self.whole = False
            return None
        except OSError:
            return None  # gone, or no folder any more
        if os.fstat(inside).st_dev != self._device:
            os.close(inside)
            return None
        return inside
