"""Strays: what stands, or comes to stand, at keys in hot that were given up: of packs that were taken apart, of files that were forgotten.

Law: a sender may use a presigned request as long as it is valid, whatever the ledger says by then, and this process may end between giving a
key up and clearing it. So a key is written down in the step that gives it up; it is looked at within minutes, and once more when nothing can
come any more. What stands there is ended, unless the key is used again.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from archiver import policy, transfer
from archiver.archive import Archive
from archiver.ledger import Transaction

log = logging.getLogger(__name__)

EVERY = timedelta(minutes=5)
_AT_ONCE = 1000


def run(archive: Archive) -> None:
    """The chore. Raises `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        found = tx.strays(_AT_ONCE)
    for key, since in found:
        _look_at(archive, key, since)


def _look_at(archive: Archive, key: str, since: datetime) -> None:
    """While its key is used again, what stands there is that arrival's business."""
    tier = archive.tiers[policy.HOT]
    over = since + archive.settings.reception.upload_valid
    there = tier.begin_look(key)()
    with archive.ledger.read() as tx:
        used = _in_use(tx, key)
    if not used:
        tier.abort_uploads(key, {key})
        if there is not None:  # what came since is another version, and is looked at then
            transfer.clear(archive, tier, key, there.version_id)
    with archive.ledger.begin() as tx:
        if tx.at > over:
            tx.end_stray(key)
        else:
            tx.look_at_stray_again(key, over + EVERY)


def _in_use(tx: Transaction, key: str) -> bool:
    obj = tx.object_with_key(key)
    mine = obj is not None and (tx.transfer_into(obj.id, policy.HOT) is not None or any(c.tier == policy.HOT for c in tx.copies_of(obj.id)))
    return mine or bool(tx.snapshot_keys([key]))
