"""A ledger filled by plain SQL with datasets of 500 projects over ten years, with words, numbers and tags: what `catalog.py` asks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from archiver.ledger import Ledger, indexing
from archiver.ledger import tables as t

PROJECTS, YEARS, EACH = 500, 10, 20_000
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
INSTRUMENTS = ("saxs", "waxs", "tomo", "xrd", "imaging", "spectro", "weather", "seismo", "lidar", "cryo")
FORMATS = ("nexus", "hdf5", "netcdf4", "miniseed", "edf", "cbf", "tiff", "spec")


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


def datasets(count: int, projects: int = PROJECTS) -> Iterator[dict[str, Any]]:
    """Rows of the ledger: each project measures at two instruments in some of its years; the newest are hot, the oldest deep."""
    dice = random.Random(5)
    for number in range(1, count + 1):
        of = dice.randrange(projects)
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


def fill(ledger: Ledger, count: int, projects: int = PROJECTS) -> None:
    """By plain SQL: a fixture, no use of the ledger."""
    ledger.upgrade()
    with ledger.begin() as tx:
        for number in range(projects):
            tx.add_project(project(number), "")
        for instrument in INSTRUMENTS:
            tx.add_instrument(instrument, "")
    dice, rows = random.Random(6), list[dict[str, Any]]()
    with ledger.begin() as tx:
        if ledger.url.get_backend_name() == "sqlite":
            tx.connection.exec_driver_sql("PRAGMA cache_size=-400000")
        else:
            tx.connection.exec_driver_sql("DROP INDEX ix_search_words")
        fields = [{"project": project(n), "name": f} for n in range(projects) for f in ("sample.name", "user", "energy_kev", "temperature")]
        tx.connection.execute(sa.insert(t.field), fields)
        for row in datasets(count, projects):
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
