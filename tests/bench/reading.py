"""`make bench`: a NeXus stack of 1 GiB read in the notebook, against h5py on the mount and on s3fs with its default settings, in one run.

512 frames of 2 MiB, one to a chunk as detectors write them, uncompressed and with bitshuffle/lz4, sent into a real archive on loopback: in hot, and
as a member of a bundle of which only the archive's copy is left. Read frame by frame, every 7th frame, and as one pixel through all frames. Each read
is a process of its own, which looks the dataset up and opens it anew; the ways take turns, every round in the other order; what is read is summed and
compared with the source. Seconds are of the reading, imports left out, processor seconds those of reader, store and mount together: they tell what
others on the machine blur. Memory is the reader's peak (VmHWM). A ratio above 1 means that ours is quicker. Prints figures and judges nothing.
Without FUSE or root the mount is left out. `--once`: one round; `--frames`: frame by frame only;
`--plain`, `--packed`: that one only; `--small`: 64 frames.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures import archive as archives
from fixtures.ports import find_base
from fixtures.processes import wait_until
from fixtures.site import TokenTable
from fixtures.store import store_until

FRAMES, SIDE = 64 if "--small" in sys.argv else 512, 1024
ROUNDS = 3
PATTERNS = ("frames", "every 7th", "one pixel")
OURS = {"reader on the mount": ("h5py on the mount", 0.9), "reader over S3": ("h5py on s3fs", 1.0), "reader of a bundle": ("h5py on s3fs", 0.7)}
"""Our ways, what each is measured against, and the goal."""


@dataclass(frozen=True)
class Figures:
    seconds: float
    cpu_s: float
    peak_mb: float


def total(frame: Any) -> int:
    return int(frame.sum(dtype="u8"))


def read(data: Any, pattern: str) -> int:
    """The sum of what is read of a (frame, y, x) array."""
    if pattern == "one pixel":
        return total(data[:, 500, 500])
    return sum(total(data[number]) for number in range(0, len(data), 7 if pattern == "every 7th" else 1))


@contextmanager
def opened(way: str, where: dict[str, str]) -> Iterator[Any]:
    import h5py
    import hdf5plugin  # noqa: F401
    import neve
    import s3fs

    begun = time.monotonic()
    if way == "h5py on the mount":
        with h5py.File(where["path"], "r", locking=False) as file:
            yield file["entry/data/data"], begun
    elif way == "h5py on s3fs":
        with s3fs.S3FileSystem(endpoint_url=where["endpoint"]).open(where["object"]) as raw, h5py.File(raw, "r") as file:
            yield file["entry/data/data"], begun
    elif way.startswith("dask"):
        data = neve.catalog()[where["hot"]].to_dask()["data"]

        class Computed:
            def __len__(self) -> int:
                return len(data)

            def __getitem__(self, index: Any) -> Any:
                return data[index].compute().to_numpy()

        yield Computed(), begun
    else:
        with neve.catalog()[where["bundled" if "bundle" in way else "hot"]].h5() as file:
            yield file["entry/data/data"], begun


def child(way: str, pattern: str, where: dict[str, str]) -> None:
    """One read; says its figures."""
    # Before the clock starts.
    import aiobotocore.session  # type: ignore[import-untyped]  # noqa: F401
    import neve.chunked
    import neve.intake_catalog  # noqa: F401
    import xarray  # noqa: F401

    before = time.process_time()
    with opened(way, where) as (data, begun):
        found = read(data, pattern)
        seconds = time.monotonic() - begun
    status = Path("/proc/self/status").read_text("ascii")
    peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    print(json.dumps({"seconds": seconds, "cpu_s": time.process_time() - before, "peak_mb": peak_kb / 1024, "sum": found}))


def write(path: Path, how: dict[str, Any]) -> dict[str, int]:
    """A detector's stack; returns the sum that each pattern must find."""
    import h5py
    import numpy as np

    noise = np.random.default_rng(7).poisson(3, (8, SIDE, SIDE)).astype("u2")
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update(NX_class="NXentry", default="data")
        group = entry.create_group("data")
        group.attrs.update(NX_class="NXdata", signal="data", axes=["frame", "y", "x"])
        data = group.create_dataset("data", (FRAMES, SIDE, SIDE), "u2", chunks=(1, SIDE, SIDE), maxshape=(None, SIDE, SIDE), **how)
        data.attrs["units"] = "counts"
        for number in range(FRAMES):
            data[number] = np.roll(noise[number % len(noise)], number)
        for name, length in (("frame", FRAMES), ("y", SIDE), ("x", SIDE)):
            group[name] = np.arange(length)
    with h5py.File(path, "r") as file:
        return {pattern: read(file["entry/data/data"], pattern) for pattern in PATTERNS}


class Bench:
    def __init__(self, folder: Path, ending: ExitStack) -> None:
        self.store, weed = store_until(ending, folder)
        self.folder, self.others = folder, [psutil.Process(weed.pid)]
        (folder / "home").mkdir()
        text = archives.settings_toml(folder / "home", self.store, self.store.buckets("hot", "archive"), archive={"bundles": True})
        text = text.replace("[policy]", f"[policy]\ncopies_min_first = 1\nbundle_below_bytes = {4 << 30}\nbundle_max_bytes = {8 << 30}")
        text = text.replace('keep = "P730D"\n', "")  # two tiers: the archive is the last
        text += f'[api]\nbroker_role_arn = "arn:aws:iam::role/notebooks"\nsts_endpoint_url = "{self.store.endpoint_url}"\n'
        (folder / "neve.toml").write_text(text, "utf-8")
        now = datetime.now(UTC).replace(microsecond=0)
        self.archive = archives.Bench(folder, folder / "neve.toml", now)
        ending.callback(self.archive.archive.ledger.dispose)
        self.url = self._serve(ending)
        self.data = self._mount(ending)

    def _serve(self, ending: ExitStack) -> str:
        import uvicorn

        from archiver.pages import create_site

        hub = TokenTable()
        hub.add("alice", "snow")
        port = find_base((0,), ending)
        server = uvicorn.Server(uvicorn.Config(create_site(self.archive.archive, hub), host="127.0.0.1", port=port, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        ending.callback(lambda: (setattr(server, "should_exit", True), thread.join(20)))
        wait_until(lambda: server.started, 30, "the API")
        return f"http://127.0.0.1:{port}/services/archiver"

    def _mount(self, ending: ExitStack) -> Path | None:
        """The folder that is /data, mounted as the hub mounts it."""
        from neve_hub import mounts

        if (reason := mounts.missing()) is not None:
            print(f"no mount: {reason}", flush=True)
            return None
        data, passwd = self.folder / "data", self.folder / "passwd"
        (data / "snow").mkdir(parents=True)
        passwd.touch(mode=0o600)
        passwd.write_text(f"{self.store.access_key_id}:{self.store.secret_access_key}", "utf-8")
        process = subprocess.Popen(
            mounts.s3fs_command(self.archive.archive.settings, passwd, "snow", data / "snow", passwd.parent),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ending.callback(lambda: (subprocess.run(["umount", "-l", data / "snow"], check=False), process.send_signal(signal.SIGKILL), process.wait()))
        wait_until(lambda: os.path.ismount(data / "snow"), 30, "the mount")
        self.others.append(psutil.Process(process.pid))
        return data

    def receive(self, name: str, source: Path) -> dict[str, str]:
        """The file in a dataset in hot, and in one that has left it; where each way finds it."""
        folder = self.archive.folder / "sources" / "run"
        folder.mkdir(parents=True)
        (folder / "stack.h5").hardlink_to(source)
        (folder / "log.txt").write_text("done\n")
        from archiver import app

        later = self.archive.now
        self.archive.now = later - timedelta(days=300)
        (old,), _ = app.ingest(self.archive.archive, "snow", "saxs", f"{name}-old", [folder])
        self.archive.now = later
        self.archive.settle()
        self.archive.turn(hours=2)  # past the grace
        self.archive.settle()
        (new,), _ = app.ingest(self.archive.archive, "snow", "saxs", name, [folder])
        shutil.rmtree(folder)
        if "hot" in self.archive.tiers(old):
            raise SystemExit(f"{old.full_name} is still in hot")
        with self.archive.archive.ledger.read() as tx:
            keys = {file.path: tx.object(file.object_id).key for file in tx.files(new.id)}
        key = keys["stack.h5"]
        return {
            "hot": new.full_name,
            "bundled": old.full_name,
            "endpoint": self.store.endpoint_url,
            "object": f"{self.archive.archive.tiers['hot'].bucket}/{key}",
            "path": str((self.data or self.folder) / key),
        }

    def run(self, way: str, pattern: str, where: dict[str, str], expected: int) -> Figures:
        there = self.data if self.data is not None and "mount" in way else self.folder / "nothing"
        env = {
            **os.environ,
            "NEVE_API_URL": self.url,
            "JUPYTERHUB_API_TOKEN": "token-of-alice",
            "NEVE_DATA": str(there),
            "AWS_ACCESS_KEY_ID": self.store.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.store.secret_access_key,
            "AWS_REGION": self.store.region,
        }
        before = self._cpu()
        done = subprocess.run([sys.executable, __file__, "read", way, pattern, json.dumps(where)], env=env, stdout=subprocess.PIPE, check=True)
        said = json.loads(done.stdout)
        if said["sum"] != expected:
            raise SystemExit(f"{way} read {said['sum']} instead of {expected}")
        return Figures(said["seconds"], said["cpu_s"] + self._cpu() - before, said["peak_mb"])

    def _cpu(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.others)

    def measure(self, what: str, pattern: str, where: dict[str, str], expected: int, rounds: int) -> None:
        ways = ["h5py on the mount", "h5py on s3fs", *OURS, "dask on the mount", "dask over S3"]
        if self.data is None:
            ways = [way for way in ways if "mount" not in way]
        if pattern != "frames":
            ways = [way for way in ways if not way.startswith("dask")]
        found: dict[str, list[Figures]] = {way: [] for way in ways}
        for number in range(rounds):
            for way in ways if number % 2 == 0 else reversed(ways):
                found[way].append(self.run(way, pattern, where, expected))
        for way in ways:
            told(f"{what}, {pattern}: {way}", found, way)


def told(what: str, found: dict[str, list[Figures]], way: str) -> None:
    ours = found[way]
    median: Callable[[Any], float] = statistics.median
    said = f"{median([o.seconds for o in ours]):.2f} s, processor {median([o.cpu_s for o in ours]):.2f} s, peak {max(o.peak_mb for o in ours):.0f} MB"
    if not way.startswith("h5py"):
        for peer in [name for name in found if name.startswith("h5py")]:
            ratios = [p.seconds / o.seconds for p, o in zip(found[peer], ours, strict=True)]
            cpu = median([p.cpu_s / o.cpu_s for p, o in zip(found[peer], ours, strict=True)])
            goal = f"; goal {OURS[way][1]}" if OURS.get(way, ("", 0))[0] == peer else ""
            said += f"; {median(ratios):.2f} times {peer} ({', '.join(f'{r:.2f}' for r in ratios)}{goal}), {cpu:.2f} by processor"
    print(f"{what} {said}", flush=True)


def main() -> None:
    import hdf5plugin

    rounds = 1 if "--once" in sys.argv else ROUNDS
    kinds = {"uncompressed": {}, "bitshuffle/lz4": dict(hdf5plugin.Bitshuffle(cname="lz4"))}
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="neve-bench-")))
        bench = Bench(folder, ending)
        for number, (what, how) in enumerate(kinds.items()):
            if {"--plain", "--packed"} & set(sys.argv) and f"--{('plain', 'packed')[number]}" not in sys.argv:
                continue
            source = folder / "stack.h5"
            sums = write(source, how)
            size_bytes = source.stat().st_size
            where = bench.receive(f"stack-{number}", source)
            source.unlink()
            print(f"{what}: {FRAMES} frames of {SIDE} × {SIDE} (16 bits), {size_bytes / 2**20:,.0f} MiB, received and bundled", flush=True)
            for pattern in PATTERNS[:1] if "--frames" in sys.argv else PATTERNS:
                bench.measure(what, pattern, where, sums[pattern], rounds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        child(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
    else:
        main()
