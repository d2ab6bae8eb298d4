"""Tiled beside Névé: the same questions over the same metadata, each through its own HTTP search route on loopback, its catalog in SQLite as ours is.

Tiled is installed into an environment of its own, which goes with the bench, and is no dependency of Névé. Its catalog is made by Tiled; the entries
are inserted into its database by plain SQL (by its API it is one after the other), where its own triggers index them. They are containers of metadata
without data, asked for without structure and links: the least that Tiled can be asked for. Névé describes each dataset in full.

What Tiled has no equivalent of is left out: words within words, several orders by an index, counts for who may see a part only.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import lots, serving
from bench.serving import Server
from fixtures.processes import BIN, start

TILED = "tiled[server]==0.2.20"
RUNS = 40
_MAKE = "import sys; from tiled.catalog import from_uri; from_uri(sys.argv[1], init_if_not_exists=True)"
Asked = tuple[str, Mapping[str, object]]


def compare(ours: Server, token: str, count: int, folder: Path) -> None:
    """Print each kind of question with both figures and their ratio."""
    programs = folder / "tiled" / "bin"
    subprocess.run([BIN / "uv", "venv", "--quiet", "--python", sys.executable, programs.parent], check=True)
    subprocess.run([BIN / "uv", "pip", "install", "--quiet", "--python", programs / "python", TILED], check=True)
    database, port = folder / "tiled.sqlite", serving.free_port()
    subprocess.run([programs / "python", "-c", _MAKE, f"sqlite:///{database}"], check=True)
    _insert(database, count)
    process = start([programs / "tiled", "serve", "catalog", database, "--public", "--port", str(port)], folder / "tiled.log")
    try:
        process.wait_ready(lambda: serving.listens(port), 120)
        theirs = Server(port, "/api/v1/", lambda: [process.pid])
        print(f"  beside {TILED}, {count:,} entries, p50 / p99 (processor) in ms{'Névé':>25}{'Tiled':>25}    times as fast")
        for kind in _kinds(random.Random(8)):
            found = []
            for server, side in ((ours, 0), (theirs, 1)):
                dice = random.Random(9)
                some = [_kinds(dice)[kind][side] for _ in range(RUNS + 1)]
                found.append(serving.timed(server, [_ask(server, asked, token if side == 0 else "") for asked in some]))
            cells = "".join(f"{f'{by.p50:.1f} / {by.p99:.0f} ({by.processor_ms:.1f})':>25}" for by in found)
            print(f"    {kind:58}{cells}{found[1].p50 / found[0].p50:>17.1f}", flush=True)
    finally:
        process.stop()


def _ask(server: Server, asked: Asked, token: str) -> Callable[[], object]:
    return lambda: server.get(*asked, token)


def _insert(database: Path, count: int) -> None:
    begun = time.monotonic()
    with sqlite3.connect(database) as connection:
        rows = (
            (json.dumps({**row["metadata"], **{name: row[name] for name in ("project", "instrument", "name", "title", "format", "tier")},
                         "acquired_at": row["acquired_at"].isoformat()}), row["name"])
            for row in lots.datasets(count)
        )  # fmt: skip
        connection.executemany("INSERT INTO nodes (parent, structure_family, specs, metadata, key) VALUES (0, 'container', '[]', ?, ?)", rows)
        connection.execute("ANALYZE")
    connection.close()
    print(f"  Tiled's catalog filled in {time.monotonic() - begun:.0f} s")


def _kinds(dice: random.Random) -> dict[str, tuple[Asked, Asked]]:
    """What is asked of Névé, and of Tiled."""
    word, sample, instrument, energy = dice.choice(lots.WORDS), dice.choice(lots.SAMPLES), dice.choice(lots.INSTRUMENTS), dice.uniform(5, 29)

    def ours(**asked: object) -> Asked:
        return "datasets", {**asked, "limit": 50}

    def theirs(asked: Mapping[str, object]) -> Asked:
        return "search/", {**asked, "page[limit]": 50, "fields": "metadata", "omit_links": "true"}

    def equal(key: str, value: str) -> Mapping[str, object]:
        return {"filter[eq][condition][key]": key, "filter[eq][condition][value]": json.dumps(value)}

    above = {"filter[comparison][condition][operator]": "gt", "filter[comparison][condition][key]": "energy_kev"}
    facets = {"metadata": ["project", "instrument", "tier", "format"], "counts": "true"}
    return {
        "a page (Tiled: in the order of entry)": (ours(), theirs({})),
        "newest": (ours(), theirs({"sort": "-acquired_at"})),
        "a word": (ours(q=word), theirs({"filter[fulltext][condition][text]": word})),
        "a frequent word": (ours(q=instrument), theirs({"filter[fulltext][condition][text]": instrument})),
        "a field's text": (ours(**{"meta.sample.name": sample}), theirs(equal("sample.name", sample))),
        "an instrument": (ours(instrument=instrument), theirs(equal("instrument", instrument))),
        "a number above": (ours(**{"meta.energy_kev": f">{energy}"}), theirs({**above, "filter[comparison][condition][value]": energy})),
        "facets of all (Tiled: distinct, of four fields)": (("datasets/facets", {}), ("distinct/", facets)),
        "facets of a word": (("datasets/facets", {"q": word}), ("distinct/", {**facets, "filter[fulltext][condition][text]": word})),
    }
