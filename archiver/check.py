"""`archiver ledger check`: what must be true of the ledger at any quiet moment, and what is not.

Each line returned names the dataset, the file and what is missing; an empty list means that every invariant holds.
"""

from __future__ import annotations

from datetime import datetime

from archiver import policy
from archiver.archive import Archive, view
from archiver.config import Settings
from archiver.ledger.browse import Query
from archiver.model import DatasetState, FileState, TransferState
from archiver.policy import View


def check(archive: Archive) -> list[str]:
    """Every closed dataset's copies against its claims and `copies_min`, and every history's numbering."""
    broken: list[str] = []
    with archive.ledger.read() as tx:
        cursor = None
        while page := tx.search(Query(), 200, cursor):
            for dataset in page:
                events = tx.events(dataset.id)
                if [e.seq for e in events] != list(range(1, len(events) + 1)):
                    broken.append(f"{dataset.full_name}: its history has a gap")
                if dataset.state is DatasetState.CLOSED:
                    broken += _dataset(view(tx, dataset.id), archive.settings, tx.at)
            last = page[-1]
            cursor = (last.acquired_at or last.received_at, last.id)
    return broken


def _dataset(seen: View, settings: Settings, now: datetime) -> list[str]:
    want, _ = policy.wanted(seen, settings, now)
    going = {d.copy_id for d in seen.drops}
    under_way = {(t.object_id, t.tier) for t in seen.transfers if t.state is not TransferState.QUARANTINED}
    given_up = {(t.object_id, t.tier): t.error for t in seen.transfers if t.state is TransferState.QUARANTINED}
    name = seen.dataset.full_name
    broken = [f"{name}: {f.path} is not received, though the dataset is closed" for f in seen.files if f.state is not FileState.RECEIVED]
    for obj in seen.objects:
        if obj.sha256 is None:
            broken.append(f"{name}: nothing is recorded of {obj.key}")
        counted = [c for c in seen.copies if c.object_id == obj.id and c.id not in going]
        places = {settings.tiers[c.tier].place for c in counted if c.tier in settings.tiers}
        for tier in want[obj.id] - {c.tier for c in counted}:
            if (obj.id, tier) in given_up:
                broken.append(f"{name}: {obj.key} has no copy in {tier}: {given_up[obj.id, tier]}")
            elif (obj.id, tier) not in under_way and seen.dataset.look_at is None:
                broken.append(f"{name}: {obj.key} has no copy in {tier} and nothing is under way")
        least = policy.copies_min(seen.dataset, settings, now)
        if len(places) < least and not any(o == obj.id for o, _ in under_way) and seen.dataset.look_at is None:
            broken.append(f"{name}: {obj.key} lies in {len(places)} place(s), {least} are needed")
    return broken
