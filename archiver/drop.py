"""Ending copies: `planned → checked → dropped`, or `revoked`.

Law 1: no copy is dropped unless what remains reaches `copies_min`, proven. Checked means: each copy that counts was found in the
store by version, and its proof is younger than the fixity period, or was made anew just now. Serial per dataset.
"""

from __future__ import annotations

import logging
from datetime import datetime

from archiver import policy
from archiver.archive import STUB_NAME, Archive, view
from archiver.errors import ProofFailed, StoreUnavailable
from archiver.ledger.store import Moved
from archiver.model import Copy, Dataset, Drop, DropState
from archiver.proof import prove
from archiver.storage import Vanished

log = logging.getLogger(__name__)


def run(archive: Archive, dataset_id: int) -> bool:
    """Carry out a dataset's drops, one after the other. What is left (the store does not answer) is tried at the next turn.

    Returns whether any came further.
    """
    with archive.ledger.read() as tx:
        drops = tx.drops(dataset_id)
    for done, drop in enumerate(drops):
        try:
            _carry_out(archive, drop)
        except Moved:
            log.info("drop %s was moved by another hand", drop.id)
        except StoreUnavailable as error:
            log.warning("drop %s waits: %s", drop.id, error)
            return done > 0
    return bool(drops)


def _carry_out(archive: Archive, drop: Drop) -> None:
    if drop.state is DropState.PLANNED:
        checked = _check(archive, drop)
        if checked is None:
            return
        drop = checked
    with archive.ledger.read() as tx:
        copy = tx.copy(drop.copy_id)
    archive.tiers[copy.tier].delete_version(copy.key, copy.version_id)
    with archive.ledger.begin() as tx:
        tx.finish_drop(drop)


def _check(archive: Archive, drop: Drop) -> Drop | None:
    """Prove that what remains is enough; then the drop is checked. Else it is revoked, and None is returned."""
    with archive.ledger.read() as tx:
        copy = tx.copy(drop.copy_id)
        going = {d.copy_id for d in tx.drops(drop.dataset_id)}
        remaining = [c for c in tx.copies_of(copy.object_id) if c.id not in going]
    sound = [c for c in remaining if _sound(archive, c, drop.dataset_id)]
    with archive.ledger.begin() as tx:
        seen = view(tx, drop.dataset_id)
        want, _ = policy.wanted(seen, archive.settings, tx.at)
        live = {c.id for c in seen.copies} - {d.copy_id for d in seen.drops}  # another hand may have found one lost meanwhile
        places = {archive.settings.tiers[c.tier].place for c in sound if c.id in live}
        least = policy.copies_min(seen.dataset, archive.settings, tx.at)
        reason = None
        if copy.tier in want[copy.object_id]:
            reason = "it is claimed again"
        elif len(places) < least:
            reason = f"{len(places)} sound copies in distinct places remain, {least} are needed"
        if reason is not None:
            tx.change("drop", drop, DropState.REVOKED, reason=reason)
            tx.look(drop.dataset_id)
            return None
        tx.change("drop", drop, DropState.CHECKED)
        return tx.drop(drop.id)


def _sound(archive: Archive, copy: Copy, dataset_id: int) -> bool:
    """Whether a copy stands in the store and is freshly proven; one that does not is struck out, so that it is made anew."""
    tier = archive.tiers[copy.tier]
    with archive.ledger.read() as tx:
        obj = tx.object(copy.object_id)
    try:
        head = tier.head(copy.key, copy.version_id)
        if head is None:
            return _lost(archive, copy, dataset_id, "it is not in the store")
        if head.size_bytes != obj.size_bytes:
            return _lost(archive, copy, dataset_id, f"it has {head.size_bytes} bytes, recorded were {obj.size_bytes}")
        if archive.clock() - copy.proven_at > archive.settings.policy.fixity_period:
            proof = prove(tier, obj, copy.version_id)
            with archive.ledger.begin() as tx:
                tx.prove_copy(copy.id, proof)
    except (Vanished, ProofFailed) as error:
        return _lost(archive, copy, dataset_id, str(error))
    return True


def _lost(archive: Archive, copy: Copy, dataset_id: int, why: str) -> bool:
    log.error("the copy of %s in %s is lost: %s", copy.key, copy.tier, why)
    with archive.ledger.begin() as tx:
        tx.lose_copy(copy, dataset_id, why)
    return False


# the stub


def lay_stub(archive: Archive, dataset: Dataset) -> None:
    """Before anything leaves hot, say where it went and how it comes back (Law 3)."""
    with archive.ledger.read() as tx:
        elsewhere = sorted({c.tier for c in tx.copies(dataset.id)} - {policy.HOT}, key=list(archive.settings.tiers).index)
    archive.tiers[policy.HOT].put_text(f"{dataset.prefix}/{STUB_NAME}", _stub_text(dataset, archive.clock(), elsewhere))
    with archive.ledger.begin() as tx:
        tx.update_dataset(dataset.id, stub_at=tx.at)
        tx.event(dataset.id, "stub.laid", {})


def take_stub(archive: Archive, dataset: Dataset) -> None:
    """All files are back: the stub goes."""
    archive.tiers[policy.HOT].delete_all_versions(f"{dataset.prefix}/{STUB_NAME}")
    with archive.ledger.begin() as tx:
        tx.update_dataset(dataset.id, stub_at=None)
        tx.event(dataset.id, "stub.taken", {})


def _stub_text(dataset: Dataset, now: datetime, elsewhere: list[str]) -> str:
    return (
        f"{dataset.full_name} was here and is safe.\n\n"
        f"Its {dataset.file_count} file(s), {dataset.size_bytes:,} bytes, left the fast storage on {now:%Y-%m-%d}; "
        f"proven copies lie in {', '.join(elsewhere)}.\n\n"
        f"To have it back at this very path:\n"
        f'  in a notebook     import neve; neve.restore("{dataset.full_name}").wait()\n'
        f"  on the web        the catalog page of the hub, Restore\n"
    )
