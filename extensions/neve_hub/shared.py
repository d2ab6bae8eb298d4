"""/shared: one writable folder of this machine per project, and who holds on to what is shown of it.

Law: a project's folder is made for its first member's notebook and never deleted. The folder above it is root's alone, so that nobody inside can put
a link in its place; what lies in it is others', and nothing here looks inside. A process is ended only where a notebook sees the view that it lost.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from neve_hub.instance import Instance

ACCOUNT = 1000  # of the notebook image, user and group: all members write as this one
_MOST = 100_000  # links of a notebook's processes that are looked through, some seconds' worth: a notebook has a few thousand


def folder(here: Instance, project: str) -> Path:
    """What a project's members share, made where it is not there yet. Raises OSError."""
    place = here.shared / project
    here.shared.mkdir(mode=0o700, exist_ok=True)
    place.mkdir(mode=0o755, exist_ok=True)
    if place.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, "Links are not followed; mount another disk there instead", str(place))
    os.chown(place, ACCOUNT, ACCOUNT, follow_symlinks=False)  # each time: it may have been made by a run that was killed before this line
    return place


def end(here: Instance, view: Path, device: str, *, all_that_see_it: bool = False) -> int:
    """End the processes of a notebook that hold something open in a view below `here.data`, the file system `device`: how many.

    What is open nowhere but in a message between sockets is found by nobody: then all of the notebook has to go. Who has more open than is
    looked through counts as holding on.
    """
    tree = f"/{view.parent.relative_to(here.data)}"
    ended, looked = 0, itertools.count(1)
    known: dict[str, set[str]] = {}  # mount namespace → the view's copies in it
    for process in Path("/proc").glob("[0-9]*"):
        try:
            handle = os.pidfd_open(int(process.name))  # whom we look at is whom we end
        except OSError:
            continue  # it has ended
        try:
            space = str((process / "ns/mnt").readlink())
            if space not in known:
                known[space] = _copies((process / "mountinfo").read_text("utf-8"), device, tree, view.name)
            if known[space] and (all_that_see_it or _holds(process, known[space], looked)):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                ended += 1
        except OSError:
            continue  # it has ended
        finally:
            os.close(handle)
    return ended


def _copies(mountinfo: str, device: str, tree: str, project: str) -> set[str]:
    """Numbers of the mounts that show a project where a user's tree is mounted by itself: in their notebook, and not on this machine."""
    mounts = [line.split(" ") for line in mountinfo.splitlines()]
    trees = {number for number, _, its, root, *_ in mounts if its == device and root == tree}
    return {number for number, parent, _, _, place, *_ in mounts if parent in trees and place.endswith(f"/{project}")}


def _holds(process: Path, copies: set[str], looked: Iterator[int]) -> bool:
    """Whether a process works in one of these mounts, or has something of it open or mapped."""
    return any(next(looked) > _MOST or _mount_of(link) in copies for link in _links(process))


def _links(process: Path) -> Iterator[str]:
    yield from (f"{process}/{name}" for name in ("cwd", "root", "exe"))
    for name in ("fd", "map_files"):
        with os.scandir(process / name) as links:
            yield from (link.path for link in links)


def _mount_of(link: str) -> str | None:
    """The number of the mount that a process's link leads to; nothing is opened or followed by name."""
    try:
        file = os.open(link, os.O_PATH)
    except OSError:
        return None  # closed meanwhile
    try:
        said = Path(f"/proc/self/fdinfo/{file}").read_text("utf-8")
    finally:
        os.close(file)
    return said.partition("mnt_id:")[2].split()[0]
