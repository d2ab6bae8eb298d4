"""A home's hard limit, on a real XFS with project quotas.

Many kernels are built without XFS's quotas, this machine's perhaps too. So it runs in another one, user-mode Linux, which sees this machine's files
and has the image as its disk.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.requirements import require_command
from neve_hub import home_limits

MB = 2**20
DRIVER = Path(__file__).parents[1] / "fixtures" / "xfs_driver.py"


def test_what_is_written_ends_at_the_limit_and_a_home_keeps_its_id(tmp_path):
    kernel = require_command("linux.uml", what="a kernel with XFS's quotas")
    mkfs = require_command("mkfs.xfs", what="XFS")
    image, told, start = tmp_path / "disk", tmp_path / "told.json", tmp_path / "init"
    with image.open("wb") as file:
        file.truncate(400 * MB)
    subprocess.run([mkfs, "-q", str(image)], check=True)
    command = shlex.join([sys.executable, str(DRIVER), str(told), str(tmp_path)])
    start.write_text(f"#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec {command}\n")
    start.chmod(0o755)
    # It ends in a panic, as its first process ends: what that one told is what counts.
    disk = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", f"ubd0={image}"]
    words = [kernel, "mem=256M", f"umid=neve-{os.getpid()}", *disk, f"init={start}", "con=null", "con0=null,fd:1"]
    ran = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False, env={"HOME": str(tmp_path)})
    if "ptrace set fp regs failed" in ran.stdout:  # by any program, before ours
        pytest.skip("this processor has more registers (AMX) than user-mode Linux can keep: run it on another one")
    assert told.exists(), ran.stdout[-2000:]
    seen = json.loads(told.read_text())
    assert "failed" not in seen, seen["failed"]
    assert seen == {
        "outside": True,
        "mountpoint": True,
        "put": [True, True],
        "ids differ": True,
        "inherits": True,
        "not its parent's": True,
        # 20 MB and a twentieth, of which 5 were there before there was a limit.
        "filled": 16 * MB,
        "refusal": "ENOSPC",
        "measured": 21 * MB,
        "other": 21 * MB,
        "larger": True,
        "ids stay": True,
        "filled more": 21 * MB,  # of 42 in all
    }


def test_another_file_system_keeps_none():
    assert home_limits.mountpoint(Path("/proc")) is None
    assert not home_limits.put(Path("/proc"), "neve-1-home-alice", MB)
