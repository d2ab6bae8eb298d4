"""A hard limit for a home, where its file system keeps one: XFS mounted with project quotas (`prjquota`).

Law: a home's project id stands in its folder, so it stays what it is whatever is moved or lost; an id that it inherits from its parent is none of its
own. At `hub.home_quota` the file system's soft limit stands, a twentieth above it the hard one: what is open can still be saved.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

_FS_IOC_FSGETXATTR = 0x801C581F  # linux/fs.h; struct fsxattr: xflags, extsize, nextents, projid, cowextsize, padding
_FSXATTR = struct.Struct("5I8x")
_WITHIN_S = 60.0
_BLOCK = 1024  # xfs_quota rounds limits to these


class HomeLimitError(Exception):
    """The limit does not stand, and why."""


def mountpoint(home: Path) -> Path | None:
    """Where the home's file system is mounted, when that is XFS with project quotas; else None."""
    status = home.stat()
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        place, _, kind = line.partition(" - ")
        fields, (name, _, options) = place.split(" "), kind.split(" ", 2)
        if fields[2] == device and fields[3] == "/" and name == "xfs" and {"prjquota", "pquota"} & set(options.split(",")):
            return Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
    return None


def project_id(folder: Path) -> int:
    """0: none."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        return int(_FSXATTR.unpack(fcntl.ioctl(handle, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size)))[3])
    finally:
        os.close(handle)


def put(home: Path, name: str, quota_bytes: int) -> bool:
    """Limit a home that nobody works in now; whether its file system can. `name`: the home's on this machine. Raises `HomeLimitError`, `OSError`."""
    mounted = mountpoint(home)
    if mounted is None or os.geteuid() != 0:
        return False
    if not shutil.which("xfs_quota"):
        raise HomeLimitError("xfs_quota is not installed (Debian: apt-get install xfsprogs)")
    own = project_id(home)
    new = own in (0, project_id(home.parent))
    number = _free_id(mounted, name) if new else own
    soft, hard = quota_bytes // _BLOCK * _BLOCK, (quota_bytes + quota_bytes // 20) // _BLOCK * _BLOCK
    commands = [*([f"project -s {number}"] if new else []), f"limit -p bsoft={soft} bhard={hard} {number}"]
    said = _xfs_quota(mounted, home, number, *commands)
    # It ends with 0 whatever happened: what stands tells.
    if project_id(home) != number or _limits(mounted).get(number) != (soft // _BLOCK, hard // _BLOCK):
        raise HomeLimitError(f"xfs_quota did not set it: {said or 'without a word'}")
    return True


def _free_id(mounted: Path, name: str) -> int:
    taken = _limits(mounted).keys()
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) >> 1
    while number in taken or number == 0:
        number = (number + 1) % 2**31
    return number


def _limits(mounted: Path) -> dict[int, tuple[int, int]]:
    """Project id → its soft and hard limit in kB, of all that are known."""
    listed = _xfs_quota(mounted, None, 0, "report -p -n -N -b")
    return {int(number): (int(soft), int(hard)) for number, soft, hard in re.findall(r"^#(\d+) +\d+ +(\d+) +(\d+)", listed, re.MULTILINE)}


def _xfs_quota(mounted: Path, home: Path | None, number: int, *commands: str) -> str:
    """What it says. Paths are told in a file: its command line knows no quotes."""
    with tempfile.TemporaryDirectory(prefix="neve-quota-") as folder:
        projects, names = Path(folder) / "projects", Path(folder) / "names"
        projects.write_text(f"{number}:{home}\n" if home else "", "utf-8")
        names.write_text("", "utf-8")
        words = [word for command in commands for word in ("-c", command)]
        done = subprocess.run(
            ["xfs_quota", "-x", "-D", str(projects), "-P", str(names), *words, str(mounted)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_WITHIN_S,
            check=False,
        )
    return (done.stdout + done.stderr).strip()
