"""Receipts: what a stranger needs to verify that a file is what arrived, where it lies, and that its history was not rewritten.

How a stranger verifies one, with the receipt and the store's objects only:

1. *The bytes.* For each of `copies`, read version `version_id` of `key` in `bucket`: `size_bytes` bytes from `offset_bytes` on (a file in
   a bundle; 0 and all where it stands alone). Their SHA-256 is `file.sha256`. `proof` says how we proved it, and `proven_at` when.
2. *The history.* Begin with `chain.before`. Go through `chain.links` in order: where one has `kind`, it is told in full, and
   `said = SHA-256(JSON ["instrument/name", seq, at, actor, kind, detail])`; the others give `said` alone, for they speak of other files.
   Each time `hash = SHA-256(JSON [before, said])` (JSON as archiver/chain.py says), which for a link told in full is its `hash`, and is
   the `before` of the next. The last one is `chain.head.hash`.
3. *That it was so then.* Read the objects in `anchors` (JSON lines). Their SHA-256 is `sha256`; each cites the one before by its own, so
   the newest vouches for all. The line of this dataset gives a `seq` and the `hash` that step 2 found at that number.

Links are numbered without a gap. A receipt of a file whose dataset has a very long history ends early and says so (`chain.complete`).
An erased file has a receipt too: its sums, its events, and no copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from archiver import chain
from archiver.config import Settings
from archiver.describe import Document, time
from archiver.errors import NotFound
from archiver.ledger import Transaction
from archiver.model import Copy, Dataset, Event, File

_LINKS = 20_000
_ANCHORS = 3
_OF_THE_WHOLE = ("dataset.", "erasure.", "chain.")  # kinds of events that concern every file


def receipt(tx: Transaction, settings: Settings, dataset: Dataset, file: File) -> Document:
    """The receipt of a file, JSON-ready."""
    copies = tx.all_copies_with(file.object_id)
    offsets = {copy.object_id: 0 if copy.object_id == file.object_id else tx.offset_in(copy.object_id, file.object_id) for copy in copies}
    bundles = {copy.object_id for copy in copies}
    links = _links(dataset, tx.chain_of(dataset.id), {file.object_id, *bundles}, {copy.id for copy in copies})
    anchors = tx.anchors(since=links["last"][:10], limit=_ANCHORS) if links["last"] else []
    return {
        "file": {
            "id": file.id,
            "dataset": dataset.full_name,
            "path": file.path,
            "state": file.state,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
            "crc64nvme": file.crc64nvme,
            "received_at": time(file.received_at),
        },
        "copies": [_copy(c, settings, file, offsets[c.object_id]) for c in copies if c.dropped_at is None],
        "chain": {key: value for key, value in links.items() if key != "last"},
        "anchors": [
            {
                "day": a.day,
                "at": time(a.at),
                "tier": a.tier,
                "bucket": settings.tiers[a.tier].bucket if a.tier in settings.tiers else None,
                "key": a.key,
                "version_id": a.version_id,
                "sha256": a.sha256,
            }
            for a in anchors
        ],
    }


def of_path(tx: Transaction, settings: Settings, dataset: Dataset, path: str) -> Document:
    """The receipt of the file at a path of a dataset. Raises `NotFound`."""
    file = tx.file_at(dataset.id, path.encode("utf-8", "surrogateescape"))
    if file is None:
        raise NotFound(f"{dataset.full_name} has no file {path!r}.", "`archiver status DATASET` lists its files.")
    return receipt(tx, settings, dataset, file)


def _copy(copy: Copy, settings: Settings, file: File, offset: int | None) -> Document:
    tier = settings.tiers.get(copy.tier)
    return {
        "tier": copy.tier,
        "place": tier.place if tier else None,
        "bucket": tier.bucket if tier else None,
        "key": copy.key,
        "version_id": copy.version_id,
        "offset_bytes": offset or 0,
        "size_bytes": file.size_bytes,
        "bundled": copy.object_id != file.object_id,
        "storage_class": copy.storage_class,
        "proof": copy.proof,
        "proven_at": time(copy.proven_at),
    }


def _links(dataset: Dataset, events: Iterable[Event], objects: set[int], copies: set[int]) -> dict[str, Any]:
    """The chain from its first event on: in full what is about these objects or the whole dataset, else what was said as a digest."""
    before, complete, last = chain.GENESIS, True, ""
    links: list[Document] = []
    head: Event | None = None
    for event in events:
        if head is None:
            before = chain.start(event)[1]
        if len(links) == _LINKS:
            complete = False
            break
        head = event
        if event.kind.startswith(_OF_THE_WHOLE) or event.detail.get("object_id") in objects or event.detail.get("copy_id") in copies:
            when = chain.written(event.at)
            last = max(last, when)
            full = {"at": when, "actor": event.actor, "kind": event.kind, "detail": event.detail, "hash": event.hash}
            links.append({"seq": event.seq, **full})
        else:
            said = chain.said(dataset.full_name, event.seq, event.at, event.actor, event.kind, event.detail)
            links.append({"seq": event.seq, "said": said})
    return {
        "dataset": dataset.full_name,
        "before": before,
        "links": links,
        "head": None if head is None else {"seq": head.seq, "hash": head.hash},
        "complete": complete,
        "last": last,
    }
