"""The inventory: each tier's bucket is compared with the ledger, both ways, within `proof.listing_every`, at a bounded rate.

Three passes, none of which needs an order of keys (SeaweedFS lists by folder, AWS by byte), each in pages, so that memory is bounded:
  store   every key the bucket shows: is there a live copy at it? If not: a stub, one of our own records, a folder marker, something
          under way, what a transfer left, or nobody's we know.
  copies  every live copy the ledger counts on: HEAD of its key, and of its version where that is not what stands on top.
  stubs   (hot) every stub the ledger knows of.
Where it is stands in the note `listing-cursor.<tier>`, so that a restart goes on; a listing that ended is the note `listing.<tier>`.

Law: nothing is believed of one look. What seems wrong is asked of the store by version and read in the ledger again, since transfers,
drops and stubs go on meanwhile; then each difference has its answer:
  not in the store, other size   struck out and made anew (losses.py)
  covered by another version     ours is proven anew first; then what covers it ends, in hot at once, elsewhere by the reaper
  left by us, counted by nobody  ended the same way, if the object's bytes stand elsewhere or are erased; proven and adopted, if they do not
  nobody's we know               left alone, also where it stands at a key of ours
While drops are held (`archiver release`), differences are written down and nothing is ended.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from archiver import guards, losses, names, obstacles, policy
from archiver.archive import STUB_NAME, Archive, view
from archiver.errors import ProofFailed, StoreUnavailable
from archiver.ledger import Transaction
from archiver.model import Copy, Dataset, Finding, FindingKind, LeftoverState, Object, ObjectKind
from archiver.proof import prove
from archiver.storage import Listed, Tier, Vanished

EVERY = timedelta(minutes=1)
"""How often `run` shall come; each run compares at most `listing_keys_per_s` keys for each of these seconds."""
_RUN_S = 60.0  # a run is over then, however much room it has left: other chores wait
_EARLY = 0.9  # a listing begins this part of `listing_every` after the last one did, so that it has ended in time
_STALE = timedelta(days=1)  # a cursor that has not moved for so long is no good any more
_CHUNK = 200
_AT_ONCE = 8
_WRITTEN_DOWN = 1000  # foreign objects of a tier, one by one; more are counted only
_RECORDS = (".neve/tier", ".neve/anchors/", ".neve/locations/", ".neve/erasures/", ".neve/drill/")
_OURS = (*_RECORDS, obstacles.PROBE, names.PREVIEWS, names.SNAPSHOTS)


@dataclass
class Cursor:
    """How far a listing is. `token` is the store's, `after` a number in the ledger; `counts` what was seen by kind."""

    began_at: str
    moved_at: str
    phase: str = "store"
    token: str | None = None
    after: int = 0
    counts: Counter[str] = field(default_factory=Counter)


def run(archive: Archive) -> None:
    """The chore: go on with the listings that are due, for as many keys as may be compared until it comes again."""
    room = int(archive.settings.proof.listing_keys_per_s * EVERY.total_seconds())
    until = time.monotonic() + _RUN_S
    away: StoreUnavailable | None = None
    for tier in archive.tiers.values():
        try:
            _review(archive, tier)
            room = _go_on(archive, tier, room, until)
        except StoreUnavailable as error:  # the others have their turn
            away = error
    if away is not None:
        raise away


def _review(archive: Archive, tier: Tier) -> None:
    """What covers a copy is shouted, so its end is not left to the next listing."""
    with archive.ledger.read() as tx:
        look, covered = _Look(archive, tier, Counter(), tx.at), tx.findings(tier=tier.name, kinds=[FindingKind.COVERED], limit=_CHUNK)
    for finding in covered:
        look.again(finding)


def _go_on(archive: Archive, tier: Tier, room: int, until: float) -> int:
    """Go on with a tier's listing while there is room for keys, and time; returns the room that is left."""
    with archive.ledger.read() as tx:
        cursor = _cursor(tx, tier.name, archive.settings.proof.listing_every)
    while cursor is not None and room > 0 and time.monotonic() < until:
        room -= _step(archive, tier, cursor)
        with archive.ledger.begin() as tx:
            cursor.moved_at = tx.at.isoformat()
            if cursor.phase == "ended":
                _end(tx, tier.name, cursor)
                return room
            tx.set_note(f"listing-cursor.{tier.name}", json.dumps({**vars(cursor), "counts": dict(cursor.counts)}))
    return room


def full(archive: Archive, tier: str, progress: Callable[[int], None] = lambda _keys: None) -> dict[str, Any]:
    """By hand: a whole listing of a tier, now, beside any that is going on. Returns the note of it."""
    now = archive.clock().isoformat()
    cursor = Cursor(now, now)
    while cursor.phase != "ended":
        progress(_step(archive, archive.tiers[tier], cursor))
    with archive.ledger.begin() as tx:
        return _end(tx, tier, cursor)


def last(tx: Transaction, tier: str) -> dict[str, Any] | None:
    """The last listing of a tier that ended: began_at, ended_at (ISO 8601) and counts by kind."""
    note = tx.note(f"listing.{tier}")
    return None if note is None else json.loads(note)


def _cursor(tx: Transaction, tier: str, every: timedelta) -> Cursor | None:
    """The listing that is going on, a new one if it is due, or None."""
    note = tx.note(f"listing-cursor.{tier}")
    if note:
        said = json.loads(note)
        if tx.at - datetime.fromisoformat(said["moved_at"]) < _STALE:
            return Cursor(**{**said, "counts": Counter(said["counts"])})
    ended = last(tx, tier)
    if ended is not None and tx.at < datetime.fromisoformat(ended["began_at"]) + every * _EARLY:
        return None
    return Cursor(tx.at.isoformat(), tx.at.isoformat())


def _end(tx: Transaction, tier: str, cursor: Cursor) -> dict[str, Any]:
    said = {"began_at": cursor.began_at, "ended_at": tx.at.isoformat(), "counts": dict(sorted(cursor.counts.items()))}
    tx.set_note(f"listing.{tier}", json.dumps(said))
    tx.forget_note(f"listing-cursor.{tier}")
    return said


def _step(archive: Archive, tier: Tier, cursor: Cursor) -> int:
    """One page of one pass; returns how many keys were compared (at least 1). Raises `StoreUnavailable`: then it is done again."""
    look = _Look(archive, tier, cursor.counts, datetime.fromisoformat(cursor.began_at))
    compared = 0
    match cursor.phase:
        case "store":
            page, cursor.token = tier.page(cursor.token)
            look.strangers(page)
            compared = len(page)
            if cursor.token is None:
                cursor.phase = "copies"
        case "copies":
            with archive.ledger.read() as tx:
                pairs = tx.live_copies(tier.name, cursor.after, _CHUNK)
            look.copies(pairs)
            compared = len(pairs)
            cursor.after = pairs[-1][0].id if pairs else 0
            if not pairs:
                cursor.phase = "stubs" if tier.name == policy.HOT else "findings"
        case "stubs":
            with archive.ledger.read() as tx:
                datasets = tx.stubbed(cursor.after, _CHUNK)
            look.stubs(datasets)
            compared = len(datasets)
            cursor.after = datasets[-1].id if datasets else 0
            if not datasets:
                cursor.phase = "findings"
        case "findings":
            with archive.ledger.read() as tx:
                findings = tx.findings(tier=tier.name, kinds=_REVIEWED, after_id=cursor.after, limit=_CHUNK)
            for finding in findings:
                look.again(finding)
            compared = len(findings)
            cursor.after = findings[-1].id if findings else 0
            if not findings:
                losses.settle(archive)
                cursor.phase = "ended"
    return max(compared, 1)


_REVIEWED = (FindingKind.COVERED, FindingKind.LEFTOVER, FindingKind.FOREIGN, FindingKind.STUB)
"""Findings that the end of a listing looks at again; losses.py looks at the others."""


@dataclass
class _Look:
    """One page's worth of comparing."""

    archive: Archive
    tier: Tier
    counts: Counter[str]
    began_at: datetime

    # what the store shows

    def strangers(self, page: Sequence[Listed]) -> None:
        """Keys at which the tier has no live copy."""
        keys = [entry.key for entry in page]
        with self.archive.ledger.read() as tx:
            live, objects = tx.live_keys(self.tier.name, keys), tx.objects_at(keys)
            shown = tx.snapshot_keys(keys) if self.tier.name == policy.HOT else set()
        for entry in page:
            if entry.key in live:
                continue  # its turn is in the pass over copies
            if entry.key in objects:
                self._at_a_key_of_ours(objects[entry.key])
            elif entry.key.startswith(_OURS):
                self.counts["records"] += 1
            elif entry.key in shown:
                self.counts["snapshots"] += 1
            elif entry.size_bytes == 0 and entry.key.endswith("/"):
                self.counts["folder markers"] += 1
            elif not self._stub(entry.key):
                self._foreign(entry.key, None, f"{entry.size_bytes} bytes that the ledger does not know; left alone")

    def _stub(self, key: str) -> bool:
        """Whether this is a dataset's stub. One that the ledger does not know of is written down: the worker takes it away, or keeps it."""
        prefix, _, name = key.rpartition("/")
        if self.tier.name != policy.HOT or name != STUB_NAME:
            return False
        with self.archive.ledger.begin() as tx:
            dataset = tx.dataset_with_prefix(prefix)
            if dataset is None:
                return False
            self.counts["stubs"] += 1
            if dataset.stub_at is None:
                self._about_a_stub(tx, key, "a stub that the ledger did not know of")
                tx.update_dataset(dataset.id, stub_at=tx.at)
                tx.event(dataset.id, "stub.found", {})
                tx.look(dataset.id)
        return True

    def _at_a_key_of_ours(self, obj: Object) -> None:
        """Something stands where the ledger has no live copy, at the key of an object that it knows."""
        if self._under_way(obj):
            return
        head = self.tier.head(obj.key)
        if head is None or self._under_way(obj):
            return
        name, version_id = self.tier.name, head.version_id
        with self.archive.ledger.read() as tx:
            if tx.is_a_copy(name, obj.key, version_id):
                return  # made meanwhile, or kept as it may be the last of its bytes
            left = tx.leftover(name, obj.key, version_id)
            ours, elsewhere, held = tx.was_ours(name, obj.key, version_id), bool(tx.copies_with(obj.id)), tx.note(guards.HOLD) is not None
            ends = obj.id in view(tx, obj.dataset_id).condemned
            ours |= ends and obj.kind is ObjectKind.BUNDLE  # a pack that was taken apart before its sender told that it stands there
        if left is not None and left.state is LeftoverState.FOUND:
            self.counts["waits for the reaper"] += 1
            return
        if not ours:
            self._foreign(obj.key, version_id, "a version that is not of ours, at a key of ours; left alone")
            return
        self.counts[FindingKind.LEFTOVER] += 1
        with self.archive.ledger.begin() as tx:
            tx.found(name, FindingKind.LEFTOVER, obj.key, version_id, f"{head.size_bytes} bytes of ours that the ledger does not count on")
        if not elsewhere and obj.sha256 is not None and not ends:
            try:
                proof = prove(self.tier, obj, version_id)
            except (ProofFailed, Vanished):
                return  # it stays: it is no copy, but nothing else is left
            with self.archive.ledger.begin() as tx:
                tx.hold_still(obj.dataset_id)
                if not any(c.tier == name for c in tx.copies_of(obj.id)) and tx.transfer_into(obj.id, name) is None:
                    tx.adopt_copy(obj, name, version_id, head.storage_class, proof)
        elif (elsewhere or ends) and not held:
            losses.end_versions(self.archive, self.tier, obj, [version_id], "It was left by us, and the ledger does not count on it.")

    def _under_way(self, obj: Object) -> bool:
        with self.archive.ledger.read() as tx:
            under_way = tx.transfer_into(obj.id, self.tier.name) is not None
        self.counts["under way"] += under_way
        return under_way

    def _foreign(self, key: str, version_id: str | None, detail: str) -> None:
        self.counts[FindingKind.FOREIGN] += 1
        if self.counts[FindingKind.FOREIGN] <= _WRITTEN_DOWN:
            with self.archive.ledger.begin() as tx:
                tx.found(self.tier.name, FindingKind.FOREIGN, key, version_id, detail)

    # what the ledger counts on

    def copies(self, pairs: Sequence[tuple[Copy, Object]]) -> None:
        """Live copies: what stands at each key should be our version, of our size."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="inventory") as pool:
            heads = list(pool.map(lambda pair: self.tier.head(pair[0].key), pairs))
        for (copy, obj), head in zip(pairs, heads, strict=True):
            if head is not None and (head.version_id, head.size_bytes) == (copy.version_id, obj.size_bytes):
                self.counts["right"] += 1
            else:
                self._not_as_recorded(copy, obj)

    def _not_as_recorded(self, copy: Copy, obj: Object) -> None:
        ours = self.tier.head(copy.key, copy.version_id)
        if not self._counts(copy, obj):
            self.counts["under way"] += 1
            return
        if ours is None:
            self._strike_out(copy, "it is not in the store", gone=True)
        elif ours.size_bytes != obj.size_bytes:
            self._strike_out(copy, f"it has {ours.size_bytes} bytes, recorded were {obj.size_bytes}", gone=False)
        elif (top := self.tier.head(copy.key)) is None or top.version_id != copy.version_id:
            self._uncover(copy, obj)
        else:
            self.counts["right"] += 1

    def _counts(self, copy: Copy, obj: Object) -> bool:
        """Whether the ledger counts on a copy still, and nobody is ending it."""
        with self.archive.ledger.read() as tx:
            return tx.copy(copy.id).dropped_at is None and not any(d.copy_id == copy.id for d in tx.drops(obj.dataset_id))

    def _strike_out(self, copy: Copy, why: str, *, gone: bool) -> None:
        became = losses.strike_out(self.archive, copy, why, gone=gone)
        if became is not None:
            self.counts[became] += 1

    def _uncover(self, copy: Copy, obj: Object) -> None:
        """Another version or a delete marker stands over our copy: readers by key, and mounts, see that. Proven ones get their place back."""
        self.counts[FindingKind.COVERED] += 1
        over = [s for s in self.tier.standing(copy.key) if s.version_id != copy.version_id]
        what = ", ".join(f"{'a delete marker' if s.is_marker else f'{s.size_bytes} other bytes'} ({s.version_id})" for s in over)
        with self.archive.ledger.begin() as tx:
            tx.found(self.tier.name, FindingKind.COVERED, copy.key, copy.version_id, f"covered by {what}")
            held = tx.note(guards.HOLD) is not None
        try:
            proof = prove(self.tier, obj, copy.version_id)
        except Vanished:
            self._strike_out(copy, "it is not in the store", gone=True)
            return
        except ProofFailed as error:
            self._strike_out(copy, error.detail, gone=False)
            return
        with self.archive.ledger.begin() as tx:
            tx.prove_copy(copy.id, proof)
        if not held:
            losses.end_versions(
                self.archive, self.tier, obj, [s.version_id for s in over], f"It covered our proven version {copy.version_id}: {what}."
            )

    # stubs

    def stubs(self, datasets: Sequence[Dataset]) -> None:
        """A stub that is missing is forgotten, so that the worker lays it again."""
        for dataset in datasets:
            key = f"{dataset.prefix}/{STUB_NAME}"
            if self.tier.head(key) is not None:
                continue
            with self.archive.ledger.begin() as tx:
                tx.hold_still(dataset.id)
                if tx.dataset(dataset.id).stub_at != dataset.stub_at:
                    continue  # taken, or laid anew, meanwhile
                self.counts[FindingKind.STUB] += 1
                self._about_a_stub(tx, key, "a stub is missing")
                tx.update_dataset(dataset.id, stub_at=None)
                tx.event(dataset.id, "stub.missing", {})
                tx.look(dataset.id)

    def _about_a_stub(self, tx: Transaction, key: str, detail: str) -> None:
        before = tx.finding_of(self.tier.name, FindingKind.STUB, key, None)
        if before is not None:
            tx.resolve(before)  # that one was answered
        tx.found(self.tier.name, FindingKind.STUB, key, None, detail)

    # findings of before

    def again(self, finding: Finding) -> None:
        """Resolve a finding that is no more."""
        top = self.tier.head(finding.key)
        version = self.tier.head(finding.key, finding.version_id) if finding.version_id is not None else top
        with self.archive.ledger.begin() as tx:
            counted = finding.version_id is not None and tx.is_a_copy(self.tier.name, finding.key, finding.version_id)
            match FindingKind(finding.kind):
                case FindingKind.COVERED:
                    right = not counted or (top is not None and top.version_id == finding.version_id)
                case FindingKind.STUB:
                    dataset = tx.dataset_with_prefix(finding.key.removesuffix(f"/{STUB_NAME}"))
                    right = dataset is None or (finding.found_at < self.began_at and (top is not None) == (dataset.stub_at is not None))
                case _:
                    right = version is None or counted or bool(finding.version_id is None and tx.live_keys(self.tier.name, [finding.key]))
            if right:
                tx.resolve(finding)
