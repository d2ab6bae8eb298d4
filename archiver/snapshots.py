"""Snapshots: a file that grows for hours, as it was a few minutes ago, beside the place where it will be itself.

Law: a snapshot is no file of its dataset: it is in no manifest, no receipt, no claim, and holds neither a close nor a file up. It is shown
only once it was proven, over the one before, so that its path always shows a whole one; it goes when its file is received. Where a dataset
closes and the file never came, it becomes a file itself: a reception loses nothing. Here is what senders ask; showing.py is what is done.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from archiver import arrivals, incoming, names, policy
from archiver.archive import Archive
from archiver.errors import Conflict, NotFound
from archiver.keys import Sender
from archiver.ledger import Transaction
from archiver.model import Dataset, Snapshot, SnapshotState
from archiver.storage import Part, Signed, Tier


@dataclass(frozen=True)
class Cut:
    """A snapshot that shall be sent: of the file at `path_raw`, whose own time was `mtime` then. `mark`: the sender's word for it as it was."""

    path_raw: bytes
    size_bytes: int
    mark: str
    taken_at: datetime
    mtime: datetime


@dataclass(frozen=True)
class Sent:
    """That all of a snapshot was sent, the SHA-256 (hex) of what was, and the version that the store answered, where it did."""

    snapshot_id: int
    sha256: str
    version_id: str | None = None


@dataclass(frozen=True)
class Item:
    """What is to be done for a snapshot; `state` is one of

    `put` (by `put`), `parts` (in parts of `part_bytes`, of which `done` are there), `shown` (it is), `busy` (the one before is being proven or
    put in its place, or the file itself is received: nothing is to be sent now).
    """

    snapshot_id: int | None
    dataset_id: int
    shown_raw: bytes | None
    state: str
    put: Signed | None = None
    part_bytes: int | None = None
    done: dict[int, int] = field(default_factory=dict)


def begin(archive: Archive, sender: Sender, dataset_id: int, cuts: Sequence[Cut]) -> list[Item]:
    """Announce snapshots and say how each is sent, in order: all of them, or none.

    Raises `NotFound`, `WrongUse` (a path), `TooLarge`, `ReceptionFull` (files come first), `StoreUnavailable`.
    """
    incoming.check(archive, ((cut.path_raw, cut.size_bytes) for cut in cuts))
    with archive.ledger.read() as tx:
        first = incoming.chain(tx, sender, dataset_id)[0]
        incoming.room(archive, tx, sum(cut.size_bytes for cut in cuts), tx.snapshot_bytes())
        incoming.quota(archive, tx, first.project, sum(cut.size_bytes for cut in cuts))
    announced: list[tuple[Snapshot | None, int]] = []
    left: list[str] = []
    with archive.ledger.begin(sender.name) as tx:
        dataset = arrivals.tail(tx, first.project, first.instrument, first.name, sender.name)
        tx.hold_still(dataset.id)
        for cut in cuts:
            before = tx.snapshot_of(dataset.id, cut.path_raw)
            now = _announced(tx, dataset, cut, before)
            announced.append((now, dataset.id))
            if before is not None and before.coming_key is not None and now is not None and now.coming_key != before.coming_key:
                left.append(before.coming_key)
    tier = archive.tiers[policy.HOT]
    for key in left:
        incoming.remove(tier, key)
    return [_item(archive, cut, snapshot, at) for cut, (snapshot, at) in zip(cuts, announced, strict=True)]


def _announced(tx: Transaction, dataset: Dataset, cut: Cut, before: Snapshot | None) -> Snapshot | None:
    """The snapshot of a growing file, with what comes written down; None where its file is received already."""
    coming: dict[str, Any] = {
        "coming_key": names.snapshot_key(dataset.prefix, secrets.token_hex(16)),
        "coming_bytes": cut.size_bytes,
        "coming_mark": cut.mark,
        "coming_mtime": cut.mtime,
        "coming_taken_at": cut.taken_at,
        "coming_upload_id": None,
    }
    if before is None:
        if tx.file_received(dataset.id, cut.path_raw, cut.mtime):
            return None
        shown_raw = _free_path(tx, dataset, cut.path_raw)
        return tx.add_snapshot(dataset.id, cut.path_raw, shown_raw, names.key(dataset.prefix, shown_raw), **coming)
    if before.state is SnapshotState.SENDING and (before.coming_mark, before.coming_bytes) != (cut.mark, cut.size_bytes):
        return tx.update_snapshot(before, announced_at=tx.at, **coming)
    if before.state is SnapshotState.SHOWN and before.mark != cut.mark:
        return tx.move_snapshot(before, SnapshotState.SENDING, announced_at=tx.at, **coming)
    return before


def _free_path(tx: Transaction, dataset: Dataset, path_raw: bytes) -> bytes:
    """Where it is shown: no file of the dataset has this path, and no other snapshot."""
    for shown in arrivals.versions(names.snapshot(path_raw)):
        free = tx.file_at(dataset.id, shown) is None and tx.object_with_key(names.key(dataset.prefix, shown)) is None
        if free and not tx.snapshots_shown_at([dataset.id], [shown]):
            return shown
    raise AssertionError("unreachable")


def _item(archive: Archive, cut: Cut, snapshot: Snapshot | None, dataset_id: int) -> Item:
    if snapshot is None:
        return Item(None, dataset_id, None, "busy")
    known = (snapshot.id, dataset_id, snapshot.shown_raw)
    if snapshot.state is not SnapshotState.SENDING:
        return Item(*known, "shown" if snapshot.mark == cut.mark and snapshot.state is SnapshotState.SHOWN else "busy")
    tier = archive.tiers[policy.HOT]
    assert snapshot.coming_key is not None
    if not incoming.in_parts(archive, cut.size_bytes):
        valid = archive.settings.reception.upload_valid
        return Item(*known, "put", put=tier.signed_put(snapshot.coming_key, cut.size_bytes, tier.settings.storage_class, valid))
    done = {number: part.size_bytes for number, part in _parts_there(archive, tier, snapshot).items()}
    return Item(*known, "parts", part_bytes=tier.part_bytes(cut.size_bytes), done=done)


def _parts_there(archive: Archive, tier: Tier, snapshot: Snapshot) -> dict[int, Part]:
    """The parts that are there of a snapshot that comes in parts; its upload begins when there is none (any more)."""
    assert snapshot.coming_key is not None
    assert snapshot.coming_bytes is not None
    if snapshot.coming_upload_id is not None:
        there = incoming.parts_there(tier, snapshot.coming_key, snapshot.coming_upload_id, snapshot.coming_bytes)
        if there is not None:
            return there
    upload_id = tier.begin_upload(snapshot.coming_key, tier.settings.storage_class)
    with archive.ledger.begin() as tx:
        tx.update_snapshot(snapshot, coming_upload_id=upload_id)
    return {}


def parts(archive: Archive, sender: Sender, dataset_id: int, snapshot_id: int, numbers: Collection[int]) -> dict[int, Signed]:
    """Requests for these parts of a snapshot, by number. Raises `NotFound`, `Conflict` (it is not being sent in parts), `WrongUse`."""
    tier = archive.tiers[policy.HOT]
    with archive.ledger.read() as tx:
        snapshot = _mine(tx, sender, dataset_id, [snapshot_id])[snapshot_id]
    key, upload_id, size_bytes = snapshot.coming_key, snapshot.coming_upload_id, snapshot.coming_bytes
    path = names.text(snapshot.shown_raw)
    if snapshot.state is not SnapshotState.SENDING or key is None or upload_id is None or size_bytes is None:
        raise Conflict(f"{path} is not being sent in parts.", "Ask again how it is sent: POST snapshots.")
    sizes = incoming.wanted_parts(tier, size_bytes, numbers, path)
    valid = archive.settings.reception.upload_valid
    return {number: tier.signed_part(key, upload_id, number, sizes[number], valid) for number in numbers}


def done(archive: Archive, sender: Sender, dataset_id: int, sent: Sequence[Sent]) -> dict[int, str]:
    """All of these was sent: the worker proves and shows them. Returns `verifying`, `shown` or `missing` (not all is there) of each.

    Raises `NotFound`, `StoreUnavailable`.
    """
    with archive.ledger.read() as tx:
        mine = _mine(tx, sender, dataset_id, [one.snapshot_id for one in sent])
    states = {}
    for one in sent:
        snapshot = mine[one.snapshot_id]
        if snapshot.state is SnapshotState.SENDING:
            version_id = _arrived(archive.tiers[policy.HOT], snapshot, one.version_id)
            if version_id is not None:
                with archive.ledger.begin(sender.name) as tx:
                    tx.move_snapshot(snapshot, SnapshotState.PROVING, coming_sha256=one.sha256, coming_version_id=version_id)
            states[one.snapshot_id] = "missing" if version_id is None else "verifying"
        elif snapshot.state is SnapshotState.SHOWN:
            states[one.snapshot_id] = "shown" if snapshot.sha256 == one.sha256 else "missing"
        else:
            states[one.snapshot_id] = "verifying"
    return states


def _arrived(tier: Tier, snapshot: Snapshot, told: str | None) -> str | None:
    """The version that was sent; None: not all of it is there."""
    key, size_bytes = snapshot.coming_key, snapshot.coming_bytes
    assert key is not None
    assert size_bytes is not None
    if snapshot.coming_upload_id is not None:
        try:
            version_id = incoming.completed(tier, key, snapshot.coming_upload_id, size_bytes)
        except incoming.NotAll:
            return None
        if version_id is not None:
            return version_id
    elif told is not None:
        return told  # believed, as it is read back before it counts
    there = tier.begin_look(key)()
    return there.version_id if there is not None and there.size_bytes == size_bytes else None


def _mine(tx: Transaction, sender: Sender, dataset_id: int, snapshot_ids: Collection[int]) -> dict[int, Snapshot]:
    """Snapshots that the sender sends to this dataset or those that continue it. Raises `NotFound`."""
    found = {one.id: one for one in tx.snapshots([link.id for link in incoming.chain(tx, sender, dataset_id)])}
    for snapshot_id in snapshot_ids:
        if snapshot_id not in found:
            raise NotFound(f"There is no snapshot number {snapshot_id} that {sender.name} sends.", "Announce it again: POST snapshots.")
    return {snapshot_id: found[snapshot_id] for snapshot_id in snapshot_ids}


def of_sender(archive: Archive, sender: Sender, dataset_id: int) -> list[Snapshot]:
    """Those of a dataset and of those that continue it. Raises `NotFound`."""
    with archive.ledger.read() as tx:
        return tx.snapshots([link.id for link in incoming.chain(tx, sender, dataset_id)])
