"""`make bench`: how long from `neve-run` to the login page, and how much memory each process takes at most.

Prints figures and judges nothing. Starts are measured installed, in a fresh home each (first start) and again in the same one (second
start), from the moment the command is given until GET /hub/login is a login form. Peak memory is VmHWM (peak resident set, MB) of each
process below the command, read when the demo data has been received and copied.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.instance import RunningInstance, start_instance  # what the tests start, too
from fixtures.ports import INSTANCE, find_base
from fixtures.processes import BIN

ROUNDS = 3


def peaks_mb(parent: int) -> dict[str, float]:
    """Peak resident memory of each process below `parent`, by what it is."""
    found: dict[str, float] = {}
    for process in psutil.Process(parent).children(recursive=True):
        try:
            words = process.cmdline()
            status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
        except (psutil.Error, OSError):
            continue
        peak = next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)
        name = name_of(words)
        found[name] = max(found.get(name, 0.0), peak)
    return found


def name_of(words: list[str]) -> str:
    """`python …/archiver worker` is the worker: program and subcommand, without interpreter and folders."""
    words = [w for w in words if not Path(w).name.startswith("python") and w not in {"-m", "-P"}]
    return " ".join(Path(w).name for w in words[:2] if not w.startswith("-")) or "?"


def stop(running: RunningInstance) -> None:
    running.process.interrupt()
    running.process.popen.wait(120)


def main() -> None:
    """Measure and print."""
    first, second, peaks = [], [], {}
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder, ExitStack() as held:
            home, port = Path(folder) / "home", find_base(INSTANCE, held)
            env = {"NEVE_HUB__DOCKER": "never"}
            # The demo data come after the login page; all of them only where memory is read.
            demo = "full" if number == ROUNDS - 1 else "small"
            running = start_instance(home, port, env=env, command=(BIN / "neve-run", "--demo", demo))
            first.append(running.login_page_in_s)
            if number == ROUNDS - 1:
                time.sleep(5)
                peaks = peaks_mb(running.process.popen.pid)
            stop(running)
            again = start_instance(home, port, env=env)
            second.append(again.login_page_in_s)
            stop(again)
    for name, times in (("first start to login page", first), ("second start to login page", second)):
        print(f"{name}: median {statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f}, {len(times)} runs; goal 15 s)")
    for name, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        print(f"peak memory of {name}: {peak:.0f} MB")


if __name__ == "__main__":
    main()
