"""Ending copies: `planned → checked → dropped`, or `revoked`. All drops of one dataset in one tier go together, up to 500 at a time.

Law 1: no copy is dropped unless what remains reaches `copies_min`, proven. Checked means: each copy that counts was found in the
store by version, and its proof is younger than the fixity period, or was made anew just now; what remains is then counted once more
here, whatever the plan said. Each state is written before its work: checked, then the location records (locations.py), then the store
is asked, then dropped; a crash between is followed by the same again. A drop whose tier's guards hold (guards.py), or whose store keeps
the version, waits in its state.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from archiver import guards, locations, policy
from archiver.archive import STUB_NAME, Archive, view
from archiver.errors import ProofFailed, StoreUnavailable
from archiver.guards import Guard
from archiver.lease import Lessee
from archiver.ledger.store import Moved
from archiver.model import Copy, Dataset, Drop, DropState, Object, Proof
from archiver.policy import View
from archiver.proof import prove
from archiver.storage import Tier, Vanished

log = logging.getLogger(__name__)

_CHUNK = 500
_FRESH_S = 600.0  # how long a copy that was found sound need not be looked at again, within one run

Planned = tuple[Drop, Copy, int]
"""A drop, its copy, and that copy's bytes."""


class Due:
    """Takes up what is due in some tiers, a few datasets at a time; one that came no further waits, so that it never stands before others."""

    def __init__(self, archive: Archive, tiers: Mapping[str, Tier], guard: Guard, lessee: Lessee) -> None:
        self._archive, self._tiers, self._guard, self._lessee = archive, tiers, guard, lessee
        self._not_before: dict[int, float] = {}

    def start(self, pool: ThreadPoolExecutor, running: dict[int, Future[object]]) -> None:
        """Hand the next datasets' drops to `pool`; `running` holds those under way, by dataset."""
        free = self._archive.settings.worker.parallel - len(running)
        if free <= 0:
            return
        now = time.monotonic()
        self._not_before = {i: at for i, at in self._not_before.items() if at > now}
        without = {*running, *self._not_before}
        with self._archive.ledger.read() as tx:
            if not tx.datasets_to_drop(self._tiers, without, 1):
                return
        with self._archive.ledger.begin() as tx:
            due = tx.take_datasets_with_drops(self._lessee.lease, self._tiers, without, free)
        for dataset_id, tier in due:
            running[dataset_id] = pool.submit(self._run, dataset_id, self._tiers[tier])

    def _run(self, dataset_id: int, tier: Tier) -> bool:
        try:
            done = run(self._archive, dataset_id, tier, self._guard)
        finally:
            self._lessee.give_back(datasets=[dataset_id])
        if not done:
            self._not_before[dataset_id] = time.monotonic() + self._archive.settings.worker.backoff.total_seconds()
        return done


def run(archive: Archive, dataset_id: int, tier: Tier, guard: Guard) -> bool:
    """Carry out a dataset's drops in a tier, spoken to as who may end things there. What is left is tried at a later turn.

    Returns whether any came further.
    """
    with archive.ledger.read() as tx:
        planned = tx.drops_in(dataset_id, tier.name)
    found: dict[int, tuple[bool, float]] = {}
    done = False
    why: str | None = None
    try:
        for start in range(0, len(planned), _CHUNK):
            chunk = planned[start : start + _CHUNK]
            why = guard.hold(tier)
            if why is None:
                came, why = _carry_out(archive, dataset_id, tier, chunk, found)
                done |= came
            if why is not None:
                log.warning("drops of dataset %s in %s wait: %s", dataset_id, tier.name, why)
                break
    except Moved as moved:
        log.info("drops of dataset %s in %s were moved by another hand: %s", dataset_id, tier.name, moved)
        return done
    except StoreUnavailable as error:
        why = str(error)
        log.warning("drops of dataset %s in %s wait: %s", dataset_id, tier.name, error)
    if planned:
        guards.note_waits(archive, tier.name, why)
    return done


def _carry_out(
    archive: Archive, dataset_id: int, tier: Tier, chunk: Sequence[Planned], found: dict[int, tuple[bool, float]]
) -> tuple[bool, str | None]:
    """One chunk: check, mark, end, finish. Returns whether any came further, and why some wait."""
    checked = [one for one in chunk if one[0].state is DropState.CHECKED]  # by a run that was cut short
    new = [one for one in chunk if one[0].state is DropState.PLANNED]
    revoked, why = 0, None
    if new:
        marked, revoked, why = _check(archive, dataset_id, new, found)
        checked += marked
    if checked:  # where what remains lies, and that this goes, is in the store before it goes (rule 11)
        locations.write_all(archive, dataset_id)
    ended = _end(archive, dataset_id, tier, checked) if checked else 0
    if ended < len(checked):
        why = f"the store keeps {len(checked) - ended} version(s); the log of the {tier.identity} says why"
    return bool(ended or revoked), why


def _check(archive: Archive, dataset_id: int, new: Sequence[Planned], found: dict[int, tuple[bool, float]]) -> tuple[list[Planned], int, str | None]:
    """See what remains, then mark in one step: checked, or revoked with a reason. Returns the checked, how many were revoked, why some wait."""
    with archive.ledger.read() as tx:
        seen = view(tx, dataset_id)
    going = {d.copy_id for d in seen.drops}
    remaining = {c.id: c for _, copy, _ in new for o in policy.covered(seen, copy.object_id) for c in seen.copies_with(o) if c.id not in going}
    _look_at(archive, seen, [c for c in remaining.values() if c.tier in archive.tiers], found)
    sound = {copy_id for copy_id, (is_sound, _) in found.items() if is_sound}
    checked: list[Planned] = []
    revoked: dict[str, list[Drop]] = {}
    why = None
    with archive.ledger.begin() as tx:
        tx.hold_still(dataset_id)
        seen = view(tx, dataset_id)
        states = {d.id: d.state for d in seen.drops}
        going = {d.copy_id for d in seen.drops}
        want, _ = policy.wanted(seen, archive.settings, tx.at)
        counted = {c.id for c in seen.copies if c.id in sound and c.id not in going}  # another hand may have found one lost meanwhile
        count, size = guards.room(tx, archive.settings)
        whole_day = (count, size) == (archive.settings.policy.drops_per_day, archive.settings.policy.drop_bytes_per_day)
        for drop, copy, size_bytes in new:
            if states.get(drop.id) is not DropState.PLANNED:
                continue  # another hand has it
            reason = "it is claimed again" if copy.tier in want.get(copy.object_id, ()) else _too_few(archive, seen, copy, counted, tx.at)
            if reason is not None:
                revoked.setdefault(reason, []).append(drop)
            elif count < 1 or (size < size_bytes and not (whole_day and not checked)):
                why = "as much was dropped in these 24 hours as policy.drops_per_day and policy.drop_bytes_per_day allow; the rest goes on later"
            else:
                count, size = count - 1, size - size_bytes
                checked.append((drop, copy, size_bytes))
        for reason, drops in revoked.items():
            tx.change_all("drop", drops, DropState.REVOKED, reason=reason)
        if revoked:
            tx.look(dataset_id)
        tx.change_all("drop", [drop for drop, _, _ in checked], DropState.CHECKED)
        for tier in {copy.tier for _, copy, _ in checked}:
            tx.relocate(dataset_id, tier)
    return checked, sum(map(len, revoked.values())), why


def _too_few(archive: Archive, seen: View, copy: Copy, counted: set[int], now: datetime) -> str | None:
    """Law 1, a second time: whether every file whose bytes stand in `copy` keeps enough sound copies in distinct places without it."""
    least = policy.copies_min(seen.dataset, archive.settings, now)
    tiers = archive.settings.tiers
    for object_id in policy.covered(seen, copy.object_id):
        places = {tiers[c.tier].place for c in seen.copies_with(object_id) if c.id in counted and c.tier in tiers}
        if len(places) < least:
            return f"{len(places)} sound copies in distinct places remain, {least} are needed"
    return None


def _end(archive: Archive, dataset_id: int, tier: Tier, checked: Sequence[Planned]) -> int:
    """End the versions, and write down those that are gone; returns how many. What the store keeps stays checked."""
    kept = tier.delete_versions([(copy.key, copy.version_id) for _, copy, _ in checked])
    for (key, version_id), reason in kept.items():
        log.error("the store of %s keeps %s (%s): %s", tier.name, key, version_id, reason)
    with archive.ledger.begin() as tx:
        tx.hold_still(dataset_id)
        states = {d.id: d for d in tx.drops(dataset_id)}
        gone = [drop for drop, copy, _ in checked if (copy.key, copy.version_id) not in kept]
        mine = [states[drop.id] for drop in gone if drop.id in states]  # the others were finished by another hand
        if mine:
            tx.finish_drops(mine)
    return len(gone)


# what remains


def _look_at(archive: Archive, seen: View, copies: Sequence[Copy], found: dict[int, tuple[bool, float]]) -> None:
    """See of each copy whether it stands in the store, freshly proven; one that does not is struck out, so that it is made anew."""
    fresh = time.monotonic() - _FRESH_S
    todo = [c for c in copies if c.id not in found or found[c.id][1] < fresh]
    objects = {o.id: o for o in seen.objects}
    with ThreadPoolExecutor(archive.settings.worker.parallel, thread_name_prefix="check") as pool:
        seen_as = dict(zip([c.id for c in todo], pool.map(lambda copy: _sound(archive, copy, objects[copy.object_id]), todo), strict=True))
    proofs = {copy_id: proof for copy_id, proof in seen_as.items() if isinstance(proof, Proof)}
    lost = {copy_id: result.why for copy_id, result in seen_as.items() if isinstance(result, _Lost)}
    if proofs or lost:
        with archive.ledger.begin() as tx:
            tx.hold_still(seen.dataset.id)
            for copy_id, proof in proofs.items():
                tx.prove_copy(copy_id, proof)
            for copy_id, why in ((i, w) for i, w in lost.items() if tx.copy(i).dropped_at is None):
                copy = tx.copy(copy_id)
                log.error("the copy of %s in %s is lost: %s", copy.key, copy.tier, why)
                tx.lose_copy(copy, seen.dataset.id, why)
    for result in seen_as.values():
        if isinstance(result, StoreUnavailable):  # only now: what the others cost is kept
            raise result
    now = time.monotonic()
    found |= {copy.id: (copy.id not in lost, now) for copy in todo}


@dataclass(frozen=True)
class _Lost:
    """That a copy does not count, and why."""

    why: str


def _sound(archive: Archive, copy: Copy, obj: Object) -> Proof | _Lost | StoreUnavailable | None:
    """A proof that was made anew, None when the old one is good; or that the copy does not count, or cannot be seen now."""
    tier = archive.tiers[copy.tier]
    try:
        head = tier.head(copy.key, copy.version_id)
        if head is None:
            return _Lost("it is not in the store")
        if head.size_bytes != obj.size_bytes:
            return _Lost(f"it has {head.size_bytes} bytes, recorded were {obj.size_bytes}")
        if archive.clock() - copy.proven_at > archive.settings.policy.fixity_period:
            return prove(tier, obj, copy.version_id)
    except (Vanished, ProofFailed) as error:
        return _Lost(str(error))
    except StoreUnavailable as error:
        return error
    return None


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
