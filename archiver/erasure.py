"""Erasure: bytes end for ever, because the law or retention's end asks for it. The only exception to Law 1 (rule 13).

Law: `requested → approved → erasing → erased`. One admin asks, another agrees; nothing that somebody holds is erased. A tombstone stands in
every tier before anything ends, so that no rebuilt ledger brings it back. Then the files leave the dataset's claims, and the worker and the
reaper let their copies go as they do all others: bundles are built again without them first, the manifest is written anew without what they
held, and what survives is proven before what held it goes. At the end each key is asked of each store: no version, no upload is left. What
stays is name, size and sums, the chain of events, and the receipt of the erasure.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from archiver import asking, bundle, losses, manifest, names, policy, tombstones
from archiver.archive import Archive, view
from archiver.config import Settings
from archiver.errors import Conflict, ProofFailed, WrongUse
from archiver.ledger import Transaction
from archiver.model import Claim, ClaimKind, Dataset, DatasetState, Erasure, ErasureState, File, Object, ObjectKind, RestoreState
from archiver.policy import View
from archiver.proof import prove
from archiver.storage import AlreadyThere, Digester, Vanished

log = logging.getLogger(__name__)

_PAGE = 500
_MOST = 100_000


@dataclass(frozen=True)
class Reach:
    """What an erasure ends, in numbers."""

    files: int
    size_bytes: int
    bundles: int  # that are built again
    again_bytes: int  # of other files in those bundles
    tiers: tuple[str, ...]  # in which copies end


# what admins do


def request(archive: Archive, admin: str, reference: str, files_glob: str | None, reason: str) -> Erasure:
    """Ask for a dataset's files that match `files_glob` (None: all) to be erased; a second admin has to agree.

    Raises `WrongUse`, `NotFound`, `Ambiguous`, `Conflict`; then nothing has changed.
    """
    reason = asking.reason_given(" ".join(reason.split()), "Say which law, contract or rule asks for the erasure.")
    with archive.ledger.begin(admin) as tx:
        dataset = tx.find_dataset(reference)
        if dataset.state is DatasetState.OPEN:
            raise Conflict(f"{dataset.full_name} is still open.", "Close it first: what is received until then belongs to it.")
        seen = view(tx, dataset.id)
        before = next((e for e in tx.erasures(ended=False, dataset_id=dataset.id)), None)
        if before is not None:
            raise Conflict(f"Erasure {before.id} of {dataset.full_name} is {before.state}.", "Wait until it has ended, or withdraw it.")
        going = _chosen(seen, files_glob)
        if not going:
            raise WrongUse(
                f"No file of {dataset.full_name} matches {files_glob!r}." if files_glob else f"{dataset.full_name} has no file that is not erased.",
                "`archiver status DATASET` lists its files.",
            )
        _see_holds(seen, going, tx.at)
        return tx.add_erasure(dataset, files_glob, reason, len(going), sum(f.size_bytes for f in going))


def past_retention(archive: Archive) -> list[Dataset]:
    """Closed datasets that are older than their rules' `retention`, of which nothing is held and no erasure is under way, by number."""
    settings = archive.settings
    if settings.policy.retention is None and all(rule.retention is None for rule in settings.rules):
        return []
    found: list[Dataset] = []
    after = 0
    while True:
        with archive.ledger.read() as tx:
            page = tx.datasets_after(after, _PAGE, None)
            under_way = {e.dataset_id for e in tx.erasures(ended=False, limit=_MOST)}
            old = [d for d in page if d.state is DatasetState.CLOSED and d.id not in under_way and _is_past(d, settings, tx.at)]
            found += [d for d in old if not any(_holds(c, tx.at) for c in tx.claims(d.id))]
        if len(page) < _PAGE:
            return found
        after = page[-1].id


def _is_past(dataset: Dataset, settings: Settings, now: datetime) -> bool:
    retention = settings.rules_for(dataset.project, dataset.instrument).retention
    return retention is not None and now - policy.born(dataset, settings) > retention


def approve(archive: Archive, admin: str, erasure_id: int) -> Erasure:
    """The second admin's yes: from here on it cannot be taken back. Raises `NotFound`, `Conflict`."""
    with archive.ledger.begin(admin) as tx:
        erasure = _waiting(tx, erasure_id)
        if erasure.asked_by == admin:
            raise Conflict(f"You asked for erasure {erasure_id} yourself.", "Another admin has to agree to it.")
        seen = view(tx, erasure.dataset_id)
        _see_holds(seen, _chosen(seen, erasure.files_glob), tx.at)
        tx.change("erasure", erasure, ErasureState.APPROVED, approved_by=admin, approved_at=tx.at)
        return tx.erasure(erasure_id)


def withdraw(archive: Archive, admin: str, erasure_id: int) -> Erasure:
    """Refuse an erasure, or take it back, before a second admin has agreed. Raises `NotFound`, `Conflict`."""
    with archive.ledger.begin(admin) as tx:
        tx.change("erasure", _waiting(tx, erasure_id), ErasureState.WITHDRAWN, ended_at=tx.at)
        return tx.erasure(erasure_id)


def reach(tx: Transaction, erasure: Erasure) -> Reach:
    """What it would end as things are; of one that is carried out, what has not ended yet."""
    seen = view(tx, erasure.dataset_id)
    going = {f.object_id: f for f in _chosen(seen, erasure.files_glob)}
    bundles = {b for o in going for b in seen.bundles_of.get(o, ())} - seen.condemned
    again = {o for b in bundles for o in seen.members_of[b]} - going.keys()
    sizes = {o.id: o.size_bytes for o in seen.objects}
    tiers = {c.tier for o in going for c in seen.copies_with(o)}
    return Reach(len(going), sum(f.size_bytes for f in going.values()), len(bundles), sum(sizes[o] for o in again), tuple(sorted(tiers)))


def _chosen(seen: View, files_glob: str | None) -> list[File]:
    return [f for f in seen.files if policy.matches(f.path, files_glob)]


def _holds(claim: Claim, now: datetime) -> bool:
    return claim.kind is ClaimKind.HOLD and (claim.until is None or claim.until > now)


def _see_holds(seen: View, going: Iterable[File], now: datetime) -> None:
    for claim in seen.claims:
        if _holds(claim, now) and any(policy.matches(f.path, claim.files_glob) for f in going):
            raise Conflict(
                f"{claim.user} holds files of {seen.dataset.full_name}: {claim.reason}", f"Speak to them, and end hold {claim.id}; then ask again."
            )


def _waiting(tx: Transaction, erasure_id: int) -> Erasure:
    erasure = tx.erasure(erasure_id)
    if erasure.state is not ErasureState.REQUESTED:
        raise Conflict(f"Erasure {erasure_id} is {erasure.state}: it waits for nobody.", "Nothing has to be done.")
    return erasure


# what the worker does


def advance(archive: Archive, erasure: Erasure) -> bool:
    """Bring an erasure one step on; returns whether it came further. Raises `StoreUnavailable`, `Moved`."""
    if erasure.state is ErasureState.APPROVED:
        _begin(archive, erasure)
        return True
    with archive.ledger.read() as tx:
        seen = view(tx, erasure.dataset_id)
        drill = tx.drill_under_way()
        ending = [o for o in seen.objects if o.id in seen.condemned]
        waits = tx.left_at([o.key for o in ending]) or (drill is not None and drill.dataset_id == erasure.dataset_id)
    assert seen.manifest is not None  # only what is closed is erased
    if not seen.copies_by_object.get(seen.manifest.id):
        return _describe(archive, seen.manifest)
    busy = any(c.object_id in seen.condemned for c in seen.copies) or any(s.object_id in seen.condemned for s in seen.transfers)
    if waits or busy or seen.drops or (seen.dataset.stub_at is not None and not seen.files):
        return False  # the worker or the reaper has them in hand
    stood, ended = _sweep(archive, seen, ending)
    if stood:
        return ended
    _finish(archive, erasure, seen, ending)
    return True


def _begin(archive: Archive, erasure: Erasure) -> None:
    """The tombstone first; then, in one step, the files are erased and nothing claims what held them."""
    with archive.ledger.read() as tx:
        seen = view(tx, erasure.dataset_id)
    tombstones.write(archive, erasure, seen, _condemned(seen, _chosen(seen, erasure.files_glob)))
    with archive.ledger.begin() as tx:
        tx.change("erasure", erasure, ErasureState.ERASING)
        seen = view(tx, erasure.dataset_id)
        going = _chosen(seen, erasure.files_glob)
        if going:
            _condemn(tx, seen, going)
        tx.look(erasure.dataset_id)


def _condemned(seen: View, going: Iterable[File]) -> frozenset[int]:
    """What ends with these files: their objects, the bundles they stand in, and every manifest there is."""
    objects = {f.object_id for f in going}
    bundles = {b for o in objects for b in seen.bundles_of.get(o, ())}
    return frozenset(objects | bundles | {o.id for o in seen.objects if o.kind is ObjectKind.MANIFEST})


def _condemn(tx: Transaction, seen: View, going: list[File]) -> None:
    dataset = seen.dataset
    ending = _condemned(seen, going)
    tx.erase_files(going)
    staying = {f.object_id: f for f in tx.files(dataset.id)}
    number = tx.next_bundle(dataset.id)
    for obj in seen.objects:
        survivors = [staying[o] for o in seen.members_of.get(obj.id, ()) if o in staying]
        if obj.kind is ObjectKind.BUNDLE and obj.id in ending and survivors:
            layout = bundle.layout(survivors)
            bundle_id = tx.add_object(dataset.id, ObjectKind.BUNDLE, names.bundle_key(dataset.prefix, number), layout.size_bytes)
            tx.add_members(bundle_id, [(place.file.object_id, place.offset_bytes) for place in layout.places])
            number += 1
    said = manifest.summary(list(staying.values()), dataset.called)
    tx.update_dataset(dataset.id, **{**said, "acquired_at": dataset.acquired_at})  # its age stays what it was
    revision = 1 + max(found[1] for o in seen.objects if o.kind is ObjectKind.MANIFEST and (found := names.manifest_of(o.key)))
    body = manifest.body(tx, dataset.id)
    tx.add_object(dataset.id, ObjectKind.MANIFEST, names.manifest_key(dataset.prefix, revision), len(body), **_sums(body))
    tx.forget_findings([o.key for o in seen.objects if o.id in ending])
    for restore in seen.restores:
        if not any(policy.matches(f.path, restore.files_glob) for f in staying.values()):
            tx.change("restore", restore, RestoreState.CANCELLED, ended_at=tx.at, error="Its files were erased.")
            tx.end_claim(restore)
            tx.end_holds(restore.id)


def _describe(archive: Archive, newest: Object) -> bool:
    """Write the manifest that takes the others' place; once it is proven in hot, the worker copies it on."""
    tier = archive.tiers[policy.HOT]
    with archive.ledger.begin() as tx:
        body = manifest.body(tx, newest.dataset_id)
        tx.update_object(newest.id, size_bytes=len(body), **_sums(body))
        newest = tx.object(newest.id)
    try:
        version_id = tier.put(newest.key, len(body), iter([body]), "STANDARD")
    except AlreadyThere:  # left by a step that was cut short: the proof will tell
        head = tier.head(newest.key)
        if head is None:
            return False
        version_id = head.version_id
    try:
        proof = prove(tier, newest, version_id)
    except (ProofFailed, Vanished) as error:
        log.warning("a manifest is written anew: %s", error)
        tier.delete_version(newest.key, version_id)
        return False
    with archive.ledger.begin() as tx:
        tx.hold_still(newest.dataset_id)
        if not tx.copies_of(newest.id):
            tx.adopt_copy(newest, policy.HOT, version_id, "STANDARD", proof)
    return True


def _sums(body: bytes) -> dict[str, str]:
    digester = Digester()
    digester.update(body)
    return {"sha256": hashlib.sha256(body).hexdigest(), "crc64nvme": digester.digest().crc64nvme}


def _sweep(archive: Archive, seen: View, ending: list[Object]) -> tuple[bool, bool]:
    """Ask each store for what still stands at the keys that end: versions nobody counts on, delete markers, uploads.

    Returns whether any did, and whether any of it was ended here; the rest is the reaper's.
    """
    by_key = {o.key: o for o in ending}
    with archive.ledger.begin() as tx:
        tx.forget_findings(list(by_key))  # what was found damaged since is not kept either
    stood = ended = _sweep_previews(archive, seen)
    for name, tier in archive.tiers.items():
        if tier.abort_uploads(f"{seen.dataset.prefix}/", by_key):
            stood = ended = True
        for key, obj in sorted(by_key.items()):
            versions = [s.version_id for s in tier.standing(key)]
            if versions:
                stood, ended = True, ended or name == policy.HOT
                losses.end_versions(archive, tier, obj, versions, "It stood at the key of an erased file.")
    return stood, ended


def _sweep_previews(archive: Archive, seen: View) -> bool:
    """What was to be seen of erased files goes with them; returns whether there was any."""
    tier = archive.tiers[policy.HOT]
    with archive.ledger.read() as tx:
        keys = [names.preview_key(seen.dataset.prefix, f.path_raw) for f in tx.erased_files(seen.dataset.id)]
    standing = [(key, version.version_id) for key in keys for version in tier.standing(key)]
    for key, version_id in standing:
        tier.delete_version(key, version_id)
    return bool(standing)


def _finish(archive: Archive, erasure: Erasure, seen: View, ending: list[Object]) -> None:
    """Nothing is left in any store: the receipt."""
    assert erasure.approved_at is not None
    assert seen.manifest is not None
    with archive.ledger.begin() as tx:
        erased = [f for f in tx.erased_files(erasure.dataset_id) if policy.matches(f.path, erasure.files_glob)]
        receipt = {
            "files": len(erased),
            "size_bytes": sum(f.size_bytes for f in erased),
            "copies_ended": tx.copies_ended([o.id for o in ending], erasure.approved_at),
            "looked_in": sorted(archive.tiers),
            "tombstone": names.erasure_key(seen.dataset.prefix, erasure.approved_at),
            "manifest": seen.manifest.key,
        }
        tx.change("erasure", erasure, ErasureState.ERASED, ended_at=tx.at, receipt=receipt)
        tx.take_apart([o.id for o in ending if o.kind is ObjectKind.BUNDLE])
        if not seen.files and seen.dataset.state is not DatasetState.ERASED:
            tx.erase_dataset(erasure.dataset_id)
        tx.look(erasure.dataset_id)
