"""Location records: for each dataset and tier one small object that says which versions there are its proven copies.

Law 6, rule 11: with manifests and these the ledger can be made again from the stores alone. A record is written after copies are
proven and before one goes; a copy whose drop is checked is in it no more. Each lies in the bucket it tells of, class STANDARD. What people say of
the dataset, which changes as long as they do, stands in it too: the manifest never changes.
"""

from __future__ import annotations

import json
import logging

from archiver import names
from archiver.archive import Archive
from archiver.errors import StoreUnavailable
from archiver.ledger.store import Moved
from archiver.model import DropState

log = logging.getLogger(__name__)

_AT_ONCE = 100


def write_due(archive: Archive) -> bool:
    """Write the records that lack something; returns whether any was written. A tier whose store does not answer is left for later."""
    with archive.ledger.read() as tx:
        due = [location for location in tx.locations_due(_AT_ONCE) if location.tier in archive.tiers]
    done = False
    for location in due:
        try:
            write(archive, location.dataset_id, location.tier)
            done = True
        except Moved:
            done = True
        except StoreUnavailable as error:
            log.warning("a location record waits: %s", error)
    return done


def write_all(archive: Archive, dataset_id: int) -> None:
    """Write those of a dataset's records that lack something. Raises `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        due = [location.tier for location in tx.locations_of(dataset_id) if location.dirty_at is not None and location.tier in archive.tiers]
    for tier in due:
        write(archive, dataset_id, tier)


def write(archive: Archive, dataset_id: int, tier: str) -> None:
    """Write one record as the ledger is now; copies whose drop is checked are left out. Raises `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        dataset = tx.dataset(dataset_id)
        going = {d.copy_id for d in tx.drops(dataset_id) if d.state is DropState.CHECKED}
        copies = [c for c in tx.copies(dataset_id, tier) if c.id not in going]
        objects = {o.id: o for o in tx.objects(dataset_id)}
        remarks = tx.remarks(dataset_id)
        at = tx.at
    said = {
        "neve_location": 1,
        "dataset": dataset.full_name,
        "prefix": dataset.prefix,
        "tier": tier,
        "at": at.isoformat(),
        "copies": [
            {
                "key": c.key,
                "version_id": c.version_id,
                "storage_class": c.storage_class,
                "size_bytes": objects[c.object_id].size_bytes,
                "sha256": objects[c.object_id].sha256,
                "crc64nvme": objects[c.object_id].crc64nvme,
                "proof": c.proof,
                "proven_at": c.proven_at.isoformat(),
            }
            for c in sorted(copies, key=lambda c: c.key)
        ],
        **({"remarks": {"at": at.isoformat(), **remarks}} if any(remarks.values()) else {}),
    }
    version_id = archive.tiers[tier].put_text(names.location_key(dataset.prefix), json.dumps(said, ensure_ascii=False, sort_keys=True))
    with archive.ledger.begin() as tx:
        tx.located(dataset_id, tier, version_id, [c.id for c in copies], whole=tx.remarks(dataset_id) == remarks)
