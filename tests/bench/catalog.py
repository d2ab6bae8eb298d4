"""`make bench`: search, facets and completion over a large catalog, on SQLite and on PostgreSQL.

Prints figures and judges nothing. A ledger is filled by plain SQL with datasets of 500 projects over ten years, with words, numbers and tags; then
each kind of question is asked with 1, 50 and 500 projects in the access filter, each time with other words, values and times. Milliseconds, p50 and
p95, through the ledger's own door (the REST API adds the description of a page, which is printed by itself). `catalog.py DATASETS` for another number
(default 1,000,000), `catalog.py DATASETS sqlite|postgresql` for one database.
"""

from __future__ import annotations

import random
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.postgres import cluster

from archiver.ledger import Ledger, indexing
from archiver.ledger import tables as t
from archiver.ledger.searching import Measured, Query, Sort

PROJECTS, YEARS, EACH = 500, 10, 20_000
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
INSTRUMENTS = ("saxs", "waxs", "tomo", "xrd", "imaging", "spectro", "weather", "seismo", "lidar", "cryo")
FORMATS = ("nexus", "hdf5", "netcdf4", "miniseed", "edf", "cbf", "tiff", "spec")
RUNS = 30


def words_of(seed: int, number: int) -> list[str]:
    """Words as people have them: some in every hundredth dataset, most in few."""
    dice = random.Random(seed)
    return ["".join(dice.choice("abcdefghiklmnoprstuvw") for _ in range(dice.randint(4, 9))) for _ in range(number)]


WORDS = words_of(1, 3000)
SAMPLES = words_of(2, 400)
USERS = words_of(3, 300)
TAGS = words_of(4, 60)


def project(number: int) -> str:
    return f"project-{number:03d}"


def datasets(count: int) -> Iterator[dict[str, Any]]:
    """Rows of the ledger: each project measures at two instruments in some of its years; the newest are hot, the oldest deep."""
    dice = random.Random(5)
    for number in range(1, count + 1):
        of = dice.randrange(PROJECTS)
        instrument = (of * 7 + dice.randrange(2)) % len(INSTRUMENTS)
        when = NOW - timedelta(days=365.25 * YEARS * (1 - number / count), minutes=dice.randrange(600))
        age = NOW - when
        yield {
            "id": number,
            "project": project(of),
            "instrument": INSTRUMENTS[instrument],
            "name": f"{INSTRUMENTS[instrument]}-run{number:07d}",
            "state": "closed",
            "prefix": f"p/{number}",
            "received_at": when,
            "acquired_at": when,
            "closed_at": when,
            "size_bytes": dice.randrange(10**10),
            "file_count": 2,
            "title": f"{dice.choice(WORDS)} of {dice.choice(WORDS)} {dice.choice(WORDS)}",
            "format": FORMATS[instrument % len(FORMATS)],
            "tier": "hot" if age.days < 60 else "archive" if age.days < 730 else "deep",
            "metadata": {
                "sample": {"name": dice.choice(SAMPLES)},
                "user": dice.choice(USERS),
                "energy_kev": round(dice.uniform(5, 30), 3),
                "temperature": dice.randrange(4, 400),
            },
        }


def fill(ledger: Ledger, count: int) -> None:
    """By plain SQL: a fixture, no use of the ledger."""
    ledger.upgrade()
    with ledger.begin() as tx:
        for number in range(PROJECTS):
            tx.add_project(project(number), "")
        for instrument in INSTRUMENTS:
            tx.add_instrument(instrument, "")
    dice, rows = random.Random(6), list[dict[str, Any]]()
    with ledger.begin() as tx:
        if ledger.url.get_backend_name() == "sqlite":
            tx.connection.exec_driver_sql("PRAGMA cache_size=-400000")
        else:
            tx.connection.exec_driver_sql("DROP INDEX ix_search_words")
        fields = [{"project": project(n), "name": f} for n in range(PROJECTS) for f in ("sample.name", "user", "energy_kev", "temperature")]
        tx.connection.execute(sa.insert(t.field), fields)
        for row in datasets(count):
            rows.append(row)
            if len(rows) == EACH or row["id"] == count:
                write(tx.connection, rows, dice)
                rows = []
        if ledger.url.get_backend_name() != "sqlite":
            tx.connection.exec_driver_sql("CREATE INDEX ix_search_words ON search USING gin (words gin_trgm_ops)")
    if ledger.url.get_backend_name() != "sqlite":
        with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")  # as autovacuum does by itself


def write(connection: sa.Connection, rows: list[dict[str, Any]], dice: random.Random) -> None:
    search, measure, tag = [], [], []
    for row in rows:
        row["place"] = indexing.place_of(row["acquired_at"], row["id"])
        row["month"] = row["acquired_at"].year * 100 + row["acquired_at"].month
        tags = dice.sample(TAGS, dice.choice((0,) * 18 + (1, 2)))
        told = indexing.told(f"{row['instrument']}/{row['name']}", row["project"], row["title"], row["metadata"], tags, ())
        search.append({"place": row["place"], "words": told.words})
        measure += [{"place": row["place"], "field": field, "value": value} for field, value in told.measures]
        tag += [{"dataset_id": row["id"], "tag": one, "project": row["project"], "place": row["place"]} for one in tags]
    for table, values in ((t.dataset, rows), (t.search, search), (t.measure, measure), (t.tag, tag)):
        connection.execute(sa.insert(table), values)


def questions(dice: random.Random, projects: list[str] | None) -> dict[str, Callable[[Any], object]]:
    """One of each kind, with other words each time."""
    since = NOW - timedelta(days=dice.randrange(30, 3000))
    word, sample, instrument = dice.choice(WORDS), dice.choice(SAMPLES), dice.choice(INSTRUMENTS)
    run = f"run{dice.randrange(10_000):05d}"
    energy = dice.uniform(5, 29)
    asked = {
        "newest": Query(projects),
        "word": Query(projects, text=word),
        "frequent word": Query(projects, text=instrument),
        "part of a name": Query(projects, text=run),
        "two words": Query(projects, text=f"{sample} {word[:4]}"),
        "word that is nowhere": Query(projects, text="qzjxqz"),
        "word and tier": Query(projects, text=word, tier=dice.choice(("hot", "archive", "deep"))),
        "word, instrument and time": Query(projects, text=sample, instrument=instrument, since=since, until=since + timedelta(days=365)),
        "instrument and tier": Query(projects, instrument=instrument, tier="deep"),
        "time": Query(projects, since=since, until=since + timedelta(days=30)),
        "tag": Query(projects, tags=(dice.choice(TAGS),)),
        "tag and word": Query(projects, tags=(dice.choice(TAGS),), text=sample),
        "number, narrow": Query(projects, measured=(Measured("energy_kev", energy, energy + 0.01),)),
        "number, wide": Query(projects, measured=(Measured("energy_kev", energy),)),
        "number and word": Query(projects, measured=(Measured("energy_kev", energy, energy + 3),), text=sample),
        "metadata text": Query(projects, said=(("sample.name", sample),)),
    }
    kinds: dict[str, Callable[[Any], object]] = {name: lambda tx, q=q: (tx.search(q, 50), tx.count(q)) for name, q in asked.items()}
    kinds["by name"] = lambda tx: tx.search(Query(projects, text=sample), 50, sort=Sort.NAME)
    kinds["largest"] = lambda tx: tx.search(Query(projects), 50, sort=Sort.LARGEST)
    kinds["facets of all"] = lambda tx: tx.facets(Query(projects))
    kinds["facets of a word"] = lambda tx: tx.facets(Query(projects, text=word))
    kinds["facets of a frequent word"] = lambda tx: tx.facets(Query(projects, text=instrument))
    kinds["facets of a tier"] = lambda tx: tx.facets(Query(projects, tier="deep"))
    kinds["facets of a wide number"] = lambda tx: tx.facets(Query(projects, measured=(Measured("energy_kev", energy),)))
    kinds["completion"] = lambda tx: tx.complete(f"{instrument}-run0{dice.randrange(100):02d}", projects, 10)
    return kinds


def measure(ledger: Ledger, projects: list[str] | None, runs: int) -> dict[str, list[float]]:
    dice, found = random.Random(7), dict[str, list[float]]()
    for _ in range(runs):
        for name, ask in questions(dice, projects).items():
            with ledger.read() as tx:
                begun = time.perf_counter()
                ask(tx)
                found.setdefault(name, []).append((time.perf_counter() - begun) * 1000)
    return found


def report(ledger: Ledger, runs: int) -> None:
    reach = {
        "1 project": [project(17)],
        "50": [project(n * 9) for n in range(50)],
        "499 of 500": [project(n) for n in range(PROJECTS - 1)],
        "all": None,
    }
    figures = {label: measure(ledger, projects, runs) for label, projects in reach.items()}
    print(f"  {'p50 / p95 in ms':28}" + "".join(f"{label:>18}" for label in reach))
    for name in figures["all"]:
        cells = [f"{statistics.median(by[name]):.0f} / {sorted(by[name])[int(len(by[name]) * 0.95) - 1]:.0f}" for by in figures.values()]
        print(f"  {name:28}" + "".join(f"{cell:>18}" for cell in cells))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main() -> None:
    """Fill, measure, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    which = sys.argv[2:] or ["sqlite", "postgresql"]
    folder = Path(tempfile.mkdtemp(prefix="neve-catalog-"))
    try:
        for name in which:
            with nullcontext() if name == "sqlite" else cluster(free_port(), shared_buffers="512MB") as postgres:
                url = f"sqlite:///{folder / 'ledger.sqlite'}" if postgres is None else postgres.database()
                ledger = Ledger(url, lambda: NOW)
                begun = time.monotonic()
                fill(ledger, count)
                print(f"catalog of {count:,} datasets on {name} (filled in {time.monotonic() - begun:.0f} s)", flush=True)
                report(ledger, RUNS)
                ledger.dispose()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
