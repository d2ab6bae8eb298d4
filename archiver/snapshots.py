"""Snapshots: a file that grows for hours, as it was a few minutes ago, beside the place where it will be itself.

Law: a snapshot is no file of its dataset: it is in no manifest, no receipt, no claim, and holds neither a close nor a file up. It is shown
only once it was proven, over the one before, so that its path always shows a whole one; it goes when its file is received. Where a dataset
closes and the file never came, it becomes a file itself: a reception loses nothing. Each step is in the ledger before it is done, and can
be repeated after a crash at any line; a snapshot that is not what was told is dropped with a line in the history, and another one follows.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from archiver import arrivals, incoming, names, policy
from archiver.archive import Archive
from archiver.errors import Conflict, NotFound, StoreUnavailable
from archiver.keys import Sender
from archiver.ledger import Transaction
from archiver.ledger.receiving import NewFile
from archiver.ledger.snapshots import NOTHING_COMES
from archiver.ledger.store import Moved
from archiver.model import (
    SNAPSHOT_CHANGES,
    SNAPSHOT_MARK,
    UPLOAD_URI,
    Dataset,
    MetadataState,
    Snapshot,
    SnapshotState,
    TransferState,
    Upload,
)
from archiver.storage import Part, Signed, Tier, Vanished

log = logging.getLogger(__name__)

EVERY = timedelta(hours=1)
_GIVEN_UP_AFTER = timedelta(days=1)  # one that is announced and not sent
_MAX_BACKOFF = timedelta(minutes=5)
_NEXT = "Another one is taken by itself."


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


# what senders ask


def begin(archive: Archive, sender: Sender, dataset_id: int, cuts: Sequence[Cut]) -> list[Item]:
    """Announce snapshots and say how each is sent, in order: all of them, or none.

    Raises `NotFound`, `WrongUse` (a path), `TooLarge`, `ReceptionFull` (files come first), `StoreUnavailable`.
    """
    incoming.check(archive, ((cut.path_raw, cut.size_bytes) for cut in cuts))
    with archive.ledger.read() as tx:
        first = incoming.chain(tx, sender, dataset_id)[0]
        incoming.room(archive, tx, sum(cut.size_bytes for cut in cuts), tx.snapshot_bytes())
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
        _remove(tier, key)
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


# what the worker does


def look(archive: Archive) -> bool:
    """Those whose file is received, or whose dataset is no longer open, end from now on; returns whether any does."""
    with archive.ledger.read() as tx:
        if not tx.snapshots_wait():
            return False
        over = {one.id: (one, "the file itself is received") for one in tx.superseded()}
        over |= {one.id: (one, "the dataset is closed") for one in tx.stranded_snapshots()}
    ended = False
    for one, why in over.values():
        if SnapshotState.ENDING in _changes(one):
            with archive.ledger.begin() as tx:
                tx.move_snapshot(one, SnapshotState.ENDING, error=why)
            ended = True
    return ended


def _changes(one: Snapshot) -> frozenset[SnapshotState]:
    """What may become of it now: what a worker has in hand is let be until that is done."""
    return frozenset() if one.state in {SnapshotState.PROVING, SnapshotState.SHOWING} else SNAPSHOT_CHANGES[one.state]


def advance(archive: Archive, snapshot: Snapshot) -> bool:
    """Bring one a step on; returns whether it came further. What goes wrong is recorded in it."""
    try:
        _STEPS[snapshot.state](archive, archive.tiers[policy.HOT], snapshot)
    except Moved:
        return True
    except Vanished:
        _give_up(archive, snapshot, "what was sent is not in the store")
    except StoreUnavailable as error:
        wait = min(archive.settings.worker.backoff * 2 ** min(snapshot.attempts, 16), _MAX_BACKOFF)
        log.warning("the snapshot %s waits: %s", snapshot.key, error)
        with archive.ledger.begin() as tx:
            later = {"next_try_at": tx.at + wait, "attempts": snapshot.attempts + 1, "error": str(error)}
            tx.update_snapshot(snapshot, **later, lease_by=None, lease_until=None)
        return False
    return True


def _prove(archive: Archive, tier: Tier, snapshot: Snapshot) -> None:
    """Read what was sent back: it must be what its sender told of."""
    assert snapshot.coming_key is not None
    assert snapshot.coming_version_id is not None
    found = tier.digest(snapshot.coming_key, snapshot.coming_version_id)
    if (found.size_bytes, found.sha256) != (snapshot.coming_bytes, snapshot.coming_sha256):
        told = f"{snapshot.coming_bytes} and {snapshot.coming_sha256}"
        _give_up(archive, snapshot, f"{found.size_bytes} bytes with SHA-256 {found.sha256} arrived, the sender told of {told}")
        return
    with archive.ledger.begin() as tx:
        tx.move_snapshot(snapshot, SnapshotState.SHOWING)


def _show(archive: Archive, tier: Tier, snapshot: Snapshot) -> None:
    """Put it where it is shown, over the one before: readers see that, or this one."""
    assert snapshot.coming_key is not None
    assert snapshot.coming_bytes is not None
    assert snapshot.coming_version_id is not None
    version_id = None
    if snapshot.version_id is None and (head := tier.head(snapshot.key)) is not None:
        # Put there by a step that was cut short; anything else is not ours to write over.
        found = tier.digest(snapshot.key, head.version_id)
        if (found.size_bytes, found.sha256) != (snapshot.coming_bytes, snapshot.coming_sha256):
            _give_up(archive, snapshot, f"{snapshot.key} holds an object that the ledger does not know")
            return
        version_id = head.version_id
    if version_id is None:
        storage_class = tier.settings.storage_class
        version_id = tier.copy_over(snapshot.coming_key, snapshot.coming_version_id, snapshot.key, snapshot.coming_bytes, storage_class)
    with archive.ledger.begin() as tx:
        shown: dict[str, Any] = {
            "version_id": version_id,
            "size_bytes": snapshot.coming_bytes,
            "sha256": snapshot.coming_sha256,
            "mark": snapshot.coming_mark,
            "mtime": snapshot.coming_mtime,
            "taken_at": snapshot.coming_taken_at,
            "proven_at": tx.at,
        }
        tx.move_snapshot(snapshot, SnapshotState.CLEARING, "shown", **shown, error=None)


def _clear(archive: Archive, tier: Tier, snapshot: Snapshot) -> None:
    """Remove what it came by, and what it replaced."""
    if snapshot.coming_key is not None:
        _remove(tier, snapshot.coming_key)
    tier.delete_all_versions(snapshot.key, but=snapshot.version_id)
    with archive.ledger.begin() as tx:
        tx.move_snapshot(snapshot, SnapshotState.SHOWN, **NOTHING_COMES)


def _end(archive: Archive, tier: Tier, snapshot: Snapshot) -> None:
    """Remove all of it, then forget it."""
    if snapshot.coming_key is not None:
        _remove(tier, snapshot.coming_key)
    if snapshot.version_id is not None:  # else nothing was put there, and what stands is another's
        _remove(tier, snapshot.key)
    with archive.ledger.begin() as tx:
        tx.forget_snapshot(snapshot, "ended", snapshot.error or "")


_STEPS = {SnapshotState.PROVING: _prove, SnapshotState.SHOWING: _show, SnapshotState.CLEARING: _clear, SnapshotState.ENDING: _end}


def _give_up(archive: Archive, snapshot: Snapshot, why: str) -> None:
    """What comes is dropped; the one before, if there is one, stands."""
    log.warning("a snapshot is dropped: %s: %s", snapshot.key, why)
    with archive.ledger.begin() as tx:
        _dropped(tx, snapshot, why)


def _dropped(tx: Transaction, snapshot: Snapshot, why: str) -> None:
    to = SnapshotState.ENDING if snapshot.version_id is None else SnapshotState.CLEARING
    tx.move_snapshot(snapshot, to, "dropped", f"{why}. {_NEXT}", error=why)


def _remove(tier: Tier, key: str) -> None:
    tier.abort_uploads(key, {key})
    tier.delete_all_versions(key)


def settle(archive: Archive, dataset_id: int) -> tuple[bool, bool]:
    """Before a dataset closes: what is shown of files that were never received becomes files, the rest ends.

    Returns whether there is no snapshot any more, and whether any came further just now.
    """
    moved = False
    with archive.ledger.begin() as tx:
        tx.hold_still(dataset_id)
        left = tx.snapshots([dataset_id])
        received = {one.id for one in tx.superseded([dataset_id])}
        for one in left:
            if one.state is SnapshotState.SENDING:
                _dropped(tx, one, "the dataset closes before all of it was sent")
            elif one.state is SnapshotState.SHOWN and one.id in received:
                tx.move_snapshot(one, SnapshotState.ENDING, error="the file itself is received")
            elif one.state is SnapshotState.SHOWN:
                _promote(tx, one)
            else:
                continue  # the worker has it in hand
            moved = True
    return not left, moved


def _promote(tx: Transaction, snapshot: Snapshot) -> None:
    """It becomes a file, at its own path and key: what stands there is proven as any that was sent."""
    assert snapshot.size_bytes is not None
    path = names.text(snapshot.shown_raw)
    new = NewFile(path, snapshot.shown_raw, snapshot.key, snapshot.size_bytes, snapshot.mtime)
    ((_, obj),) = tx.add_files(snapshot.dataset_id, [new], MetadataState.WAITING)
    (transfer_id,) = tx.plan_transfers([(obj, policy.HOT, None, None)], f"{UPLOAD_URI}{SNAPSHOT_MARK}")
    tx.add_uploads([Upload(transfer_id, snapshot.dataset_id, snapshot.shown_raw, SNAPSHOT_MARK, None, snapshot.sha256, tx.at)])
    tx.update_object(obj.id, sha256=snapshot.sha256)
    tx.change("transfer", tx.transfer(transfer_id), TransferState.COPYING)
    tx.change("transfer", tx.transfer(transfer_id), TransferState.VERIFYING, version_id=snapshot.version_id)
    tx.forget_snapshot(snapshot, "promoted", "the dataset closes, and the file itself was not received")


def sweep(archive: Archive) -> None:
    """The chore: end what was announced and never sent, and what was sent for no snapshot. Raises `StoreUnavailable`."""
    tier = archive.tiers[policy.HOT]
    for key in _strays(archive, tier):
        log.warning("removing what was left of a snapshot: %s", key)
        _remove(tier, key)
    with archive.ledger.begin() as tx:
        for one in tx.snapshots_announced_before(tx.at - _GIVEN_UP_AFTER):
            _dropped(tx, one, "it was announced a day ago and not sent")


def _strays(archive: Archive, tier: Tier) -> Iterator[str]:
    """Keys below that of snapshots to which none is being sent. (A key is written down before a request is signed for it, so it is seen first.)"""
    there = {one.key for one in tier.listed(names.SNAPSHOTS)} | {one.key for one in tier.uploads(names.SNAPSHOTS)}
    with archive.ledger.read() as tx:
        return iter(sorted(there - tx.snapshot_keys()))
