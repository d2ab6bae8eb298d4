"""When a file in an inbox is complete.

Complete means: a marker or a checksum manifest that names it has come, or it has been still for a while and its format agrees.

Law: time is the monotonic time at which somebody looked, never a file's age by its mtime: a clock that jumps neither lets a half-written file
through nor makes one wait for ever. What is not complete waits, without limit, and says why; nothing is skipped for good.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ("*.tmp", "*.temp", "*.part", "*.partial", "*.filepart", "*.crdownload", ".~*", "~$*", ".nfs*", ".fuse_hidden*", ".*.sw?", ".*.??????")
"""Names under which programs write before they rename: browsers, WinSCP, Office, NFS, FUSE, vim, and (the last one) rsync."""
MARKERS = ("*.done", "*.complete", ".done", ".complete")
MANIFESTS = ("*.sha256", "sha256sums", "sha256sums.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt")

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK_BYTES = 64  # up to the end-of-file address, in every version
_HDF5_ENDINGS = (".h5", ".hdf5", ".hdf", ".he5", ".nxs", ".nx5", ".nexus", ".cxi", ".nc", ".nc4")
_OPEN, _CONSISTENT, _SWMR = 1, 2, 4


class Names:
    """Shell patterns on a file's or folder's own name. Case does not matter: `A.TMP` is what Windows writes."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._found = re.compile("|".join(fnmatch.translate(pattern.lower()) for pattern in self.patterns) or r"(?!)", re.DOTALL)

    def match(self, name: bytes) -> bool:
        """Whether one of the patterns is this name's."""
        return self._found.match(os.fsdecode(name).lower()) is not None

    def stem(self, name: bytes) -> bytes:
        """What a pattern's `*` stands for in `name` where the pattern is `*` and an ending: `scan.h5` for `scan.h5.done`; empty otherwise."""
        text = os.fsdecode(name)
        for pattern in self.patterns:
            ending = pattern[1:].lower()
            if pattern.startswith("*") and not set(ending) & set("*?[") and text.lower().endswith(ending):
                return os.fsencode(text[: len(text) - len(ending)])
        return b""


@dataclass(frozen=True)
class Hdf5:
    """What an HDF5 file's superblock says: is a program writing it, can it be read meanwhile (SWMR), and how long it should at least be."""

    writing: bool
    swmr: bool
    end_bytes: int


def unfinished(path: Path) -> str:
    """Why the file's own format says that it is not whole yet; empty when it does not say so. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        found = superblock(file, size_bytes)
    if found is None:
        if path.name.lower().endswith(_HDF5_ENDINGS) and not _begun(path):
            return "its name is that of an HDF5 file, and its first bytes are still empty"
        return ""
    if found.writing:
        return "an HDF5 file that a program has open for writing" + (" (SWMR)" if found.swmr else "")
    if found.end_bytes > size_bytes:
        return f"an HDF5 file of which {size_bytes} of {found.end_bytes} bytes are there"
    return ""


def superblock(file: BinaryIO, size_bytes: int) -> Hdf5 | None:
    """What the superblock of an HDF5 file says; None where there is none."""
    found = located(file, size_bytes)
    return None if found is None else _read(found[1], found[0])


def located(file: BinaryIO, size_bytes: int) -> tuple[int, bytes] | None:
    """Where the superblock of an HDF5 file is, at 0 or behind a user block of 512, 1,024, 2,048 … bytes, and its bytes; None where there is none.

    (HDF5 File Format Specification, "Disk Format: Level 0A - Format Signature and Superblock".)
    """
    at = 0
    while at + len(_SIGNATURE) <= size_bytes:
        file.seek(at)
        block = file.read(_SUPERBLOCK_BYTES)
        if block.startswith(_SIGNATURE):
            return at, block
        at = 2 * at or 512
    return None


def _read(block: bytes, at: int) -> Hdf5:
    version = block[8] if len(block) > 8 else 0
    # Where the flags, the width of an address and the first of three addresses are: base, (free space or extension), end of file.
    flags_at, width_at, first = (11, 9, 12) if version >= 2 else (20, 13, 28 if version else 24)
    width = block[width_at] if len(block) > width_at else 0
    if width not in {2, 4, 8} or len(block) < first + 3 * width:
        return Hdf5(writing=False, swmr=False, end_bytes=at + first + 3 * (width or 8))  # ends within its superblock
    base, _, end = (int.from_bytes(block[first + i * width : first + (i + 1) * width], "little") for i in range(3))
    # The library takes the end for an absolute address, and moves it where the file was moved: behind a user block that came later.
    flags = block[flags_at]
    # Libraries before 1.10 left 3 in a version 0 or 1 for ever; 1 alone is a writer's. (Both met in files of facilities.)
    writing = bool(flags & _OPEN) and (version >= 2 or not flags & _CONSISTENT)
    return Hdf5(writing=writing, swmr=writing and bool(flags & _SWMR), end_bytes=end + at - base)


def _begun(path: Path) -> bool:
    """An HDF5 library may write data long before the superblock: until then the file is empty, or begins with nothing."""
    with path.open("rb", buffering=0) as file:
        return any(file.read(len(_SIGNATURE)))


@dataclass(frozen=True)
class Seen:
    """One look at a file: two looks that are equal are the same file, still."""

    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Signal:
    """A marker or manifest. `scan`: the number of the scan that first saw it as it is now; `mtime_ns`: its own."""

    mtime_ns: int
    scan: int


def vouched(file: Seen, changed_scan: int, signal: Signal) -> bool:
    """Whether a marker speaks for the file as it is: not for one that came or changed after it.

    Both orders are asked for, that of the scans and that of the mtimes: the first does not know what was before the agent started, the second
    believes clocks. Where one says no, the file has to be still like any other, which costs time and nothing else.
    """
    return changed_scan <= signal.scan and file.mtime_ns <= signal.mtime_ns
