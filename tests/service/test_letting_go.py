"""Letting go moves no bytes: what was written on the first day is where it ends up (counted at a proxy before the store)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fixtures.archive import Bench, settings_toml
from fixtures.faulty import FaultyStore
from fixtures.store import S3Store

KIB = 2**10
FILES = {**{f"scan {number}.bin": bytes([number]) * 20_000 for number in range(5)}, "image.h5": bytes(range(256)) * 8 * KIB}


def test_letting_go_at_day_60_moves_no_data(tmp_path: Path, store: S3Store, faulty: Callable[..., FaultyStore]):
    proxy = faulty(store)
    (tmp_path / "home").mkdir()
    through = {name: {"endpoint_url": proxy.endpoints[0], "bundles": name != "hot"} for name in ("hot", "archive", "deep")}
    (tmp_path / "neve.toml").write_text(settings_toml(tmp_path / "home", store, store.buckets("hot", "archive", "deep"), **through), "utf-8")
    bench = Bench(tmp_path, tmp_path / "neve.toml")
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    assert bench.tiers(dataset, "image.h5") == {"hot", "archive", "deep"}
    del proxy.exchanges[:]
    bench.turn(days=60, minutes=1)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    assert not any("hot" in bench.tiers(dataset, path) for path in FILES)
    data = [e for e in proxy.exchanges if any(key.startswith(dataset.prefix) and not key.endswith("/NEVE-ARCHIVED.txt") for key in e.keys)]
    assert {e.operation for e in data} == {"head_object", "delete_objects"}
    everything = sum(e.sent_bytes + e.answered_bytes for e in proxy.exchanges)
    assert everything < 20 * KIB, f"{everything} bytes of requests and records, beside {sum(map(len, FILES.values()))} of data"
    bench.give_back()
