"""What becomes of snapshots that were sent: proven, shown over the one before, removed when their file is received, or a file at the close.

Law: each step is in the ledger before it is done, and can be repeated after a crash at any line. A snapshot that is not what its sender told of
is dropped with a line in the history, and another one follows; none holds up a close or a file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from archiver import incoming, names, policy
from archiver.archive import Archive
from archiver.errors import StoreUnavailable
from archiver.ledger import Transaction
from archiver.ledger.receiving import NewFile
from archiver.ledger.snapshots import NOTHING_COMES
from archiver.ledger.store import Moved
from archiver.model import SNAPSHOT_CHANGES, SNAPSHOT_MARK, UPLOAD_URI, MetadataState, Snapshot, SnapshotState, TransferState, Upload
from archiver.storage import Tier, Vanished

log = logging.getLogger(__name__)

EVERY = timedelta(hours=1)
_GIVEN_UP_AFTER = timedelta(days=1)  # one that is announced and not sent
_MAX_BACKOFF = timedelta(minutes=5)
_NEXT = "Another one is taken by itself."


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
        with suppress(Moved):
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
    assert snapshot.coming_bytes is not None
    assert snapshot.coming_version_id is not None
    found = tier.digest(snapshot.coming_key, snapshot.coming_version_id, snapshot.coming_bytes)
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
        found = tier.digest(snapshot.key, head.version_id, head.size_bytes)
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
        incoming.remove(tier, snapshot.coming_key)
    tier.delete_all_versions(snapshot.key, but=snapshot.version_id)
    with archive.ledger.begin() as tx:
        tx.move_snapshot(snapshot, SnapshotState.SHOWN, **NOTHING_COMES)


def _end(archive: Archive, tier: Tier, snapshot: Snapshot) -> None:
    """Remove all of it, then forget it."""
    if snapshot.coming_key is not None:
        incoming.remove(tier, snapshot.coming_key)
    if snapshot.version_id is not None:  # else nothing was put there, and what stands is another's
        incoming.remove(tier, snapshot.key)
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
    (transfer_id,) = tx.plan_arrivals([(obj, f"{UPLOAD_URI}{SNAPSHOT_MARK}")])
    tx.add_uploads([Upload(transfer_id, snapshot.dataset_id, snapshot.shown_raw, SNAPSHOT_MARK, None, snapshot.sha256, tx.at)])
    tx.update_object(obj.id, sha256=snapshot.sha256)
    tx.begin_arrivals([tx.transfer(transfer_id)])
    tx.change("transfer", tx.transfer(transfer_id), TransferState.VERIFYING, version_id=snapshot.version_id)
    tx.forget_snapshot(snapshot, "promoted", "the dataset closes, and the file itself was not received")


def sweep(archive: Archive) -> None:
    """The chore: end what was announced and never sent, and what was sent for no snapshot. Raises `StoreUnavailable`."""
    tier = archive.tiers[policy.HOT]
    for key in _strays(archive, tier):
        log.warning("removing what was left of a snapshot: %s", key)
        incoming.remove(tier, key)
    with archive.ledger.begin() as tx:
        for one in tx.snapshots_announced_before(tx.at - _GIVEN_UP_AFTER):
            _dropped(tx, one, "it was announced a day ago and not sent")


def _strays(archive: Archive, tier: Tier) -> Iterator[str]:
    """Keys below that of snapshots to which none is being sent. (A key is written down before a request is signed for it, so it is seen first.)"""
    there = {one.key for one in tier.listed(names.SNAPSHOTS)} | {one.key for one in tier.uploads(names.SNAPSHOTS)}
    with archive.ledger.read() as tx:
        return iter(sorted(there - tx.snapshot_keys()))
