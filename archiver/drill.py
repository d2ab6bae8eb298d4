"""Drills: every `proof.drill_every` a random cold dataset is brought back to a scratch prefix in hot and compared with its arrival sums.

`planned → running → passed`, or `failed`. The tier whose last drill is longest ago has its turn, so that each has. Recalls are those of
the ledger, shared with whoever else waits for the same copies. What is measured is the time from asking to the last byte compared.

Law: a run of the chore takes a drill as far as it goes now, and never waits. Nothing is kept but the state: what a run that was cut
short left in the scratch prefix `.neve/drill/<id>/` is ended by the next, and the prefix is empty before the drill ends. A store that is
away is waited for, up to a day beyond twice the tier's promise; bytes that differ fail the drill, and their copy is struck out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from archiver import losses, policy
from archiver.archive import Archive
from archiver.errors import PublicError
from archiver.ledger import Transaction
from archiver.ledger.store import Moved
from archiver.model import Copy, Dataset, Drill, DrillState, Object, RecallState
from archiver.storage import Digester, NotReadable, Tier, Vanished

EVERY = timedelta(minutes=1)
"""How often `run` shall come."""
_PATIENCE = timedelta(days=1)
_STAYS = timedelta(days=30)  # a dataset that leaves the tier sooner is not chosen
_PICKS = 20


@dataclass(frozen=True)
class _Part:
    """Where the bytes of one object are drilled from; `offset_bytes` in a bundle."""

    obj: Object
    copy: Copy
    offset_bytes: int | None


class _Failed(Exception):
    """The drill has failed, with the reason; `copy`: the copy whose bytes it was."""

    def __init__(self, why: str, copy: Copy | None = None, *, gone: bool = False) -> None:
        super().__init__(why)
        self.copy, self.gone = copy, gone


class _Lapsed(Exception):
    """A copy that could be read is cold again."""


def run(archive: Archive) -> None:
    """The chore: begin a drill when one is due, and take the one under way as far as it goes. Raises `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        drill, before, now = tx.drill_under_way(), tx.drills(1), tx.at
    if drill is None and (not before or now >= before[0].created_at + archive.settings.proof.drill_every):
        drill = begin(archive)
    if drill is not None:
        advance(archive, drill)


def begin(archive: Archive, seed: str | None = None) -> Drill | None:
    """Choose a tier and a dataset and write the drill down; None when there is nothing to drill, or one is under way.

    `seed`: of the choice (default: day and number of drills so far); it stands in the event `drill.planned`.
    """
    with archive.ledger.begin() as tx:
        if tx.drill_under_way() is not None:
            return None
        newest = tx.drills(1)
        seed = seed or f"{tx.at:%Y-%m-%d}/{newest[0].id if newest else 0}"
        dice = random.Random(seed)  # noqa: S311  # a fair choice that can be repeated, no secret
        drilled = tx.last_drilled()
        tiers = [name for name in archive.settings.tiers if name != policy.HOT]
        dice.shuffle(tiers)
        for tier in sorted(tiers, key=lambda name: (name in drilled, drilled.get(name, tx.at))):
            chosen = _choose(archive, tx, tier, dice)
            if chosen is not None:
                return tx.plan_drill(chosen, tier, seed)
    return None


def _choose(archive: Archive, tx: Transaction, tier: str, dice: random.Random) -> Dataset | None:
    """A random dataset that lies in `tier` as a whole and stays there for a while; those that have left hot before others."""
    most = archive.settings.proof.drill_max_bytes
    for cold in (True, False):
        count = tx.drillable(tier, most, cold=cold)
        for number in dice.sample(range(count), min(count, _PICKS)):
            dataset = tx.nth_drillable(tier, most, number, cold=cold)
            if dataset is None:
                continue
            stays = any(claim.tier == tier for claim in policy.age_claims(dataset, archive.settings, tx.at + _STAYS))
            if stays and _parts(tx, dataset.id, tier) is not None:
                return dataset
    return None


def _parts(tx: Transaction, dataset_id: int, tier: str) -> list[_Part] | None:
    """Each file's bytes in a tier; None when some are not there."""
    objects = {obj.id: obj for obj in tx.objects(dataset_id)}
    lies = {c.object_id: c for c in tx.copies(dataset_id, tier)}
    bundled = {m.object_id: m for m in tx.members(dataset_id) if m.bundle_id in lies}
    parts = []
    for file in tx.files(dataset_id):
        if file.object_id in lies:
            parts.append(_Part(objects[file.object_id], lies[file.object_id], None))
        elif file.object_id in bundled:
            member = bundled[file.object_id]
            parts.append(_Part(objects[file.object_id], lies[member.bundle_id], member.offset_bytes))
        else:
            return None
    return parts


def advance(archive: Archive, drill: Drill) -> DrillState:
    """Take a drill as far as it goes now; returns its state then. Raises `StoreUnavailable` while a store is away."""
    try:
        if drill.state is DrillState.PLANNED:
            drill = _ask(archive, drill)
        _bring_back(archive, drill)
    except _Failed as failed:
        return _fail(archive, drill, failed)
    except Moved:
        return drill.state  # another process has it
    except _Lapsed as waits:
        return _fail(archive, drill, _Failed(f"it did not become readable in time: {waits}")) if _late(archive, drill) else drill.state
    except PublicError as error:
        if not _late(archive, drill):
            raise
        return _fail(archive, drill, _Failed(f"it could not be read in time: {error.detail}"))
    _clean(archive, drill)
    with archive.ledger.begin() as tx:
        now = tx.drill(drill.id)
        if now.state is DrillState.RUNNING:  # else another hand was first
            tx.change("drill", now, DrillState.PASSED, ended_at=tx.at, seconds=(tx.at - drill.created_at).total_seconds())
    return DrillState.PASSED


def _bring_back(archive: Archive, drill: Drill) -> None:
    """Every file to the scratch prefix, one after the other. Raises `_Failed`, `_Lapsed`, `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        parts = _parts(tx, drill.dataset_id, drill.tier)
    if parts is None:
        raise _Failed(f"not every file has a copy in {drill.tier} any more")
    if not _readable(archive, drill, parts):
        raise _Lapsed("its copies wait for their recall")
    for number, part in enumerate(parts):
        _compare(archive, drill, part, number)


def _ask(archive: Archive, drill: Drill) -> Drill:
    """Ask for what must be recalled, and begin."""
    with archive.ledger.begin() as tx:
        parts = _parts(tx, drill.dataset_id, drill.tier) or []
        if archive.settings.tiers[drill.tier].recall != "never":
            for copy in {p.copy.id: p.copy for p in parts}.values():
                tx.recall_for(copy, drill.dataset_id)
        tx.change("drill", drill, DrillState.RUNNING)
        return tx.drill(drill.id)


def _readable(archive: Archive, drill: Drill, parts: list[_Part]) -> bool:
    """Whether every copy can be read now; what has lapsed meanwhile is asked for again."""
    how = archive.settings.tiers[drill.tier].recall
    if how == "never":
        return True
    copies = {p.copy.id: p.copy for p in parts}.values()
    with archive.ledger.begin() as tx:
        recalls = [tx.recall_for(copy, drill.dataset_id) for copy in copies]  # all are asked for, also when the first is not readable
    return all(recall.state is RecallState.READABLE for recall in recalls)


def _late(archive: Archive, drill: Drill) -> bool:
    return archive.clock() - drill.created_at > archive.settings.tiers[drill.tier].back_within * 2 + _PATIENCE


def _compare(archive: Archive, drill: Drill, part: _Part, number: int) -> None:
    """Bring one file back to the scratch prefix, read it there, and compare. Raises `_Failed`."""
    hot, source = archive.tiers[policy.HOT], archive.tiers[drill.tier]
    key = f"{_prefix(drill)}{number}"
    hot.delete_all_versions(key)  # of a run that was cut short
    obj, copy = part.obj, part.copy
    try:
        pieces = source.parts(copy.key, copy.version_id, obj.size_bytes, hot.part_bytes(obj.size_bytes), part.offset_bytes or 0)
        version_id = hot.put(key, obj.size_bytes, pieces, hot.settings.storage_class)
    except Vanished:
        raise _Failed(f"{copy.key} is not in the store of {drill.tier}", copy, gone=True) from None
    except NotReadable:
        with archive.ledger.begin() as tx:  # it could be read, and can no longer: it is asked for again
            recall = tx.recall_for(copy, drill.dataset_id)
            if recall.state is RecallState.READABLE:
                tx.change("recall", recall, RecallState.LAPSED)
                tx.recall_for(copy, drill.dataset_id)
        raise _Lapsed(f"{copy.key} in {drill.tier} is cold again") from None
    digester = Digester()
    for piece in hot.read(key, version_id):
        digester.update(piece)
    found = digester.digest()
    hot.delete_version(key, version_id)
    if (found.size_bytes, found.sha256) != (obj.size_bytes, obj.sha256):
        received = f"received were {obj.size_bytes} with {obj.sha256}"
        raise _Failed(f"{obj.key} came back from {drill.tier} as {found.size_bytes} bytes with SHA-256 {found.sha256}, {received}", copy)


def _fail(archive: Archive, drill: Drill, failed: _Failed) -> DrillState:
    if failed.copy is not None:
        losses.strike_out(archive, failed.copy, str(failed), gone=failed.gone)
    _clean(archive, drill)
    with archive.ledger.begin() as tx:
        now = tx.drill(drill.id)
        if now.ended_at is None:
            tx.change("drill", now, DrillState.FAILED, ended_at=tx.at, error=str(failed))
    return DrillState.FAILED


def _prefix(drill: Drill) -> str:
    return f".neve/drill/{drill.id}/"


def _clean(archive: Archive, drill: Drill) -> None:
    """Nothing stays in the scratch prefix."""
    hot: Tier = archive.tiers[policy.HOT]
    while True:
        page, _ = hot.page(prefix=_prefix(drill))
        for entry in page:
            hot.delete_all_versions(entry.key)
        if not page:
            return
