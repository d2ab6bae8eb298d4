"""`make bench`: /data by s3fs, as the hub mounts it, beside `rclone mount` (with and without its disk cache) and `weed mount`, in one run.

One SeaweedFS on loopback, one project: 2,000 files of 20 kB in four folders, and a NeXus stack of 1 GiB (512 frames of 2 MiB, one to a chunk). Each
measure has a mount of its own, so that nothing is in its caches or the kernel's; the ways take turns, every round in the other order; what is read
is compared with what was sent. rclone lists anew after 5 s, as s3fs does, takes objects' times from the list, and asks for 1 MiB at first, for more
when a file is read on. Seconds, and processor seconds of reader, mount and store together (they tell what others on the machine blur), each with its
ratio to s3fs: above 1 is slower. Memory is the mount's peak (VmHWM), disk what it holds there at the end. Then what /data needs: a new and a replaced
object within 10 s, odd names, folders' own objects, times.

`weed mount` speaks with the filer, which asks nobody who they are: a mount of one project could read, write and delete everything in the store. It
shows versioned objects as folders of versions, so it gets a copy of the data in a bucket without versions, which Névé does not have. Prints figures
and judges nothing.

`--once`: one round; `--small`: 400 files, 64 frames; `--s3fs OPTIONS` (may be repeated): s3fs once more with these options added; `--only ROW`: the
measures whose names hold this, and what /data needs.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.archive import settings_toml
from fixtures.processes import BIN, wait_until
from fixtures.store import store_until
from neve_hub import mounts
from reading import PATTERNS, read, write
from reception import has_rclone

from archiver.config import load

FOLDERS, FILES = 4, 100 if "--small" in sys.argv else 500  # in each folder
SMALL = 20_000
PIECE, PIECES = 65_536, 64
ROUNDS = 3
VISIBLE_S = 10.0
ODD = [
    "a b",
    "a+b%20c",
    "é",
    "e\N{COMBINING ACUTE ACCENT}",
    "日本",
    "a:b*c?",
    "back\\slash",
    "q\"u'o`te",
    "tab\there",
    "line\nend",
    "end ",
    ".hidden",
    "~x",
    "#h&x=1;y",
]


@dataclass(frozen=True)
class Figures:
    seconds: float
    cpu_s: float
    mount_cpu_s: float
    peak_mb: float
    disk_mb: float


class Bench:
    def __init__(self, folder: Path, ending: ExitStack) -> None:
        self.store, weed = store_until(ending, folder)
        self.folder, self.weed = folder, psutil.Process(weed.pid)
        s3_port = int(self.store.endpoint_url.rpartition(":")[2])
        self.filer = f"127.0.0.1:{s3_port - 2}.{s3_port - 1}"
        buckets = self.store.buckets("hot", "archive", "deep")
        self.bucket, self.plain = buckets["hot"], f"{buckets['hot']}-plain"
        self.s3 = self.store.client()
        self.s3.create_bucket(Bucket=self.plain)
        self.passwd = folder / "passwd"
        self.passwd.touch(mode=0o600)
        self.passwd.write_text(f"{self.store.access_key_id}:{self.store.secret_access_key}", "utf-8")
        (folder / "neve.toml").write_text(settings_toml(folder, self.store, buckets), "utf-8")
        self.settings = load(folder / "neve.toml")
        self.ways: dict[str, Callable[[Path], list[str]]] = {"s3fs": self.by_s3fs}
        for number, argument in enumerate(sys.argv):
            if argument == "--s3fs":
                self.ways[f"s3fs {sys.argv[number + 1]}"] = partial(self.by_s3fs, more=f",{sys.argv[number + 1]}")
        if has_rclone():
            self.ways |= {"rclone": self.by_rclone, "rclone, disk cache": partial(self.by_rclone, cache="full")}
        else:
            print("rclone is not on this machine and could not be installed (apt-get install rclone): not compared with it", flush=True)
        self.ways["weed"] = self.by_weed
        self.names = [f"snow/saxs/run{run}/scan{number:04}.dat" for run in range(FOLDERS) for number in range(FILES)]
        self.small = os.urandom(SMALL)

    def by_s3fs(self, place: Path, more: str = "") -> list[str]:
        command = mounts.s3fs_command(self.settings, self.passwd, "snow", place, self.passwd.parent)
        return [*command[:-1], command[-1] + more]

    def by_rclone(self, place: Path, cache: str = "off") -> list[str]:
        remote = f":s3,provider=Other,env_auth=true,region={self.store.region},endpoint='{self.store.endpoint_url}':{self.bucket}/snow"
        options = (
            "--read-only --allow-other --uid=1000 --gid=1000 --umask=0222 --use-server-modtime --no-checksum --poll-interval=0 --dir-cache-time=5s"
        )
        options += f" --buffer-size=0 --vfs-read-chunk-size=1M --vfs-cache-mode={cache} --vfs-cache-max-size=10G"
        return ["rclone", "mount", remote, str(place), *options.split(), f"--cache-dir={self.folder / 'rclone'}", "--config=/dev/null"]

    def by_weed(self, place: Path, bucket: str = "") -> list[str]:
        options = f"-filer={self.filer} -readOnly -umask=0222 -cacheMetaTtlSec=5 -cacheDir={self.folder / 'weed'}"
        return [str(BIN / "weed"), "mount", f"-filer.path=/buckets/{bucket or self.plain}/snow", f"-dir={place}", *options.split()]

    def send(self, stack: Path) -> None:
        for bucket in {self.bucket, self.plain}:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda name, bucket=bucket: self.s3.put_object(Bucket=bucket, Key=name, Body=self.small), self.names))
            for number, name in enumerate(ODD):
                self.s3.put_object(Bucket=bucket, Key=f"snow/odd/{name}", Body=f"{number}".encode())
            self.s3.put_object(Bucket=bucket, Key="snow/marked/", Body=b"")
            self.s3.put_object(Bucket=bucket, Key="snow/marked/inside.txt", Body=b"inside")
            self.s3.upload_file(str(stack), bucket, "snow/saxs/stack.h5")

    @contextmanager
    def mounted(self, command: Callable[[Path], list[str]]) -> Iterator[tuple[Path, psutil.Process]]:
        place = Path(tempfile.mkdtemp(prefix="mount-", dir=self.folder))
        env = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}  # rclone (1.60) does not start with it
        env |= {"AWS_ACCESS_KEY_ID": self.store.access_key_id, "AWS_SECRET_ACCESS_KEY": self.store.secret_access_key}
        with (self.folder / "mounts.log").open("ab") as log:
            process = subprocess.Popen(command(place), env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(lambda: os.path.ismount(place), 30, "the mount", pause_s=0.01, still=lambda: None if process.poll() is None else log.name)
            yield place, psutil.Process(process.pid)
        finally:
            subprocess.run(["umount", "-l", place], check=False)
            process.kill()
            process.wait()
            place.rmdir()
            for cache in ("rclone", "weed"):
                shutil.rmtree(self.folder / cache, ignore_errors=True)

    def measure(self, way: str, first: Callable[[Path], object], what: Callable[[Path], object]) -> Figures:
        """`what` on a new mount, after `first` that does not count."""
        with self.mounted(self.ways[way]) as (place, mount):
            first(place)
            before, mount_before, begun = self._cpu(mount), cpu_of(mount), time.monotonic()
            what(place)
            seconds = time.monotonic() - begun
            cpu, mount_cpu = self._cpu(mount) - before, cpu_of(mount) - mount_before
            return Figures(seconds, cpu, mount_cpu, peak_mb(mount), self.disk_mb(mount))

    def _cpu(self, mount: psutil.Process) -> float:
        return cpu_of(mount) + cpu_of(self.weed) + time.process_time()

    def disk_mb(self, mount: psutil.Process) -> float:
        """What the mount keeps on disk: files without a name that it has open, and its cache."""
        files = list(Path(f"/proc/{mount.pid}/fd").iterdir()) + [file for cache in ("rclone", "weed") for file in (self.folder / cache).rglob("*")]
        kept = 0
        for file in files:
            with suppress(OSError):  # closed meanwhile
                if file.is_file() and (not file.is_symlink() or str(file.readlink()).endswith("(deleted)")):
                    kept += file.stat().st_blocks * 512
        return kept / 1e6


def cpu_of(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def peak_mb(process: psutil.Process) -> float:
    text = Path(f"/proc/{process.pid}/status").read_text("ascii")
    return int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def nothing(place: Path) -> None:
    place.stat()


def walk(place: Path) -> list[Path]:
    """Every path below, as `find` lists it."""
    return [Path(folder, name) for folder, _, names in os.walk(place / "saxs") for name in names]


def names(place: Path) -> list[str]:
    return [path.name for path in place.iterdir()]


def listed(place: Path) -> None:
    if (found := len(walk(place))) != FOLDERS * FILES + 1:
        raise SystemExit(f"{found} files are listed")


def status(place: Path) -> None:
    """As `ls -lR` does."""
    if (found := sum(path.stat().st_size == SMALL for path in walk(place))) != FOLDERS * FILES:
        raise SystemExit(f"{found} files have their size")


def read_small(place: Path, expected: bytes) -> None:
    for path in (place / "saxs/run0").iterdir():
        if path.read_bytes() != expected:
            raise SystemExit(f"{path} is not what was sent")


def read_through(place: Path, expected: int) -> None:
    with (place / "saxs/stack.h5").open("rb", buffering=0) as file:
        size = sum(len(piece) for piece in iter(lambda: file.read(1 << 20), b""))
    if size != expected:
        raise SystemExit(f"{size} bytes were read")


def read_pieces(place: Path, stack: Path) -> None:
    dice = random.Random(7)
    with (place / "saxs/stack.h5").open("rb", buffering=0) as file, stack.open("rb", buffering=0) as source:
        for _ in range(PIECES):
            at = dice.randrange(stack.stat().st_size - PIECE)
            if os.pread(file.fileno(), PIECE, at) != os.pread(source.fileno(), PIECE, at):
                raise SystemExit(f"what was read at {at} is not what was sent")


def read_frames(place: Path, pattern: str, expected: int) -> None:
    import h5py

    with h5py.File(place / "saxs/stack.h5", "r", locking=False) as file:
        if (found := read(file["entry/data/data"], pattern)) != expected:
            raise SystemExit(f"{pattern}: {found} instead of {expected}")


def until(seen: Callable[[], bool]) -> float:
    """Seconds until it is seen; infinite after two minutes."""
    begun = time.monotonic()
    while time.monotonic() - begun < 120:
        try:
            if seen():
                return time.monotonic() - begun
        except OSError:
            pass
        time.sleep(0.1)
    return float("inf")


def needs(bench: Bench, way: str) -> Iterator[str]:
    """What /data needs beside speed, in words."""
    bucket = bench.plain if way == "weed" else bench.bucket
    with bench.mounted(bench.ways[way]) as (place, _):
        folder = place / "new"
        bench.s3.put_object(Bucket=bucket, Key="snow/new/old.txt", Body=b"old")
        until(lambda: (folder / "old.txt").read_bytes() == b"old")
        waited = [0.0, 0.0]
        for number in range(3):
            names(folder)
            (folder / f"{number}.txt").exists()
            bench.s3.put_object(Bucket=bucket, Key=f"snow/new/{number}.txt", Body=b"new")
            came = until(lambda name=f"{number}.txt": name in names(folder) and (folder / name).read_bytes() == b"new")
            text = b"longer" * (number + 1)
            bench.s3.put_object(Bucket=bucket, Key="snow/new/old.txt", Body=text)
            replaced = until(lambda text=text: (folder / "old.txt").read_bytes() == text)
            waited = [max(pair) for pair in zip(waited, (came, replaced), strict=True)]
        for what, seconds in zip(("new", "replaced"), waited, strict=True):
            yield f"{what} object after {seconds:.1f} s at most (goal {VISIBLE_S:.0f} s)"
        wrong = []
        for number, name in enumerate(ODD):
            try:
                right = name in names(place / "odd") and (place / "odd" / name).read_bytes() == str(number).encode()
            except OSError:
                right = False
            wrong += [] if right else [name]
        yield f"odd names {len(ODD) - len(wrong)} of {len(ODD)}" + (f", not {wrong}" if wrong else "")
        shown = names(place / "marked")
        yield f"a folder's own object {'hidden' if shown == ['inside.txt'] else shown}"
        key = "snow/saxs/run0/scan0000.dat"
        of_object = bench.s3.head_object(Bucket=bucket, Key=key)["LastModified"].timestamp()
        yield f"times {'right' if abs((place / key.removeprefix('snow/')).stat().st_mtime - of_object) < 2 else 'wrong'}"


def told(row: str, found: dict[str, list[Figures]]) -> None:
    median: Callable[[Iterator[float]], float] = statistics.median
    for way, ours in found.items():
        ratio, cpu = (
            median(getattr(o, what) / max(getattr(r, what), 1e-6) for o, r in zip(ours, found["s3fs"], strict=True)) for what in ("seconds", "cpu_s")
        )
        spent = f"processor {median(o.cpu_s for o in ours):6.2f} s ({cpu:5.2f}), the mount's {median(o.mount_cpu_s for o in ours):5.2f} s"
        held = f"memory {max(o.peak_mb for o in ours):4.0f} MB, disk {max(o.disk_mb for o in ours):5.0f} MB"
        print(f"{row:<30} {way:<18} {median(o.seconds for o in ours):7.2f} s ({ratio:5.2f}), {spent}, {held}", flush=True)


def main() -> None:
    if (reason := mounts.missing()) is not None:
        print(f"mounts are not measured: {reason}", flush=True)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is mounted goes
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="neve-bench-")))
        bench = Bench(folder, ending)
        stack = folder / "stack.h5"
        sums = write(stack, {})
        size = stack.stat().st_size
        bench.send(stack)
        number_of = FOLDERS * FILES
        rows: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
            f"list {number_of:,} files": (nothing, listed),
            "list them again": (listed, listed),
            f"list {number_of:,}, size and time": (nothing, status),
            "that again": (status, status),
            f"read {FILES} files of 20 kB": (nothing, partial(read_small, expected=bench.small)),
            f"read {size / 2**20:,.0f} MiB": (nothing, partial(read_through, expected=size)),
            f"{PIECES} pieces of 64 kB": (nothing, partial(read_pieces, stack=stack)),
            **{f"HDF5, {pattern}": (nothing, partial(read_frames, pattern=pattern, expected=sums[pattern])) for pattern in PATTERNS},
        }
        for row, (first, what) in rows.items():
            if "--only" in sys.argv and sys.argv[sys.argv.index("--only") + 1] not in row:
                continue
            found: dict[str, list[Figures]] = {way: [] for way in bench.ways}
            for number in range(1 if "--once" in sys.argv else ROUNDS):
                for way in list(bench.ways)[:: 1 if number % 2 == 0 else -1]:
                    found[way].append(bench.measure(way, first, what))
            told(row, found)
        for way in bench.ways:
            print(f"{way}: {'; '.join(needs(bench, way))}", flush=True)
        with bench.mounted(partial(bench.by_weed, bucket=bench.bucket)) as (place, _):
            print(f"weed shows what has versions as {sorted(names(place / 'odd'))[:2]}", flush=True)


if __name__ == "__main__":
    main()
