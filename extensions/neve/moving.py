"""Copying and moving between a home and team notebooks, or from one project's to another's.

Law: all is copied first, then read back and compared, and only then is the source deleted, if it still is what was copied. What fails before that
leaves the source as it was, and takes its copy back.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from tornado.web import HTTPError

from neve.team import TeamFiles, named


class HomeFiles:
    """A home by the file browser's paths, with the words of `TeamFiles`; `at` says where one of them is on this machine."""

    def __init__(self, at: Callable[[str], str]) -> None:
        self._at = at

    def at(self, path: str) -> Path:
        return Path(self._at(path))

    def tree(self, path: str) -> list[str]:
        top, found = self.at(path), list[str]()
        for place in [top, *top.rglob("*")]:
            entry = "" if place == top else f"/{place.relative_to(top).as_posix()}"
            if place.is_symlink() or not (place.is_file() or place.is_dir()):
                raise HTTPError(400, f"“{path}{entry}” is a link or a device, which team notebooks cannot hold. Take it out first.")
            found.append(entry if place.is_file() else f"{entry}/")  # each folder, so that it stays when its last file goes
        return found

    def lstat(self, path: str) -> dict[str, Any]:
        seen = self.at(path).stat()
        return {"ST_MTIME": seen.st_mtime_ns, "SIZE": seen.st_size}

    def open(self, path: str) -> BufferedReader:
        return self.at(path).open("rb")

    def put(self, path: str, file: IO[bytes]) -> None:
        place = self.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)

    def mkdir(self, path: str) -> None:
        self.at(path).mkdir(parents=True, exist_ok=True)

    def remove(self, path: str, entries: Iterable[str]) -> None:
        """What is new in a folder meanwhile stays, and so does the folder."""
        top = self.at(path)
        for entry in entries:
            if not entry.endswith("/"):
                self.at(path + entry).unlink(missing_ok=True)
        for folder in sorted((place for place in [top, *top.rglob("*")] if place.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()


Files = HomeFiles | TeamFiles


def transfer(source: Files, old: str, target: Files, new: str, *, move: bool) -> None:
    """Copy a file or folder to where nothing is yet; `move`: then delete the source. Raises 400, 403, 409 and what reading and writing raise."""
    entries = source.tree(old)
    files = [entry for entry in entries if not entry.endswith("/")]
    if wrong := [entry for entry in entries if not named((old + entry).removesuffix("/"))]:
        raise HTTPError(400, f"“{old}” holds “{wrong[0]}”, which can be no name in a folder. Rename or delete it by another S3 program first.")
    before = [source.lstat(old + entry) for entry in files]
    done = list[str]()
    try:
        for entry in entries:
            done.append(entry)
            _copy(source, old + entry, target, new + entry)
        same = all(_digest(source, old + entry) == _digest(target, new + entry) for entry in files)
        if not same or before != [source.lstat(old + entry) for entry in files]:
            raise HTTPError(409, f"“{old}” changed while it was copied. Nothing was moved or copied; try again.")  # noqa: TRY301 - taken back below
    except BaseException:
        target.remove(new, done)
        raise
    if move:
        try:
            source.remove(old, entries)
        except OSError as error:
            raise HTTPError(403, f"“{old}” was copied, but it cannot be deleted ({error.strerror}): it is in both places now.") from error


def _copy(source: Files, old: str, target: Files, new: str) -> None:
    if old.endswith("/"):
        target.mkdir(new.removesuffix("/"))
    elif source is target and isinstance(source, TeamFiles):
        source.copy(old, new)
    else:
        with source.open(old) as file:
            target.put(new, file)


def _digest(files: Files, path: str) -> bytes:
    with files.open(path) as file:
        return hashlib.file_digest(file, "sha256").digest()
