"""Noticing that something happened in an inbox, between two scans.

Law: events are a hint, and the scan is the truth: queues overflow, network shares send none, and watches run out. What cannot be watched is said once
and looked at more often instead.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

_REMOTE = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afpfs",
    "9p",
    "ceph",
    "lustre",
    "gpfs",
    "beegfs",
    "glusterfs",
    "afs",
    "ncpfs",
    "davfs",
    "virtiofs",
}
_FUSE = "fuse."  # sshfs and its kin: what others do in them is not told
_DRIVE_REMOTE = 4  # GetDriveTypeW
_SETUP_S = 10.0  # so long is waited for the watches before the first scan: a large tree takes time
_LOOK_MS = 500
_MOST = 5_000  # touched paths held; beyond that the inbox is scanned


class Noticing:
    """Touched paths of an inbox, as `watchfiles` tells them. `why_not`: why there are none, in words; empty when there are.

    `wake` is called, from a thread, whenever there is something.
    """

    def __init__(self, inbox: Path, wake: Callable[[], None], *, wanted: bool = True) -> None:
        self._inbox, self._wake = inbox, wake
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._touched: set[str] = set()
        self._up, self._late = threading.Event(), False
        self._overflow = False
        self._thread: threading.Thread | None = None
        self.why_not = _why_not(inbox) if wanted else "they are off"
        if not self.why_not:
            self._thread = threading.Thread(target=self._watch, name="noticing", daemon=True)
            self._thread.start()
            self._late = not self._up.wait(_SETUP_S)

    def taken(self) -> list[Path] | None:
        """The paths touched since the last time; None when there were too many to hold, so that only a scan tells."""
        with self._lock:
            touched, overflow = self._touched, self._overflow
            self._touched, self._overflow = set(), False
        return None if overflow else [Path(path) for path in sorted(touched)]

    def note(self, paths: set[str]) -> None:
        """Something happened at `paths`."""
        with self._lock:
            self._touched |= paths
            if len(self._touched) > _MOST:
                self._touched, self._overflow = set(), True
        self._wake()

    def close(self) -> None:
        """End the watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        from watchfiles import watch  # noqa: PLC0415 - optional

        try:
            for changes in watch(
                self._inbox, watch_filter=None, stop_event=self._stop, rust_timeout=_LOOK_MS, yield_on_timeout=True, raise_interrupt=False,
                ignore_permission_denied=True,
            ):  # fmt: skip
                if not self._up.is_set():
                    self._set_up()
                if changes:
                    self.note({path for _, path in changes})
        except (OSError, RuntimeError) as error:  # no more watches (Linux), or the folder is gone
            self.why_not = f"watching ended ({error})"
            with self._lock:
                self._overflow = True
            self._wake()
        finally:
            self._up.set()

    def _set_up(self) -> None:
        """The watches are there from now on: a scan that began before has to be repeated."""
        self._up.set()
        if self._late:
            with self._lock:
                self._overflow = True
            self._wake()


def _why_not(inbox: Path) -> str:
    if is_remote(inbox):
        return "network mounts send none"
    return "" if importlib.util.find_spec("watchfiles") else "watchfiles is not installed"


def is_remote(path: Path) -> bool:
    """Whether a folder lies on another machine, as far as this one says."""
    if os.name == "nt":
        drive = PureWindowsPath(path).drive
        return drive.startswith("\\\\") or ctypes.windll.kernel32.GetDriveTypeW(f"{drive}\\") == _DRIVE_REMOTE  # type: ignore[attr-defined]
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape")
    except OSError:
        return False  # no Linux: events are tried
    kind = kind_of_mount(mounts, os.path.realpath(path))
    return kind in _REMOTE or kind.startswith(_FUSE)


def kind_of_mount(mounts: str, path: str) -> str:
    """The file system that `path` lies on, by the lines of /proc/mounts."""
    best, kind = "", ""
    for line in mounts.splitlines():
        at, found = [*line.split(" "), "", "", ""][1:3]
        at = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), at)
        below = at in {"/", path} or path.startswith(f"{at}/")
        if at and below and len(at) >= len(best):
            best, kind = at, found
    return kind
