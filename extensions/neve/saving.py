"""Files of a home saved so that whoever reads meanwhile sees them whole: as they were, or as they are from then on.

Law: what is saved stands beside the old file until all of it is on the disk, then takes its name in one step. Jupyter (jupyter_server 2) writes over
the old one in place; who reads meanwhile, another tab or the lab itself, finds half a notebook, takes it for damaged, moves it to `NAME.invalid` and
puts a copy of the old one back: what was being saved is lost.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def can_replace(path: Path) -> bool:
    """Whether a new file can take the place of what is there, if anything is: not of what has other names, another owner, or is no plain file."""
    if not os.access(path.parent, os.W_OK):
        return False
    try:
        there = path.stat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(there.st_mode) and there.st_nlink == 1 and there.st_uid == os.geteuid()


@contextmanager
def replacing(path: Path, *, text: bool = True, encoding: str = "utf-8", **how: Any) -> Iterator[IO[Any]]:
    """A file to write to, which becomes `path` at the end; where that fails, all is as it was. Raises OSError."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    if mode is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "It is read-only", str(path))
    beside = path.with_name(f".~{secrets.token_hex(8)}")
    try:
        with beside.open("x" if text else "xb", encoding=encoding if text else None, **how) as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
