"""Making copies: `planned → [recalling] → copying → verifying → proven`, or `failed` (again later), `quarantined` (a person).

Law: each state is in the ledger before its work is done, and each step can be repeated after a crash at any moment: what stands
at the key already is looked at, proven or cleared away, never counted unseen. An arrival (source_uri) is the same transfer with a
local file as its source, or with bytes that were sent from outside (upload.py), which are proven here.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from archiver import bundle, names, packing, policy
from archiver.archive import Archive
from archiver.errors import (
    AwaitsReaper,
    ForeignObject,
    LedgerUnavailable,
    NotFound,
    ProofFailed,
    PublicError,
    SourceChanged,
    StoreUnavailable,
    UnreadableSource,
)
from archiver.ledger import Transaction
from archiver.ledger.store import Moved
from archiver.model import UPLOAD_URI, Copy, Object, ObjectKind, Proof, RecallState, Transfer, TransferState
from archiver.proof import arrived, prove
from archiver.storage import AlreadyThere, Digest, Digester, NotReadable, Tier, Vanished

log = logging.getLogger(__name__)

_MAX_BACKOFF = timedelta(minutes=5)
_SAYS: dict[type[Exception], str] = {
    Vanished: "A copy is no longer in the store",
    NotReadable: "A copy must be recalled before it is read",
    AlreadyThere: "Something stands at the key already",
}
TROUBLE = (PublicError, NotReadable, AlreadyThere, Vanished, OSError)
"""What may go wrong with one transfer; it is recorded in it."""
ENDED = (TransferState.PROVEN, TransferState.QUARANTINED, TransferState.CANCELLED)


def run(archive: Archive, transfer: Transfer) -> Transfer:
    """Advance a transfer until it has ended, waits for a recall, or has failed and waits for its next try.

    Returns it as it is then. Raises nothing that belongs to the transfer itself: that is recorded in it.
    """
    while transfer.next_try_at <= archive.clock():
        before = transfer
        try:
            _step(archive, transfer)
        except Moved:
            pass  # another process or a person moved it; go on from what is true now
        except TROUBLE as error:
            with suppress(Moved):
                fail(archive, _read(archive, transfer.id), error)
        transfer = _read(archive, before.id)
        if transfer.state in ENDED or (transfer.state, transfer.next_try_at) == (before.state, before.next_try_at):
            return transfer
        if transfer.state is TransferState.FAILED:
            return transfer
    return transfer


def _read(archive: Archive, transfer_id: int) -> Transfer:
    with archive.ledger.read() as tx:
        return tx.transfer(transfer_id)


def _step(archive: Archive, transfer: Transfer) -> None:
    match transfer.state:
        case TransferState.FAILED:
            if transfer.next_try_at <= archive.clock():
                with archive.ledger.begin() as tx:
                    tx.change("transfer", transfer, TransferState.PLANNED)
        case TransferState.PLANNED:
            _start(archive, transfer)
        case TransferState.RECALLING:
            _wait_for_recall(archive, transfer)
        case TransferState.COPYING:
            _copy(archive, transfer)
        case TransferState.VERIFYING:
            _verify(archive, transfer)


def _start(archive: Archive, transfer: Transfer) -> None:
    """Choose the source; a cold one is recalled first."""
    with archive.ledger.read() as tx:
        if tx.leftover(transfer.tier, transfer.key) is not None:
            raise AwaitsReaper(
                f"An unproven version of {transfer.key} stands in {transfer.tier}.",
                "It is copied anew when the reaper has ended it: see that `archiver reaper` runs.",
            )
    if transfer.source_uri is not None:
        tier = archive.tiers[transfer.tier]
        if transfer.attempts == 0 and tier.head(transfer.key) is not None and not _is_stray(archive, transfer.key):
            raise ForeignObject(
                f"{tier.bucket}/{transfer.key} holds an object that the ledger does not know.",
                "See what it is and move it away, then send the file again.",
            )
        with archive.ledger.begin() as tx:
            tx.begin_arrivals([transfer])
        return
    with archive.ledger.begin() as tx:
        candidates = [c for c in tx.copies_with(transfer.object_id) if c.tier != transfer.tier or c.object_id != transfer.object_id]
        origin = policy.source(candidates, archive.settings, transfer.attempts)
        if (origin is None or archive.settings.tiers[origin.tier].recall != "never") and tx.all_lie_in(policy.HOT, transfer.object_id):
            tx.change("transfer", transfer, TransferState.COPYING, source_copy_id=None)
            return
        if origin is None:
            raise NotFound("No other proven copy of this object is known.", "See its events, and restore it from a backup.")
        how = archive.settings.tiers[origin.tier].recall
        if how == "never":
            tx.change("transfer", transfer, TransferState.COPYING, source_copy_id=origin.id)
            return
        if how == "always":
            recall = tx.recall_for(origin, transfer.dataset_id)
            tx.change("transfer", transfer, TransferState.RECALLING, source_copy_id=origin.id, recall_id=recall.id)
            return
    head = archive.tiers[origin.tier].head(origin.key, origin.version_id)
    if head is None:
        raise Vanished(f"{origin.key} in {origin.tier}")
    with archive.ledger.begin() as tx:
        if head.readable:
            tx.change("transfer", transfer, TransferState.COPYING, source_copy_id=origin.id)
        else:
            recall = tx.recall_for(origin, transfer.dataset_id)
            tx.change("transfer", transfer, TransferState.RECALLING, source_copy_id=origin.id, recall_id=recall.id)


def _is_stray(archive: Archive, key: str) -> bool:
    with archive.ledger.read() as tx:
        return bool(tx.are_strays([key]))


def _wait_for_recall(archive: Archive, transfer: Transfer) -> None:
    with archive.ledger.begin() as tx:
        assert transfer.recall_id is not None
        recall = tx.recall(transfer.recall_id)
        if recall.state is RecallState.READABLE:
            tx.change("transfer", transfer, TransferState.COPYING)
        elif recall.state is RecallState.LAPSED:
            tx.change("transfer", transfer, TransferState.FAILED, next_try_at=tx.at, error="The recall lapsed before the bytes were read.")


def _copy(archive: Archive, transfer: Transfer) -> None:
    tier = archive.tiers[transfer.tier]
    with archive.ledger.read() as tx:
        obj = tx.object(transfer.object_id)
    if transfer.source_uri is not None:
        version_id, digest = _arrive(archive, transfer, obj, tier)
        with archive.ledger.begin() as tx:
            tx.update_object(obj.id, size_bytes=digest.size_bytes, sha256=digest.sha256, crc64nvme=digest.crc64nvme)
            tx.change("transfer", transfer, TransferState.VERIFYING, version_id=version_id)
        return
    if transfer.source_copy_id is None:
        _build(archive, transfer, obj, tier)
        return
    with archive.ledger.read() as tx:
        origin = tx.copy(transfer.source_copy_id)
        offset = None if origin.object_id == obj.id else tx.offset_in(origin.object_id, obj.id)
    if origin.object_id != obj.id and offset is None:
        raise Vanished(f"{obj.key} in {origin.key}")
    try:
        version_id = bring(archive, obj, tier, origin, offset, lock_until(archive, obj, tier))
    except NotReadable:
        with archive.ledger.begin() as tx:  # the recall lapsed while we waited for our turn
            recall = tx.recall_for(origin, transfer.dataset_id)
            if recall.state is RecallState.READABLE:
                tx.change("recall", recall, RecallState.LAPSED)
                recall = tx.recall_for(origin, transfer.dataset_id)
            tx.change("transfer", transfer, TransferState.RECALLING, recall_id=recall.id)
        return
    with archive.ledger.begin() as tx:
        tx.change("transfer", transfer, TransferState.VERIFYING, version_id=version_id)


def bring(archive: Archive, obj: Object, tier: Tier, origin: Copy, offset: int | None, lock: datetime | None) -> str:
    """Make a copy from another, or from a bundle's in which the bytes begin at `offset`; returns its version.

    Raises `NotReadable`, `Vanished`, `StoreUnavailable`.
    """
    here = archive.tiers[origin.tier]
    try:
        if offset is None:
            return tier.copy_from(here, obj.key, origin.version_id, obj.size_bytes, storage_class(obj, tier), lock)
        member = here.parts(origin.key, origin.version_id, obj.size_bytes, tier.part_bytes(obj.size_bytes), offset)
        return tier.put(obj.key, obj.size_bytes, member, storage_class(obj, tier), lock)
    except AlreadyThere:
        # Left by a step that was cut short, or put there by somebody: the proof will tell.
        head = tier.head(obj.key)
        if head is None:
            raise
        if origin.tier == tier.name:  # it was sent with others, so that nobody has looked yet whether its own key is free
            if head.size_bytes == 0 < obj.size_bytes:
                # What SeaweedFS (4.48) keeps of a PUT whose sender died after its headers. It holds nothing, whosever it is.
                clear(archive, tier, obj.key, head.version_id)
                raise
            found = tier.digest(obj.key, head.version_id, head.size_bytes)
            if found.sha256 != obj.sha256:
                raise ForeignObject(
                    f"{tier.bucket}/{obj.key} holds an object that the ledger does not know.",
                    "See what it is and move it away, then have the transfer tried again.",
                ) from None
        return head.version_id


def _build(archive: Archive, transfer: Transfer, obj: Object, tier: Tier) -> None:
    """Make a bundle from its members in hot, each checked as it goes by."""
    with archive.ledger.read() as tx:
        by_object = {f.object_id: f for f in tx.files(transfer.dataset_id)}
        files = [by_object[m.object_id] for m in tx.members_of(obj.id)]
        lie = {c.object_id: c for c in tx.copies(transfer.dataset_id, policy.HOT)}
        others = tx.copies_of(obj.id)
    try:
        wanted = [(lie[f.object_id].key, lie[f.object_id].version_id) for f in files]
    except KeyError:
        raise NotFound(f"A member of {obj.key} is no longer in hot.", "It is tried again when it is back.") from None
    digester = Digester()
    contents = ((piece,) for piece in archive.tiers[policy.HOT].fetch(wanted, max(f.size_bytes for f in files)))
    parts = _digested(bundle.in_parts(bundle.stream(files, contents), tier.part_bytes(obj.size_bytes)), digester)
    try:
        version_id = tier.put(obj.key, obj.size_bytes, parts, storage_class(obj, tier), lock_until(archive, obj, tier))
    except AlreadyThere:  # left by a step that was cut short: the proof will tell whether it is this
        head = tier.head(obj.key)
        if head is None:
            raise
        version_id = head.version_id
    digest = digester.digest()
    if digest.size_bytes != obj.size_bytes or (others and digest.sha256 != obj.sha256):
        raise ProofFailed(f"{obj.key} came out otherwise than it was laid out.", "This is a fault of the program: keep the log and report it.")
    with archive.ledger.begin() as tx:
        tx.update_object(obj.id, sha256=digest.sha256, crc64nvme=digest.crc64nvme)
        tx.change("transfer", transfer, TransferState.VERIFYING, version_id=version_id)


def _digested(parts: Iterator[bytes], digester: Digester) -> Iterator[bytes]:
    for part in parts:
        digester.update(part)
        yield part


def _arrive(archive: Archive, transfer: Transfer, obj: Object, tier: Tier) -> tuple[str, Digest]:
    """Send a local file, its digest computed as it goes; it must be the same file before and after."""
    path = _source_of(transfer)
    for again in (False, True):
        digester = Digester()
        try:
            with _opened(path, obj) as (file, before):
                version_id = tier.put(obj.key, obj.size_bytes, _pieces(file, tier.part_bytes(obj.size_bytes), digester), storage_class(obj, tier))
        except AlreadyThere:
            head = tier.head(obj.key)
            if again or head is None or not clear(archive, tier, obj.key, head.version_id):
                raise
            continue
        return version_id, _unchanged(archive, obj, tier, version_id, path, before, digester.digest())
    raise AssertionError("unreachable")


def begin_arrival(archive: Archive, transfer: Transfer, obj: Object, tier: Tier) -> Callable[[], tuple[str, Digest]]:
    """The same for a small file that is read at once: its sending has begun, the call waits for it. It raises `AlreadyThere` too."""
    path = _source_of(transfer)
    with _opened(path, obj) as (file, before):
        content = file.read()
    digester = Digester()
    digester.update(content)
    put = tier.begin_put(obj.key, content, storage_class(obj, tier))

    def finish() -> tuple[str, Digest]:
        version_id = put()
        return version_id, _unchanged(archive, obj, tier, version_id, path, before, digester.digest())

    return finish


def _source_of(transfer: Transfer) -> Path:
    assert transfer.source_uri is not None
    return Path(os.fsdecode(unquote_to_bytes(transfer.source_uri.removeprefix("file://"))))


@contextmanager
def _opened(path: Path, obj: Object) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """A file that is sent, and what it was before. Raises `SourceChanged`, `UnreadableSource`."""
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size != obj.size_bytes:
                raise SourceChanged(
                    f"{names.shown(path)} has {before.st_size} bytes now, it had {obj.size_bytes}.", "Send it again when it no longer changes."
                )
            yield file, before
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UnreadableSource:
    return UnreadableSource(f"{names.shown(path)} cannot be read: {error.strerror}.", "See that it is there and readable, then send it again.")


def _unchanged(archive: Archive, obj: Object, tier: Tier, version_id: str, path: Path, before: os.stat_result, sent: Digest) -> Digest:
    """What was sent, if the file is still what it was; else the version is cleared away."""
    try:
        after = path.stat()  # by name: it may have been given to another file meanwhile
    except OSError as error:
        clear(archive, tier, obj.key, version_id)
        raise _unreadable(path, error) from error
    if sent.size_bytes != obj.size_bytes or _signature(before) != _signature(after):
        clear(archive, tier, obj.key, version_id)
        raise SourceChanged(f"{names.shown(path)} changed while it was sent.", "Send it again when it no longer changes.")
    return sent


def _verify(archive: Archive, transfer: Transfer) -> None:
    tier = archive.tiers[transfer.tier]
    assert transfer.version_id is not None
    with archive.ledger.read() as tx:
        obj = tx.object(transfer.object_id)
    if is_upload(transfer) and obj.kind is ObjectKind.BUNDLE:
        _receive_pack(archive, transfer, obj, tier)
        return
    if is_upload(transfer):
        crc64nvme = see_arrived(archive, obj, tier, transfer.version_id)
        with archive.ledger.begin() as tx:
            tx.update_object(obj.id, crc64nvme=crc64nvme)
            tx.finish_transfer(transfer, storage_class(obj, tier), transfer.version_id, Proof.READ_BACK)
        return
    proof = see_proven(archive, obj, tier, transfer.version_id, lock_until(archive, obj, tier))
    with archive.ledger.begin() as tx:
        if tx.leftover(tier.name, obj.key, transfer.version_id) is not None:  # another hand could not prove it, and the reaper may end it any time
            raise AwaitsReaper(f"A version of {obj.key} in {tier.name} could not be proven.", "It is copied anew when the reaper has ended it.")
        tx.finish_transfer(transfer, storage_class(obj, tier), transfer.version_id, proof)


def _receive_pack(archive: Archive, transfer: Transfer, pack: Object, tier: Tier) -> None:
    """Read a pack back: it, and all that stands in it, is received; or none of it is."""
    assert transfer.version_id is not None
    with archive.ledger.read() as tx:
        files = [(file, told) for file, _, told in tx.standing_in(pack.id)]
    try:
        whole, members = packing.read_back(tier, pack, transfer.version_id, files)
    except ProofFailed:
        clear(archive, tier, pack.key, transfer.version_id)
        raise
    sums = {"sha256": whole.sha256, "crc64nvme": whole.crc64nvme}
    with archive.ledger.begin() as tx:
        tx.receive_pack(transfer, storage_class(pack, tier), sums, members)


def see_proven(archive: Archive, obj: Object, tier: Tier, version_id: str, lock: datetime | None, begun: Callable[[], bytes] | None = None) -> Proof:
    """Prove a version, and lock it until `lock`; one that is not what it should be is cleared away. `begun` and what it raises: as `prove`."""
    try:
        proof = prove(tier, obj, version_id, begun)
    except ProofFailed:
        clear(archive, tier, obj.key, version_id)
        raise
    if lock is not None:  # not every store locks while it copies; no copy counts before it is locked
        tier.lock(obj.key, version_id, lock)
    return proof


def is_upload(transfer: Transfer) -> bool:
    """Whether a transfer's bytes come from outside, by presigned requests (upload.py): here they are proven only."""
    return transfer.source_uri is not None and transfer.source_uri.startswith(UPLOAD_URI)


def see_arrived(archive: Archive, obj: Object, tier: Tier, version_id: str, begun: Callable[[], bytes] | None = None) -> str:
    """Prove a version that came from outside; returns its CRC64NVME. One that is not what its sender told of is cleared away."""
    try:
        return arrived(tier, obj, version_id, begun)
    except ProofFailed:
        clear(archive, tier, obj.key, version_id)
        raise


def clear(archive: Archive, tier: Tier, key: str, version_id: str) -> bool:
    """End a version that a transfer of ours left unproven. Never one that the ledger counts on.

    Outside hot only the reaper ends anything: there it is written down for it, and the transfer waits.
    """
    if tier.name != policy.HOT:
        with archive.ledger.begin() as tx:
            if tx.is_a_copy(tier.name, key, version_id):
                return False
            tx.leave(tier.name, key, version_id, "A transfer left it, and it could not be proven.")
        return True
    with archive.ledger.read() as tx:
        if tx.is_a_copy(tier.name, key, version_id):
            return False
    log.warning("clearing an unproven version of %s in %s: %s", key, tier.name, version_id)
    tier.delete_version(key, version_id)
    return True


def forget(archive: Archive, dataset_id: int, file_ids: Collection[int] | None = None) -> None:
    """Files of an open dataset (these, or all) that were to come from outside and never came whole are forgotten, and what there is of them ends."""
    with archive.ledger.begin() as tx:
        keys = tx.forget_arrivals(dataset_id, file_ids)
    for key in keys:
        log.warning("%s never came whole, and is forgotten", key)
        end_given_up(archive, key)


def end_given_up(archive: Archive, key: str) -> None:
    """End what stands in hot at a key that was given up. While the key is used again, what stands there is that arrival's business."""
    tier = archive.tiers[policy.HOT]
    there = tier.begin_look(key)()
    with archive.ledger.read() as tx:
        if _in_use(tx, key):
            return
    tier.abort_uploads(key, {key})
    if there is not None:  # what came since is another version, and is not ended
        clear(archive, tier, key, there.version_id)


def _in_use(tx: Transaction, key: str) -> bool:
    obj = tx.object_with_key(key)
    mine = obj is not None and (tx.transfer_into(obj.id, policy.HOT) is not None or any(c.tier == policy.HOT for c in tx.copies_of(obj.id)))
    return mine or bool(tx.snapshot_keys([key]))


def fail(archive: Archive, transfer: Transfer, error: Exception) -> None:
    """Record why, and when it is tried again. An unreachable store or ledger is waited for without end; of anything else N are enough."""
    if transfer.state in ENDED:
        return
    worker = archive.settings.worker
    patient = isinstance(error, StoreUnavailable | LedgerUnavailable | AwaitsReaper)
    attempts = transfer.attempts + (not isinstance(error, AwaitsReaper))
    arrival = transfer.source_uri is not None  # its attempts are counted as they begin
    faults = transfer.faults + (not patient)
    wait = min(worker.backoff * 2 ** min(max(attempts - arrival, 1) - 1, 16), _MAX_BACKOFF) * random.uniform(0.75, 1.25)  # noqa: S311  # jitter
    text = str(error) if isinstance(error, PublicError) else f"{_SAYS.get(type(error), type(error).__name__)}: {error}."
    log.warning("transfer %s (%s to %s) failed, attempt %s: %s", transfer.id, transfer.key, transfer.tier, attempts, text)
    with archive.ledger.begin() as tx:
        if patient and is_upload(transfer) and transfer.state is TransferState.VERIFYING:
            tx.postpone(transfer, tx.at + wait, attempts, text)  # its bytes are there: the sender has nothing to do again
            return
        if transfer.state is not TransferState.FAILED:
            counted = {} if arrival else {"attempts": attempts}
            tx.change("transfer", transfer, TransferState.FAILED, faults=faults, next_try_at=tx.at + wait, error=text, **counted)
            transfer = tx.transfer(transfer.id)
        if faults >= worker.tries or isinstance(error, ForeignObject):
            tx.change("transfer", transfer, TransferState.QUARANTINED, error=text)


def lock_until(archive: Archive, obj: Object, tier: Tier) -> datetime | None:
    """Until when a new copy is locked; None where the tier locks nothing, or only until a time that is past by the real clock."""
    if tier.settings.lock is None:
        return None
    with archive.ledger.read() as tx:
        until = policy.lock_until(tx.dataset(obj.dataset_id), tier.name, archive.settings, tx.at)
    return until if until is not None and until > archive.wall() else None


def storage_class(obj: Object, tier: Tier) -> str:
    return "STANDARD" if obj.kind is ObjectKind.MANIFEST else tier.settings.storage_class


def _pieces(file: BinaryIO, size: int, digester: Digester) -> Iterator[bytes]:
    while chunk := file.read(size):
        digester.update(chunk)
        yield chunk


def _signature(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
