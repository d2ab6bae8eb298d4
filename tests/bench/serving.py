"""The archiver's API process as `archiver serve` starts it, over a ledger that is there, and what its requests cost.

The hub is a table of tokens at an address of its own; there is no store, which a search does not need. A request's time is taken at a client that
keeps its connection; the processor's time is that of all threads of the processes that answer, which others on this machine lengthen little.
"""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

from fixtures.processes import BIN, start

from archiver import auth

SETTINGS = """
home = "{folder}"
[ledger]
url = "{url}"
[api]
port = {port}
hub_api_url = "http://127.0.0.1:{hub}/hub/api"
[store]
endpoint_url = "http://127.0.0.1:9"
[tiers.hot]
bucket = "hot"
place = "hot"
keep = "P60D"
[tiers.archive]
bucket = "archive"
place = "archive"
keep = "P730D"
[tiers.deep]
bucket = "deep"
place = "deep"
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """Something that answers on loopback; `pids`: of the processes that do."""

    port: int
    prefix: str
    pids: Callable[[], Sequence[int]]
    _connection: http.client.HTTPConnection = field(init=False)

    def connect(self) -> None:
        """Anew: servers end what nobody has used for a while."""
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str, query: Mapping[str, object] | Sequence[tuple[str, object]] = (), token: str = "") -> bytes:
        asked = f"{self.prefix}{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        self._connection.request("GET", asked, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (asked, answer.status, body[:500])
        return body

    def used_s(self) -> float:
        """Processor time of all its processes until now."""
        return sum(int(task.read_text().split()[0]) for pid in self.pids() for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


@dataclass
class Figures:
    """Of one kind of request: milliseconds at the client, and of processor per request."""

    times_ms: list[float]
    processor_ms: float

    @property
    def p50(self) -> float:
        return statistics.median(self.times_ms)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.times_ms, n=100)[98]


def timed(server: Server, asks: Sequence[Callable[[], object]]) -> Figures:
    """One after the other; the first, with which connections are opened and statements made, does not count."""
    server.connect()
    asks[0]()
    times, used = [], server.used_s()
    for ask in asks[1:]:
        begun = time.perf_counter()
        ask()
        times.append((time.perf_counter() - begun) * 1000)
    return Figures(times, (server.used_s() - used) * 1000 / len(times))


@contextmanager
def _hub(groups: Mapping[str, Sequence[str]]) -> Iterator[int]:
    """Answers whose a token is: `groups` by token."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.headers.get("Authorization", "").partition(" ")[2]
            said = json.dumps(
                {"kind": "user", "name": name, "admin": False, "groups": list(groups.get(name, ())), "scopes": [auth.ACCESS, auth.READ]}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Said by the figures."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield int(served.server_address[1])
    finally:
        served.shutdown()
        served.server_close()


@contextmanager
def serving(url: str, groups: Mapping[str, Sequence[str]], folder: Path, database: Callable[[], Sequence[int]] = list) -> Iterator[Server]:
    """`archiver serve` over the ledger at `url`. `database`: pids of the database's own processes."""
    port = free_port()
    with _hub(groups) as hub:
        settings = folder / "neve.toml"
        settings.write_text(SETTINGS.format(folder=folder, url=url, port=port, hub=hub), "utf-8")
        env = {"JUPYTERHUB_API_TOKEN": "the-archivers-own", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
        process = start([BIN / "archiver", "--config", settings, "serve"], folder / "serve.log", env=env)
        try:
            process.wait_ready(lambda: listens(port), 120)
            yield Server(port, "/services/archiver/api/v1/", lambda: [process.pid, *database()])
        finally:
            process.stop()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(one) for task in Path(f"/proc/{pid}/task").glob("*/children") for one in task.read_text().split()]
