"""What every verb works with: settings, ledger, tiers and clock, in one value that is handed down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from archiver.config import Settings
from archiver.ledger import Ledger, Transaction
from archiver.policy import View
from archiver.storage import Tier

STUB_NAME = "NEVE-ARCHIVED.txt"
"""Reserved: what stands in hot where a dataset has left (Law 3)."""


@dataclass(frozen=True)
class Archive:
    """The archive as one process sees it; made in app.py only."""

    settings: Settings
    ledger: Ledger
    tiers: Mapping[str, Tier]

    @property
    def clock(self) -> Callable[[], datetime]:
        return self.ledger.clock

    @property
    def spool(self) -> Path:
        """Folder for what is made here before it is received (manifests)."""
        return self.settings.home / "spool"


def utc_now() -> datetime:
    """Aware UTC."""
    return datetime.now(UTC)


def view(tx: Transaction, dataset_id: int) -> View:
    """All that policy needs to decide about a dataset, read in one transaction."""
    return View(
        dataset=tx.dataset(dataset_id),
        files=tx.files(dataset_id),
        objects=tx.objects(dataset_id),
        copies=tx.copies(dataset_id),
        transfers=tx.transfers(dataset_id),
        drops=tx.drops(dataset_id),
        claims=tx.claims(dataset_id),
        restores=tx.restores_of(dataset_id),
    )
