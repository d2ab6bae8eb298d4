"""`make bench`: claims over many files: which are due, what a change of settings would end sooner, and a full re-evaluation.

Prints figures and judges nothing. A ledger on SQLite is filled with datasets of 1,000 files each, in bundles, received evenly over 1,000
days and at rest; no store is needed. Each figure is of a process of its own: seconds from the open ledger to the answer, peak resident memory
(VmHWM) of the process. `claims.py FILES` for another number of files (default 1,000,000; 10,000,000 take some minutes to fill and 10 GB).
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from archiver import changeover, plan, policy
from archiver.app import open_archive
from archiver.archive import Archive, view
from archiver.config import changed, exactly
from archiver.worker import Worker

EACH = 1000  # files of a dataset
DAYS = 1000
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
FILE_BYTES = 20_000


def archive_at(home: Path) -> Archive:
    tiers = {
        "hot": {"bucket": "hot", "place": "hot", "keep": "P60D"},
        "archive": {"bucket": "archive", "place": "archive", "keep": "P730D", "bundles": True},
        "deep": {"bucket": "deep", "place": "deep", "bundles": True},
    }
    return open_archive(exactly({"home": home, "tiers": tiers}, "the bench"), lambda: NOW, check=False)


def fill(home: Path, files: int) -> None:
    """A ledger of `files` files, every copy true to its claim at `NOW`. Plain SQL: a fixture, no use of the ledger."""
    archive = archive_at(home)
    archive.ledger.upgrade()
    datasets = files // EACH
    at = "datetime(?, '-' || ((d * 1.0 / ?) * ?) || ' days') || '.000000'"
    with archive.ledger.begin() as tx:
        tx.add_project("snow", "snow")
        tx.add_instrument("saxs", "saxs")
        changed_note = archive.settings.model_dump_json(include={"tiers", "policy", "rules"})
        tx.set_note(changeover.NOTE, changed_note)
    archive.ledger.dispose()
    base = NOW.strftime("%Y-%m-%d %H:%M:%S")
    db = sqlite3.connect(str(archive.ledger.url.database), isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("PRAGMA journal_mode=OFF")
    db.execute("PRAGMA cache_size=-200000")
    db.execute("BEGIN")
    db.execute("CREATE TEMP TABLE n(i INTEGER PRIMARY KEY)")
    db.execute(f"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {EACH}) INSERT INTO n SELECT i FROM c")
    db.execute("CREATE TEMP TABLE day(d INTEGER PRIMARY KEY, received TEXT, age REAL)")
    db.execute(
        f"WITH RECURSIVE c(d) AS (SELECT 1 UNION ALL SELECT d + 1 FROM c WHERE d < {datasets}) "
        f"INSERT INTO day SELECT d, {at}, d * 1.0 / ? * ? FROM c",
        (base, datasets, DAYS, datasets, DAYS),
    )
    until = "CASE WHEN age < 60 THEN datetime(received, '60 days') || '.000000' WHEN age < 730 THEN datetime(received, '730 days') || '.000000' END"
    db.execute(
        "INSERT INTO dataset(id, project, instrument, name, state, prefix, received_at, closed_at, stub_at, look_at, size_bytes, file_count, "
        "metadata) "
        f"SELECT d, 'snow', 'saxs', 'run' || d, 'closed', 'snow/saxs/' || d, received, received, CASE WHEN age >= 60 THEN received END, {until}, "
        f"{EACH * FILE_BYTES}, {EACH}, '{{}}' FROM day"
    )
    # Numbers of objects: for each dataset its files, then the bundle, then the manifest.
    step = EACH + 2
    db.execute(
        "INSERT INTO object(id, dataset_id, kind, key, size_bytes, sha256, crc64nvme) "
        f"SELECT (d - 1) * {step} + i, d, 'file', printf('snow/saxs/%08d/part/%06d.tif', d, i), {FILE_BYTES}, "
        f"printf('%064x', d * {EACH} + i), 'AAAAAAAAAAA=' FROM day, n ORDER BY d, i"
    )
    for offset, kind, name, size in (
        (1, "bundle", "NEVE-BUNDLE-00001.tar", EACH * (FILE_BYTES + 512)),
        (2, "manifest", "NEVE-MANIFEST.json", 300 * EACH),
    ):
        db.execute(
            "INSERT INTO object(id, dataset_id, kind, key, size_bytes, sha256, crc64nvme) "
            f"SELECT (d - 1) * {step} + {EACH + offset}, d, '{kind}', 'snow/saxs/' || d || '/{name}', {size}, printf('%064x', d), 'AAAAAAAAAAA=' "
            "FROM day"
        )
    db.execute(
        "INSERT INTO file(id, dataset_id, path, path_raw, state, size_bytes, sha256, crc64nvme, object_id, offset_bytes, metadata_state, metadata) "
        f"SELECT (d - 1) * {EACH} + i, d, printf('part/%06d.tif', i), CAST(printf('part/%06d.tif', i) AS BLOB), 'received', {FILE_BYTES}, "
        f"printf('%064x', d * {EACH} + i), 'AAAAAAAAAAA=', (d - 1) * {step} + i, 0, 'none', '{{}}' FROM day, n ORDER BY d, i"
    )
    db.execute(
        "INSERT INTO member(bundle_id, object_id, offset_bytes) "
        f"SELECT (d - 1) * {step} + {EACH + 1}, (d - 1) * {step} + i, i * {FILE_BYTES + 512} FROM day, n ORDER BY d, i"
    )
    copies = "INSERT INTO copy(object_id, tier, key, version_id, storage_class, proof, proven_at) SELECT "
    rest = "'k', 'v', 'STANDARD', 'read-back', received FROM day"
    db.execute(f"{copies}(d - 1) * {step} + i, 'hot', {rest}, n WHERE age < 60")
    for tier, where in (("archive", "age < 730"), ("deep", "1")):
        db.execute(f"{copies}(d - 1) * {step} + {EACH + 1}, '{tier}', {rest} WHERE {where}")
        db.execute(f"{copies}(d - 1) * {step} + {EACH + 2}, '{tier}', {rest}")
    db.execute("COMMIT")
    db.execute("ANALYZE")
    db.close()


def due(archive: Archive) -> str:
    """What the worker asks at each turn, and what a plan asks for the next week."""
    with archive.ledger.read() as tx:
        now = len(tx.datasets_to_look_at(10_000_000))
        week = sum(1 for _ in plan.views(tx, [archive.settings], NOW, NOW + timedelta(days=7)))
    return f"{now} datasets due now, {week} within a week"


def sooner(archive: Archive) -> str:
    """The question of rule 7 at a start."""
    other = changed(archive.settings, {"tiers": {"hot": {"keep": "P6D"}}}, "the bench")
    with archive.ledger.read() as tx:
        return f"claims on {changeover.ended_sooner_percent(tx, archive.settings, other, NOW):.1f} % would end sooner"


def planned(archive: Archive) -> str:
    """All datasets again, through `policy.decide`, under other settings."""
    other = changed(archive.settings, {"tiers": {"hot": {"keep": "P30D"}}}, "the bench")
    found = plan.plan(archive, settings=other, until=NOW + timedelta(days=1))
    return ", ".join(f"{a.objects:,} copies would leave {tier}" for tier, a in found.drops.items()) or "nothing to do"


def looked(archive: Archive) -> str:
    """The worker itself, after every dataset is to be looked at again (its settings have changed)."""
    with archive.ledger.begin() as tx:
        tx.look_at_all()
        waiting = len(tx.datasets_to_look_at(10_000_000))
    Worker(archive).settle()
    with archive.ledger.read() as tx:
        return f"{waiting:,} datasets looked at, {len(tx.datasets_to_look_at(10_000_000))} wait"


def decided(archive: Archive) -> str:
    """100 datasets read in full and decided, file by file, as where something is under way."""
    with archive.ledger.read() as tx:
        page = tx.datasets_after(0, 100, None)
        steps = 0
        for dataset in page:
            decision = policy.decide(view(tx, dataset.id), archive.settings, NOW)
            steps += len(decision.transfers) + len(decision.drops)
    return f"{sum(d.file_count for d in page):,} files, {steps} steps"


def peak_kb() -> int:
    """VmHWM of this process since it was started (ru_maxrss remembers the parent's)."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("utf-8"))
    return int(found[1]) if found else 0


MEASURES: dict[str, Callable[[Archive], str]] = {"due": due, "sooner": sooner, "planned": planned, "looked": looked, "decided": decided}


def main() -> None:
    """Fill, measure, print; or, as a child, one measure."""
    if len(sys.argv) == 4:
        archive = archive_at(Path(sys.argv[3]))
        begun = time.monotonic()
        said = MEASURES[sys.argv[2]](archive)
        print(json.dumps({"seconds": time.monotonic() - begun, "said": said, "peak_kb": peak_kb()}))
        return
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder:
        begun = time.monotonic()
        fill(Path(folder), files)
        print(f"a ledger of {files:,} files, filled in {time.monotonic() - begun:.0f} s")
        for name, measure in MEASURES.items():
            answer = subprocess.run([sys.executable, __file__, "measure", name, folder], capture_output=True, text=True, check=True)
            found = json.loads(answer.stdout)
            what = (measure.__doc__ or name).splitlines()[0]
            print(f"{name}: {found['seconds']:.2f} s, peak {found['peak_kb'] / 1024:.0f} MB ({found['said']}). {what}")


if __name__ == "__main__":
    main()
