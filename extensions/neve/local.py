"""Bytes as a file of this machine, for libraries that open nothing but paths."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neve.sources import Handle

PIECE_BYTES = 2**20


@contextmanager
def as_path(handle: Handle, suffix: str = "") -> Iterator[Path]:
    """The path itself, or a temporary copy of what came from a store, gone when the block ends."""
    if isinstance(handle, Path):
        yield handle
        return
    with tempfile.TemporaryDirectory(prefix="neve-") as folder:
        path = Path(folder) / f"data{suffix}"
        with path.open("wb") as copy:
            shutil.copyfileobj(handle, copy, PIECE_BYTES)
        yield path


def whole(handle: Handle) -> bytes:
    """All of its bytes."""
    return handle.read_bytes() if isinstance(handle, Path) else handle.read()
