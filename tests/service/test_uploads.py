"""Uploads that nobody goes on with end after a week; what is young, and every object, stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fixtures.archive import Bench

from archiver import uploads
from archiver.storage import Tier


def begin(bench: Bench, tier: str, *keys: str) -> None:
    at = bench.archive.tiers[tier]
    for key in keys:
        begun = at.client.create_multipart_upload(Bucket=at.bucket, Key=key)
        at.client.upload_part(Bucket=at.bucket, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=b"part")


def under_way(bench: Bench) -> list[tuple[str, str]]:
    return sorted((name, upload.key) for name, tier in bench.archive.tiers.items() for upload in tier.uploads())


def test_what_was_begun_a_week_ago_is_ended_in_every_tier(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    dataset = bench.ingest("run1", {"a.bin": b"a"})
    bench.settle()
    begin(bench, "hot", f"{dataset.prefix}/a.bin", "p/i/ü+ %.h5", "p/i/twice", "p/i/twice")
    begin(bench, "deep", "p/i/b.h5")
    begun = [("deep", "p/i/b.h5"), ("hot", "p/i/twice"), ("hot", "p/i/twice"), ("hot", "p/i/ü+ %.h5"), ("hot", f"{dataset.prefix}/a.bin")]
    assert under_way(bench) == sorted(begun)
    uploads.run(bench.archive)
    assert under_way(bench) == sorted(begun)  # begun just now
    pages, call = [], Tier._call

    def two_at_a_time(tier: Tier, operation: str, **arguments: Any) -> Any:
        if operation == "list_multipart_uploads":
            arguments["MaxUploads"] = 2
            pages.append(tier.name)
        return call(tier, operation, **arguments)

    monkeypatch.setattr(Tier, "_call", two_at_a_time)
    later, ping = timedelta(days=7), Tier.ping
    monkeypatch.setattr(Tier, "ping", lambda tier: ping(tier) + later)
    assert uploads.sweep(bench.archive, uploads.ABANDONED_AFTER) == len(begun)
    monkeypatch.undo()
    assert under_way(bench) == []
    assert pages.count("hot") >= 2
    assert bench.read(dataset, "a.bin") == b"a"
    assert bench.tiers(dataset) == {"hot", "archive", "deep"}


def test_an_upload_that_has_ended_meanwhile_is_no_fault(bench: Bench):
    hot = bench.archive.tiers["hot"]
    begin(bench, "hot", "p/i/a")
    (found,) = hot.uploads()
    hot.abort(found)
    hot.abort(found)
    assert under_way(bench) == []
