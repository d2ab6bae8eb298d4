"""What every verb works with: settings, ledger, tiers and clock, in one value that is handed down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from archiver.config import Settings
from archiver.ledger import Ledger, Transaction
from archiver.policy import HOT, View, stands_until
from archiver.storage import Tier

STUB_NAME = "NEVE-ARCHIVED.txt"
"""Reserved: what stands in hot where a dataset has left (Law 3)."""
BUNDLE_NAME = "NEVE-BUNDLE-{number:05d}.tar"
"""Reserved: a dataset's bundles, beside its other objects in the tiers that take bundles."""


def utc_now() -> datetime:
    """Aware UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Archive:
    """The archive as one process sees it; made in app.py only.

    `wall` is this machine's clock, whatever time the archive is told to act at (`clock`).
    """

    settings: Settings
    ledger: Ledger
    tiers: Mapping[str, Tier]
    wall: Callable[[], datetime] = utc_now

    @property
    def clock(self) -> Callable[[], datetime]:
        return self.ledger.clock

    @property
    def spool(self) -> Path:
        """Folder for what is made here before it is received (manifests)."""
        return self.settings.home / "spool"


def view(tx: Transaction, dataset_id: int) -> View:
    """All that policy needs to decide about a dataset, read in one transaction: one picture, and still true when that writes."""
    if tx.writing:
        tx.hold_still(dataset_id)
    return View(
        dataset=tx.dataset(dataset_id),
        files=tx.files(dataset_id),
        objects=tx.objects(dataset_id),
        copies=tx.copies(dataset_id),
        transfers=tx.transfers(dataset_id),
        drops=tx.drops(dataset_id),
        claims=tx.claims(dataset_id),
        restores=tx.restores_of(dataset_id),
        members=tx.members(dataset_id),
        erased=frozenset(f.object_id for f in tx.erased_files(dataset_id)),
    )


def packs_view(tx: Transaction, dataset_id: int) -> View:
    """What of an open dataset with small files only is to be decided: the packs that stand in hot, and what of those that may go is laid out.

    Its files are not read: with each pack that comes they would cost more.
    """
    if tx.writing:
        tx.hold_still(dataset_id)
    packs, copies, transfers = tx.packs_standing(dataset_id)
    may_go = [copy.object_id for copy in copies if copy.tier == HOT and stands_until(copy) <= tx.at]
    members, laid_out = tx.laid_out_of(may_go)
    return View(tx.dataset(dataset_id), [], packs, [*copies, *laid_out], transfers, tx.drops(dataset_id), [], [], members)
