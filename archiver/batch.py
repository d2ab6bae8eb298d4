"""Many small transfers of one dataset into one tier, made together: the ledger is written once for all of them, not once for each.

Law: as transfer.py's. Each goes through the same states, and a state is committed for all before the work of any begins. What does not
go straight on (a cold source, something left at the key, an error, a hand that was quicker) is part of it no longer: such a transfer
goes on by itself, from the state it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import NoReturn, TypeVar

from archiver import policy, transfer
from archiver.archive import Archive
from archiver.flow import ahead
from archiver.ledger import Transaction
from archiver.ledger.many import Lies
from archiver.ledger.store import Moved
from archiver.model import Object, Proof, Transfer, TransferState
from archiver.storage import AlreadyThere, NotReadable, Tier
from archiver.stretch import Part, Stretches, in_order

BELOW_BYTES = 2**20
"""Objects smaller than this are copied many at a time."""
MOST = 250
"""Transfers of one batch, at most: each commit is spread over this many."""
_AT_ONCE = 8
_BY_HAND = 4  # of those that the store cannot copy by itself, made by a thread each

Done = TypeVar("Done")


@dataclass(frozen=True)
class _Job:
    transfer: Transfer
    obj: Object
    version_id: str = ""

    def now(self, state: TransferState, version_id: str = "") -> _Job:
        return replace(self, transfer=replace(self.transfer, state=state), version_id=version_id)


def run(archive: Archive, transfers: Sequence[Transfer]) -> list[Transfer]:
    """Advance transfers that are alike, as `transfer.run` does each: planned ones of one dataset into one tier, or what was sent to it from
    outside and is to be proven. Returns them as they are then."""
    if len(transfers) > 1:
        with suppress(Moved):  # one of them went another way: all go on by themselves
            (_receive_together if transfer.is_upload(transfers[0]) else _together)(archive, transfers)
    return _by_themselves(archive, transfers)


def arrive(archive: Archive, transfers: Sequence[Transfer]) -> list[Transfer]:
    """Advance arrivals of small files of one dataset, as `transfer.run` does each; returns them as they are then."""
    new = [one for one in transfers if one.state is TransferState.PLANNED and one.attempts == 0]
    if len(new) > 1:
        with suppress(Moved):
            _arrive_together(archive, new)
    return _by_themselves(archive, transfers)


def _by_themselves(archive: Archive, transfers: Sequence[Transfer]) -> list[Transfer]:
    """What did not go on with the others does by itself; one that failed waits there until it is due."""
    with archive.ledger.read() as tx:
        now = tx.transfers_numbered([one.id for one in transfers])
    return [one if one.state in transfer.ENDED else transfer.run(archive, one) for one in now]


def _arrive_together(archive: Archive, transfers: Sequence[Transfer]) -> None:
    tier = archive.tiers[policy.HOT]
    with archive.ledger.read() as tx:
        objects = tx.objects_numbered([one.object_id for one in transfers])
    jobs = [_Job(one, objects[one.object_id]) for one in transfers]
    free = [job for job, there in _each(archive, jobs, lambda job: tier.begin_look(job.obj.key)) if there is None]
    with archive.ledger.begin() as tx:
        tx.begin_arrivals([job.transfer for job in free])
    copying = [job.now(TransferState.COPYING) for job in free]
    sent = _each(archive, copying, lambda job: transfer.begin_arrival(archive, job.transfer, job.obj, tier))
    with archive.ledger.begin() as tx:
        tx.update_objects([{"of": job.obj.id, **vars(digest)} for job, (_, digest) in sent])
        versions = [{"version_id": version_id} for _, (version_id, _) in sent]
        tx.change_all("transfer", [job.transfer for job, _ in sent], TransferState.VERIFYING, versions)
    arrived = [
        replace(job.now(TransferState.VERIFYING, version_id), obj=replace(job.obj, sha256=digest.sha256, crc64nvme=digest.crc64nvme))
        for job, (version_id, digest) in sent
    ]
    _prove_together(archive, tier, arrived, None)


def _receive_together(archive: Archive, transfers: Sequence[Transfer]) -> None:
    tier = archive.tiers[policy.HOT]
    with archive.ledger.read() as tx:
        objects = tx.objects_numbered([one.object_id for one in transfers])
    jobs = [_Job(one, objects[one.object_id], one.version_id or "") for one in transfers]

    def begin_proof(job: _Job) -> Callable[[], str]:
        return partial(transfer.see_arrived, archive, job.obj, tier, job.version_id, tier.begin_read(job.obj.key, job.version_id))

    proven = _each(archive, jobs, begin_proof)
    with archive.ledger.begin() as tx:
        tx.update_objects([{"of": job.obj.id, "crc64nvme": crc64nvme} for job, crc64nvme in proven])
        tx.finish_transfers([(job.transfer, transfer.storage_class(job.obj, tier), job.version_id, Proof.READ_BACK) for job, _ in proven])


def _together(archive: Archive, transfers: Sequence[Transfer]) -> None:
    tier = archive.tiers[transfers[0].tier]
    with archive.ledger.begin() as tx:
        sources = _plain(tx, archive, tier, transfers)
        jobs = [_Job(one, obj) for one, obj, _ in sources]
        tx.change_all("transfer", [job.transfer for job in jobs], TransferState.COPYING, [{"source_copy_id": lies.copy.id} for *_, lies in sources])
    if not jobs:
        return
    lies_at = {one.id: lies for one, _, lies in sources}
    lock = transfer.lock_until(archive, jobs[0].obj, tier)
    members = {one.id: Part(lies.copy, lies.offset_bytes, obj.size_bytes) for one, obj, lies in sources if lies.offset_bytes is not None}
    stretches = Stretches(members.values())
    jobs.sort(key=lambda job: in_order(members.get(job.transfer.id)))
    with ThreadPoolExecutor(_BY_HAND, thread_name_prefix="batch") as pool:

        def begin_copy(job: _Job) -> Callable[[], str]:
            origin, offset = lies_at[job.transfer.id].copy, lies_at[job.transfer.id].offset_bytes
            here = archive.tiers[origin.tier]
            if offset is None and here.endpoint_url == tier.endpoint_url:
                return tier.begin_copy(here, job.obj.key, origin.version_id, transfer.storage_class(job.obj, tier))
            if offset is not None and lock is None and tier.settings.bandwidth_bytes_s is None:
                content = stretches.read(here, members[job.transfer.id])
                return tier.begin_put(job.obj.key, content, transfer.storage_class(job.obj, tier))
            return pool.submit(transfer.bring, archive, job.obj, tier, origin, offset, lock).result

        copying = [job.now(TransferState.COPYING) for job in jobs]
        copied = _each(archive, copying, begin_copy)
    with archive.ledger.begin() as tx:
        versions = [{"version_id": version_id} for _, version_id in copied]
        tx.change_all("transfer", [job.transfer for job, _ in copied], TransferState.VERIFYING, versions)
    _prove_together(archive, tier, [job.now(TransferState.VERIFYING, version_id) for job, version_id in copied], lock)


def _prove_together(archive: Archive, tier: Tier, verifying: Sequence[_Job], lock: datetime | None) -> None:
    def begin_proof(job: _Job) -> Callable[[], Proof]:
        begun = tier.begin_read(job.obj.key, job.version_id)
        return partial(transfer.see_proven, archive, job.obj, tier, job.version_id, lock, begun)

    proven = _each(archive, verifying, begin_proof)
    with archive.ledger.begin() as tx:
        left = tx.keys_left(tier.name, [job.obj.key for job, _ in proven])  # another hand could not prove it
        sound = [(job, proof) for job, proof in proven if job.obj.key not in left]
        tx.finish_transfers([(job.transfer, transfer.storage_class(job.obj, tier), job.version_id, proof) for job, proof in sound])


def _plain(tx: Transaction, archive: Archive, tier: Tier, transfers: Sequence[Transfer]) -> list[tuple[Transfer, Object, Lies]]:
    """Those that can be copied at once: from a copy that is never recalled, to a key at which nothing of ours was left; and where they lie."""
    objects = tx.objects_numbered([one.object_id for one in transfers])
    lie = tx.lie([one.object_id for one in transfers])
    left = tx.keys_left(tier.name, [one.key for one in transfers])
    plain = []
    for one in transfers:
        there = {lies.copy.id: lies for lies in lie[one.object_id] if lies.copy.tier != tier.name or lies.offset_bytes is not None}
        origin = policy.source([lies.copy for lies in there.values()], archive.settings, one.attempts)
        if origin is not None and archive.settings.tiers[origin.tier].recall == "never" and one.key not in left:
            plain.append((one, objects[one.object_id], there[origin.id]))
    return plain


def _each(archive: Archive, jobs: Sequence[_Job], begin: Callable[[_Job], Callable[[], Done]]) -> list[tuple[_Job, Done]]:
    """Have each job done, several at once: it is begun, and waited for in its turn. Returns those that were, with what came of it.

    Why one was not is recorded in its transfer.
    """

    def begun(job: _Job) -> Callable[[], Done]:
        try:
            return begin(job)
        except transfer.TROUBLE as error:
            return partial(_raise, error)

    found = []
    for job, finish in zip(jobs, ahead((partial(begun, job) for job in jobs), _AT_ONCE), strict=True):
        try:
            found.append((job, finish()))
        except (NotReadable, AlreadyThere):
            continue  # it needs a recall after all, or a look at what stands there: by itself
        except transfer.TROUBLE as error:
            with suppress(Moved):
                transfer.fail(archive, job.transfer, error)
    return found


def _raise(error: Exception) -> NoReturn:
    raise error
