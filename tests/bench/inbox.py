"""`make bench`: what `neve watch --once` needs for an inbox of very many small files: its peak of memory (VmHWM) and its time.

The agent is the real one, in a process of its own. At the other end stands in what counts and forgets, not the archiver: the first files are
sent whole to it, of the others it says that it knows them, so that the agent hashes each and asks again. With the archiver itself a part of
that number is sent, proven and closed (`--real N`). Prints figures and judges nothing. `inbox.py N`: so many files (default 1,000,000).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.processes import BIN
from reception import high_water_mb, real_archiver

SENT_WHOLE = 5_000
GOAL_MB = 500
BYTES = 10


class StandIn(ThreadingHTTPServer):
    """Answers what an archiver and its store would, counts, and keeps nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.lock = threading.Lock()
        self.asked = self.put = self.received = 0


class Answers(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: StandIn

    def log_message(self, *_about: object) -> None:
        pass

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.put += 1
        self._say(b"")

    def do_GET(self) -> None:
        ending = self.path.partition("?")[0].rsplit("/", 1)[-1]
        answers: dict[str, Any] = {
            "instrument": {"name": "saxs", "projects": ["snow"], "file_max_bytes": 2**40, "part_bytes": 2**24},
            "uploads": {"received": self.server.received, "verifying": 0, "sending": 0, "items": [], "next_cursor": None},
            "receipts": {"items": [], "next_cursor": None},
        }
        self._say(json.dumps(answers[ending]).encode())

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ending = self.path.rsplit("/", 1)[-1]
        dataset = {"id": 1, "name": "run", "full_name": "saxs/run", "project": "snow", "instrument": "saxs", "state": "open"}
        if ending == "report":
            self._say(None)
            return
        answers: dict[str, Any] = {"datasets": lambda: dataset, "close": lambda: {"items": [{**dataset, "state": "closed"}]}}
        answers |= {"uploads": lambda: {"items": [self._item(one) for one in said["files"]]}}
        answers |= {"done": lambda: {"items": [self._done(one["file_id"]) for one in said["files"]]}}
        self._say(json.dumps(answers[ending]()).encode())

    def _item(self, one: dict[str, Any]) -> dict[str, Any]:
        with self.server.lock:
            self.server.asked += 1
            number = self.server.asked
        item = {"file_id": number, "dataset_id": 1, "path": one.get("path", ""), "state": "known"}
        if one["sha256"] is not None:
            self._done(number)
            return {**item, "state": "received"}
        if number <= SENT_WHOLE:
            return {**item, "state": "put", "put": {"url": f"http://127.0.0.1:{self.server.server_port}/store/{number}", "headers": {}}}
        return item

    def _done(self, number: int) -> dict[str, Any]:
        with self.server.lock:
            self.server.received += 1
        return {"file_id": number, "state": "received", "error": None}

    def _say(self, body: bytes | None) -> None:
        self.send_response(204 if body is None else 200)
        self.send_header("Content-Type", "application/json")
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body or b"")
        self.wfile.flush()


def fill(inbox: Path, count: int) -> None:
    """All in one folder: the worst case for who lists it."""
    (inbox / "run").mkdir(parents=True)
    for number in range(count):
        descriptor = os.open(inbox / "run" / f"image_{number:07d}.bin", os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"%010d" % number)
        os.close(descriptor)


def watch(inbox: Path, state: Path, url: str, key: str) -> tuple[float, float]:
    """Seconds and peak MB of one `neve watch --once`."""
    (inbox.parent / f"{inbox.name}.toml").write_text("still_s = 1.0\n", "utf-8")
    command = [BIN / "neve", "watch", inbox, "--once", "--config", inbox.parent / f"{inbox.name}.toml", "--url", url, "--json"]
    begun = time.monotonic()
    agent = subprocess.Popen(command, env={**os.environ, "NEVE_KEY": key, "XDG_STATE_HOME": str(state)}, stdout=subprocess.DEVNULL)
    peak = 0.0
    while agent.poll() is None:
        peak = max(peak, high_water_mb(agent.pid))
        time.sleep(0.1)
    if agent.returncode:
        raise SystemExit(f"neve watch ended with {agent.returncode}")
    return time.monotonic() - begun, peak


def main() -> None:
    real = int(sys.argv[sys.argv.index("--real") + 1]) if "--real" in sys.argv else 0
    many = int(sys.argv[1]) if sys.argv[1:2] and sys.argv[1].isdecimal() else 1_000_000
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="neve-bench-")))
        if real:
            fill(folder / "real", real)
            served = real_archiver(folder, ending)
            seconds, peak = watch(folder / "real", folder / "state-real", served.url, served.key)
            print(f"{real:,} small files in an inbox, received by the archiver: agent's peak {peak:.0f} MB, {seconds:.0f} s", flush=True)
        peaks = []
        for count in (many // 100, many):
            standin = StandIn()
            thread = threading.Thread(target=standin.serve_forever, daemon=True)
            thread.start()
            fill(folder / f"inbox-{count}", count)
            url = f"http://127.0.0.1:{standin.server_port}"
            seconds, peak = watch(folder / f"inbox-{count}", folder / f"state-{count}", url, "neve_key")
            standin.shutdown()
            standin.server_close()
            peaks.append(peak)
            print(
                f"{count:,} small files in an inbox, a stand-in at the other end ({standin.put:,} sent whole, {standin.received:,} received): "
                f"agent's peak {peak:.0f} MB (goal {GOAL_MB} for a million), {seconds:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
