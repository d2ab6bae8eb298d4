"""`make bench`: the catalog at scale, asked through the REST API as the page and the widget ask it, on SQLite and on PostgreSQL.

Prints figures and judges nothing. `archiver serve` answers on loopback over a ledger of a million datasets (lots.py); each kind of question is
asked many times with other words, values and times: a page of 50 with its count, and its facets. In the access filter: 1 project, 50, 499 of 500,
all 500. Milliseconds at a client that keeps its connection, and of processor (server and database) per request. Then what opening the widget and
`neve.catalog()` takes, and the same questions to Tiled beside it (beside_tiled.py), over 100,000.

`catalog.py DATASETS` for another number, `catalog.py DATASETS sqlite|postgresql|tiled` for a part.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import neve
from bench import beside_tiled, lots, serving
from bench.lots import INSTRUMENTS, NOW, PROJECTS, SAMPLES, TAGS, WORDS, project
from bench.serving import Server
from fixtures.postgres import cluster

from archiver.ledger import Ledger

RUNS = 200
REACH: Mapping[str, list[str]] = {
    "1 project": [project(17)],
    "50": [project(n * 9) for n in range(50)],
    "499 of 500": [project(n) for n in range(PROJECTS - 1)],
    "all 500": [project(n) for n in range(PROJECTS)],
}
Asked = Mapping[str, object]


def kinds(dice: random.Random) -> dict[str, Asked]:
    """A question of each kind, with other words each time."""
    since = NOW - timedelta(days=dice.randrange(400, 3600), minutes=dice.randrange(1440))
    word, sample, instrument = dice.choice(WORDS), dice.choice(SAMPLES), dice.choice(INSTRUMENTS)
    energy = dice.uniform(5, 29)

    def between(days: float) -> Asked:
        return {"from": since.isoformat(), "to": (since + timedelta(days=days)).isoformat()}

    return {
        "newest": {},
        "word": {"q": word},
        "frequent word": {"q": instrument},
        "part of a name": {"q": f"run{dice.randrange(10_000):05d}"},
        "two words": {"q": f"{sample} {word[:4]}"},
        "word that is nowhere": {"q": "qzjxqz"},
        "word and tier": {"q": word, "tier": dice.choice(("hot", "archive", "deep"))},
        "word, instrument and time": {"q": sample, "instrument": instrument, **between(365)},
        "tier": {"tier": "deep"},
        "instrument and tier": {"instrument": instrument, "tier": "deep"},
        "a month": between(30),
        "a year": between(365),
        "instrument and years": {"instrument": instrument, "from": since.isoformat()},
        "tag": {"tag": dice.choice(TAGS)},
        "tag and word": {"tag": dice.choice(TAGS), "q": sample},
        "number, narrow": {"meta.energy_kev": f"{energy:.3f}..{energy + 0.01:.3f}"},
        "number, wide": {"meta.energy_kev": f">{energy:.3f}"},
        "number and word": {"meta.energy_kev": f"{energy:.3f}..{energy + 3:.3f}", "q": sample},
        "metadata text": {"meta.sample.name": sample},
        "by name": {"q": sample, "sort": "name"},
        "largest": {"sort": "largest"},
    }


def asks(server: Server, token: str, runs: int) -> Iterator[tuple[str, list[Callable[[], object]]]]:
    """Kinds of requests, each with a number of them."""
    dice = random.Random(7)
    each = [kinds(dice) for _ in range(runs + 1)]
    for kind in each[0]:
        yield kind, [lambda q=one[kind]: server.get("datasets", {**q, "limit": 50}, token) for one in each]  # type: ignore[misc]
        if "sort" not in each[0][kind]:
            yield f"{kind}: facets", [lambda q=one[kind]: server.get("datasets/facets", q, token) for one in each]  # type: ignore[misc]
    typed = [f"{dice.choice(INSTRUMENTS)}-run0{dice.randrange(100):02d}" for _ in each]
    yield "completion", [lambda p=prefix: server.get("datasets/complete", {"prefix": p}, token) for prefix in typed]  # type: ignore[misc]


def report(server: Server, runs: int) -> None:
    found = {label: {kind: serving.timed(server, some) for kind, some in asks(server, label.replace(" ", "-"), runs)} for label in REACH}
    print(f"  {'p50 / p99 (processor) in ms':34}" + "".join(f"{label:>22}" for label in found))
    for kind in found["50"]:
        cells = [f"{by[kind].p50:.1f} / {by[kind].p99:.0f} ({by[kind].processor_ms:.1f})" for by in found.values()]
        print(f"  {kind:34}" + "".join(f"{cell:>22}" for cell in cells))
    print("  all kinds" + " " * 25 + "".join(f"{_all(by):>22}" for by in found.values()), flush=True)


def _all(figures: Mapping[str, serving.Figures]) -> str:
    times = [one for by in figures.values() for one in by.times_ms]
    processor = statistics.mean(by.processor_ms for by in figures.values())
    return f"{statistics.median(times):.1f} / {statistics.quantiles(times, n=100)[98]:.0f} ({processor:.1f})"


def opening(server: Server) -> None:
    """What a person waits for first: `neve.catalog()` shown, the widget, the browse page's first answers."""
    url, token = f"http://127.0.0.1:{server.port}/services/archiver", "499-of-500"

    def took(act: Callable[[], object]) -> str:
        times = []
        for _ in range(21):
            begun = time.perf_counter()
            act()
            times.append((time.perf_counter() - begun) * 1000)
        return f"{times[0]:.0f}, then {statistics.median(times[1:]):.0f} / {max(times[1:]):.0f} ms"

    def widget() -> None:
        neve.browse(url=url, token=token).close()
        server.get("datasets", {"limit": 50}, token)
        server.get("datasets/facets", {}, token)

    server.connect()
    print("  opened: the first time in a kernel (with what it imports), then median / slowest of 20")
    print(f"    neve.catalog() {took(lambda: neve.catalog(url=url, token=token))}")
    print(f"    neve.catalog(), shown {took(lambda: neve.catalog(url=url, token=token)._repr_html_())}")
    print(f"    neve.browse() with its first screen {took(widget)}", flush=True)


@contextmanager
def filled(name: str, count: int, folder: Path) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """The URL of a ledger of so many datasets, and how the pids of its database are had."""

    def fill(url: str) -> str:
        begun, ledger = time.monotonic(), Ledger(url, lambda: NOW)
        lots.fill(ledger, count)
        ledger.dispose()
        print(f"catalog of {count:,} datasets on {name} (filled in {time.monotonic() - begun:.0f} s)", flush=True)
        return url

    if name == "sqlite":
        yield fill(f"sqlite:///{tempfile.mkdtemp(dir=folder)}/ledger.sqlite"), list
        return
    with cluster(serving.free_port(), shared_buffers="512MB") as postgres:
        assert postgres.process is not None
        pid = postgres.process.pid
        yield fill(postgres.database()), lambda: serving.children(pid)


def main() -> None:
    """Fill, serve, measure, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    which = sys.argv[2:] or ["sqlite", "postgresql", "tiled"]
    folder = Path(tempfile.mkdtemp(prefix="neve-catalog-"))
    groups = {label.replace(" ", "-"): projects for label, projects in REACH.items()}
    try:
        for name in which:
            if name == "tiled":
                with filled("sqlite", min(count, 100_000), folder) as (url, pids), serving.serving(url, groups, folder, pids) as server:
                    beside_tiled.compare(server, "all-500", min(count, 100_000), folder)
                continue
            with filled(name, count, folder) as (url, pids), serving.serving(url, groups, folder, pids) as server:
                report(server, RUNS)
                opening(server)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
