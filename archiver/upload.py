"""Files sent from outside: written down, sent straight to the store by whoever has them, and received once the worker has proven them.

Law: a sender is given requests, each for one key, one size and one hour, never keys. What stands at a key counts for nothing until it
was read back and is what the sender told of. Every step can be asked for again after a crash of either side: what was sent is not sent twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from archiver import arrivals, incoming, names, obstacles, packing, policy, remark, transfer
from archiver.archive import Archive
from archiver.bundle import Place
from archiver.errors import ChecksumMismatch, Conflict, ForeignObject, NotAllowed, NotFound, ReceptionFull, WrongUse
from archiver.flow import Looked, ahead
from archiver.keys import Sender
from archiver.ledger import Transaction
from archiver.ledger.receiving import NewFile, Under
from archiver.ledger.store import Moved
from archiver.model import UPLOAD_URI, Dataset, DatasetState, File, FileState, MetadataState, Transfer, TransferState, Upload
from archiver.packing import Packed, Travelling
from archiver.storage import Part, Signed, Tier

_AT_ONCE = 16


@dataclass(frozen=True)
class Wanted:
    """A file that shall be sent. `mark`: the sender's word for its source, another one when that is another file."""

    path_raw: bytes
    size_bytes: int
    mtime: datetime | None
    mark: str
    sha256: str | None = None


@dataclass(frozen=True)
class Item:
    """What is to be done for a wanted file; `state` is one of

    `known` (one of this path and size is received: tell the SHA-256), `received`, `verifying` (sent, being proven), `put` (by `put`),
    `parts` (in parts of `part_bytes`, of which `done` are there: number to size), `pack` (together with others, in `pack`).
    """

    file_id: int | None
    dataset_id: int
    path_raw: bytes
    state: str
    put: Signed | None = None
    part_bytes: int | None = None
    done: dict[int, int] = field(default_factory=dict)
    pack: Pack | None = None


@dataclass(frozen=True)
class Pack:
    """Small files that are sent as one tar by `put`; `number`: what it is told of by."""

    number: int
    dataset_id: int
    size_bytes: int
    put: Signed
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Sent:
    """That all of a file was sent, the SHA-256 (hex) of what was, and the version that the store answered, where it did."""

    file_id: int
    sha256: str
    version_id: str | None = None


@dataclass
class _Step:
    """A file that is written down, and what the store is still to be asked for it."""

    file: File
    transfer: Transfer
    upload: Upload
    anew: bool = False  # it was under way with another source, so that what stands at its key is ours
    packed: Packed | None = None  # it travels with others
    parts: dict[int, Part] = field(default_factory=dict)


def open_dataset(
    archive: Archive,
    sender: Sender,
    name: str,
    project: str | None,
    instrument: str | None,
    derived_from: Sequence[str] = (),
    readable: Sequence[str] | None = (),
    title: str | None = None,
) -> Dataset:
    """The dataset of this name, opened when there is none. `derived_from`: what it is made of, among the projects that are `readable` (None: all).
    A person who names no instrument publishes a result; `title` is what they call it, and stays.

    Raises `NotFound`, `Ambiguous`, `NotAllowed`, `WrongUse`.
    """
    asked = (archive, sender, name, project, instrument, derived_from, readable, title)
    try:
        return _open_dataset(*asked)
    except Moved:  # another sender opened it at the same moment: now it is there
        return _open_dataset(*asked)


def _open_dataset(
    archive: Archive,
    sender: Sender,
    name: str,
    project: str | None,
    instrument: str | None,
    derived_from: Sequence[str],
    readable: Sequence[str] | None,
    title: str | None,
) -> Dataset:
    if (derived_from or title) and sender.instrument is not None:
        raise WrongUse("An instrument measures: what it sends is made of no other dataset.", "Publish what you made with a token of the hub.")
    if sender.instrument is not None and instrument not in {None, sender.instrument}:
        raise NotAllowed(f"{sender.name} sends for itself, not for {instrument}.", "Leave the instrument out, or use that instrument's key.")
    results = archive.settings.reception.results
    source = sender.instrument or instrument or results
    target = sender.the_project(project)
    names.dataset(name)
    with archive.ledger.begin(sender.name) as tx:
        if source == results and all(known.name != results for known in tx.instruments()):
            tx.add_instrument(results, "Results that people publish")
        tx.require(target, source)
        parents = remark.parents_of(tx, derived_from, readable)
        found, name = _named(tx, sender, source, name)
        if found is None:
            made = tx.open_dataset(target, source, name, names.prefix(target, source, name, tx.at), None, sender.name)
            tx.derive(made.id, [parent.id for parent in parents])
            if title:
                tx.update_dataset(made.id, title=title, called=title)
            return tx.dataset(made.id)
        if found.project != target:
            raise WrongUse(f"{found.full_name} is not in project {target}.", "A dataset's name is unique per instrument; choose another name.")
        with suppress(NotFound):
            mine = incoming.own(found, sender)
            if derived_from and {parent.id for parent in parents} != {parent for _, parent in tx.parents([mine.id])}:
                raise WrongUse(f"{found.full_name} was opened as made of others than these.", "Say the same again, or choose another name.")
            return mine
        raise NotFound(f"{sender.name} may not add to {found.full_name}: it is another's.", "Choose another name for the dataset.")


def _named(tx: Transaction, sender: Sender, instrument: str, name: str) -> tuple[Dataset | None, str]:
    """The dataset of this name, if there is one, and the name. A person who has taken it is in no instrument's way: it goes on as `name+1`."""
    found, asked = tx.dataset_named(instrument, name), name
    for number in itertools.count(1):
        if sender.instrument is None or found is None or found.opened_by in {None, sender.name}:
            return found, name
        name = f"{asked}+{number}"
        found = tx.dataset_named(instrument, name)
    raise AssertionError("unreachable")


def begin(archive: Archive, sender: Sender, dataset_id: int, wanted: Sequence[Wanted], *, packs: bool = False) -> list[Item]:
    """Write files down and say how each is sent, in order: all of them, or none. `packs`: small ones may be sent together.

    Raises `NotFound`, `WrongUse` (a path), `TooLarge`, `ReceptionFull`, `Conflict` (erased before), `ForeignObject`, `SnapshotInTheWay`,
    `StoreUnavailable`.
    """
    incoming.check(archive, ((one.path_raw, one.size_bytes) for one in wanted))
    with archive.ledger.read() as tx:
        chain = incoming.chain(tx, sender, dataset_id)
        known = _known(tx, chain, wanted)
    new = [one for one in wanted if one.path_raw not in known]
    _see_room(archive, chain[0].project, sum(one.size_bytes for one in new))
    with arrivals.making_way(archive):
        steps, since, left = _written_down(archive, sender, chain[0], new, packs=packs) if new else ({}, {}, [])
    known |= since
    for key in left:
        transfer.end_given_up(archive, key)
    _prepare(archive, list(steps.values()))
    offers = {pack.transfer.id: _offer(archive, pack) for pack in _packs(steps.values())}
    return [known.get(one.path_raw) or _item(archive, steps[one.path_raw], offers) for one in wanted]


def _known(tx: Transaction, chain: Sequence[Dataset], wanted: Sequence[Wanted]) -> dict[bytes, Item]:
    """What wanted files need of which the ledger has the like already, by path; the others are to be sent."""
    there = {file.path_raw for file in tx.files_at([link.id for link in chain], [one.path_raw for one in wanted])}
    found = {one.path_raw: _known_one(tx, chain, one) for one in wanted if one.path_raw in there}
    return {path: item for path, item in found.items() if item is not None}


def _known_one(tx: Transaction, chain: Sequence[Dataset], one: Wanted) -> Item | None:
    same = arrivals.known(tx, chain, one.path_raw, one.size_bytes)
    if same and one.sha256 is None:
        return Item(None, same[0].dataset_id, one.path_raw, "known")
    file = None if one.sha256 is None else arrivals.same_content(same, one.sha256, chain[0].full_name)
    return None if file is None else Item(file.id, file.dataset_id, file.path_raw, "received")


def _see_room(archive: Archive, project: str, more_bytes: int) -> None:
    kind = obstacles.FULL
    try:
        with archive.ledger.read() as tx:
            incoming.room(archive, tx, more_bytes)
            kind = obstacles.QUOTA
            incoming.quota(archive, tx, project, more_bytes)
    except ReceptionFull as full:
        obstacles.refused(archive, kind, more_bytes, str(full))
        raise


def _written_down(
    archive: Archive, sender: Sender, first: Dataset, wanted: Sequence[Wanted], *, packs: bool
) -> tuple[dict[bytes, _Step], dict[bytes, Item], list[str]]:
    """The files that are to be sent, and those that were received since they were looked for: this request may be that of a sender long killed.

    And keys of packs that were taken apart, to be cleared.
    """
    uri = f"{UPLOAD_URI}{sender.name}"
    with archive.ledger.begin(sender.name) as tx:
        chain = tx.chain(first)
        since = _known(tx, chain, wanted)
        wanted = [one for one in wanted if one.path_raw not in since]
        # It may be about to close, and wait for just these.
        open_ones = [link.id for link in chain if link.state is DatasetState.OPEN]
        under_way = tx.arriving_as(open_ones, [one.path_raw for one in wanted])
        rest = [one for one in wanted if one.path_raw not in under_way]
        ids = {one.path_raw: under_way[one.path_raw].id for one in wanted if one.path_raw in under_way}
        if rest:
            dataset = arrivals.tail(tx, first.project, first.instrument, first.name, sender.name)
            taken = {file.path_raw for file in tx.files_at([dataset.id], [one.path_raw for one in rest])}
            paths: dict[bytes, None] = {}
            for one in rest:
                free = one.path_raw not in taken and one.path_raw not in paths  # `f@v2` may be a file's own name too
                paths[one.path_raw if free else _version(tx, dataset.id, one.path_raw, paths)] = None
            arrivals.see_free(tx, dataset.id, paths)
            rows = [
                NewFile(names.text(path), path, names.key(dataset.prefix, path), one.size_bytes, one.mtime)
                for one, path in zip(rest, paths, strict=True)
            ]
            added = tx.add_files(dataset.id, rows, MetadataState.WAITING)
            planned = tx.plan_arrivals([(obj, uri) for _, obj in added])
            tx.add_uploads([Upload(i, dataset.id, one.path_raw, one.mark, None, one.sha256, None) for i, one in zip(planned, rest, strict=True)])
            ids |= {one.path_raw: file_id for one, (file_id, _) in zip(rest, added, strict=True)}
        anew = {one.path_raw for one in wanted if one.path_raw in under_way and _go_on(tx, under_way[one.path_raw], one, uri)}
        found = tx.uploads_by_file(list(ids.values()))
        going = []
        for one in wanted:
            file, under, _ = found[ids[one.path_raw]]
            going.append(Travelling(file, one.path_raw in anew, under.state is TransferState.PLANNED and under.attempts == 0))
        packed, left = packing.arrange(tx, archive, going, uri, together=packs)
        steps = {one.path_raw: _Step(*found[ids[one.path_raw]], anew=one.path_raw in anew, packed=packed.get(ids[one.path_raw])) for one in wanted}
        return steps, since, left


def _version(tx: Transaction, dataset_id: int, path_raw: bytes, given: Collection[bytes]) -> bytes:
    """The first version of a path that no file of the dataset has, and none of those that were given one just now."""
    return next(path for path in arrivals.versions(path_raw) if path not in given and tx.file_at(dataset_id, path) is None)


def _go_on(tx: Transaction, file: File, one: Wanted, uri: str) -> bool:
    """A file that was on its way already: goes on where it was when its source is the same, else it begins anew. Returns whether it does."""
    under = tx.transfer_into(file.object_id, policy.HOT)
    had = tx.uploads_by_file([file.id]).get(file.id)
    same = had is not None and under is not None and had[1].id == under.id and had[2].mark == one.mark and file.size_bytes == one.size_bytes
    if same and under is not None and under.state in {TransferState.PLANNED, TransferState.COPYING, TransferState.VERIFYING}:
        if one.sha256 is not None:
            tx.update_uploads([{"of": under.id, "expected_sha256": one.sha256}])
        return False
    if under is None:
        transfer_id = tx.plan_transfer(tx.object(file.object_id), policy.HOT, source_uri=uri)
        tx.add_uploads([Upload(transfer_id, file.dataset_id, one.path_raw, one.mark, None, one.sha256, None)])
    else:
        transfer_id = under.id
        tx.restart_arrival(under, uri)
        row = {"mark": one.mark, "upload_id": None, "expected_sha256": one.sha256, "sent_at": None}
        if had is not None and had[1].id == under.id:
            tx.update_uploads([{"of": transfer_id, **row}])
        else:  # it was to come from a local file
            tx.add_uploads([Upload(transfer_id, file.dataset_id, one.path_raw, one.mark, None, one.sha256, None)])
    tx.update_object(file.object_id, size_bytes=one.size_bytes, sha256=None, crc64nvme=None)
    tx.update_file(file.id, size_bytes=one.size_bytes, mtime=one.mtime, metadata_state=MetadataState.WAITING, metadata_error=None, metadata={})
    return True


def _prepare(archive: Archive, steps: Sequence[_Step]) -> None:
    """Ask the store what each file needs before its first byte: that nothing foreign stands at its key, an upload where it comes in parts."""
    tier = archive.tiers[policy.HOT]
    begin = [step for step in steps if step.packed is None and (step.anew or step.transfer.state is TransferState.PLANNED)]
    new_packs = [pack.transfer for pack in _packs(steps) if pack.transfer.state is TransferState.PLANNED]
    there = _looked(tier, [one.key for one in (*(step.transfer for step in begin), *new_packs)])
    taken = [key for key, found in there.items() if found is not None]
    with archive.ledger.read() as tx:
        ours = tx.are_strays(taken)
    for pack in new_packs:
        if there[pack.key] is not None:
            raise _foreign(archive, pack)
    for step in begin:
        found = there[step.transfer.key]
        if found is not None and step.transfer.attempts == 0 and step.transfer.key not in ours:
            raise _foreign(archive, step.transfer)
        if found is not None:
            transfer.clear(archive, tier, step.transfer.key, found.version_id)
    for step in steps:
        sending = step.packed is None and step.transfer.state in {TransferState.PLANNED, TransferState.COPYING}
        if sending and incoming.in_parts(archive, step.file.size_bytes):
            _see_parts(archive, tier, step)
    with archive.ledger.begin() as tx:
        tx.update_uploads([{"of": step.transfer.id, "upload_id": step.upload.upload_id} for step in steps if step.upload.upload_id is not None])
        for dataset_id in {step.transfer.dataset_id for step in begin}:
            its = [s.transfer for s in begin if s.transfer.dataset_id == dataset_id and s.transfer.state is TransferState.PLANNED]
            tx.begin_arrivals(its)
        for pack in new_packs:
            tx.begin_arrivals([pack])


def _packs(steps: Iterable[_Step]) -> list[Packed]:
    return packing.unique(step.packed for step in steps if step.packed is not None)


def _foreign(archive: Archive, under: Transfer) -> ForeignObject:
    """Something stands where a file, or a pack, is to arrive for the first time: it is not ours."""
    foreign = ForeignObject(
        f"{archive.tiers[policy.HOT].bucket}/{under.key} holds an object that the ledger does not know.",
        "See what it is and move it away, then send the file again.",
    )
    transfer.fail(archive, under, foreign)
    return foreign


def _see_parts(archive: Archive, tier: Tier, step: _Step) -> None:
    """The upload of a file that comes in parts, and what of it is there; a new one where there is none (any more)."""
    if step.upload.upload_id is not None:
        there = incoming.parts_there(tier, step.transfer.key, step.upload.upload_id, step.file.size_bytes)
        if there is not None:
            step.parts = there
            return
    upload_id = tier.begin_upload(step.transfer.key, archive.settings.tiers[policy.HOT].storage_class)
    step.upload = replace(step.upload, upload_id=upload_id)


def _looked(tier: Tier, keys: Sequence[str]) -> dict[str, Looked | None]:
    answers = ahead((partial(tier.begin_look, key) for key in keys), _AT_ONCE)
    return {key: answer() for key, answer in zip(keys, answers, strict=True)}


def _offer(archive: Archive, packed: Packed) -> Pack:
    tier, under = archive.tiers[policy.HOT], packed.transfer
    put = tier.signed_put(under.key, packed.size_bytes, tier.settings.storage_class, archive.settings.reception.upload_valid)
    return Pack(under.object_id, under.dataset_id, packed.size_bytes, put, packed.places)


def _item(archive: Archive, step: _Step, offers: Mapping[int, Pack]) -> Item:
    tier, file = archive.tiers[policy.HOT], step.file
    if step.packed is not None:
        if step.packed.transfer.state is TransferState.VERIFYING:
            return Item(file.id, file.dataset_id, file.path_raw, "verifying")
        return Item(file.id, file.dataset_id, file.path_raw, "pack", pack=offers[step.packed.transfer.id])
    if step.transfer.state is TransferState.VERIFYING:
        return Item(file.id, file.dataset_id, file.path_raw, "verifying")
    if step.upload.upload_id is not None:
        done = {number: part.size_bytes for number, part in step.parts.items()}
        return Item(file.id, file.dataset_id, file.path_raw, "parts", part_bytes=tier.part_bytes(file.size_bytes), done=done)
    put = tier.signed_put(step.transfer.key, file.size_bytes, tier.settings.storage_class, archive.settings.reception.upload_valid)
    return Item(file.id, file.dataset_id, file.path_raw, "put", put=put)


def parts(archive: Archive, sender: Sender, dataset_id: int, file_id: int, numbers: Collection[int]) -> dict[int, Signed]:
    """Requests for these parts of a file's upload, by number. Raises `NotFound`, `Conflict` (it is not being sent in parts), `WrongUse`."""
    tier = archive.tiers[policy.HOT]
    with archive.ledger.read() as tx:
        file, under, upload = _mine(tx, sender, dataset_id, [file_id])[file_id]
    if under.state is not TransferState.COPYING or upload.upload_id is None:
        raise Conflict(f"{file.path} is not being sent in parts.", "Ask again how it is sent: POST uploads.")
    sizes = incoming.wanted_parts(tier, file.size_bytes, numbers, file.path)
    valid = archive.settings.reception.upload_valid
    return {number: tier.signed_part(under.key, upload.upload_id, number, sizes[number], valid) for number in numbers}


def _mine(tx: Transaction, sender: Sender, dataset_id: int, file_ids: Collection[int]) -> dict[int, tuple[File, Transfer, Upload]]:
    """Files that the sender has sent to this dataset or those that continue it. Raises `NotFound`."""
    own = {link.id for link in incoming.chain(tx, sender, dataset_id)}
    found = tx.uploads_by_file(file_ids)
    for file_id in file_ids:
        if file_id not in found or found[file_id][0].dataset_id not in own:
            raise NotFound(f"There is no file number {file_id} that {sender.name} sends.", "Ask how it is sent: POST uploads.")
    return found


def done(archive: Archive, sender: Sender, dataset_id: int, sent: Sequence[Sent]) -> dict[int, str]:
    """All of these files was sent: from now on the worker proves them. Returns `received`, `verifying` or `missing` (not all is there) of each.

    Raises `NotFound`, `ChecksumMismatch` (nothing of any changes, but the one that does not fit is not received), `StoreUnavailable`.
    """
    with archive.ledger.read() as tx:
        mine = _mine(tx, sender, dataset_id, [one.file_id for one in sent])
    for one in sent:
        _fits(archive, *mine[one.file_id], one.sha256)
    under_way = {one.file_id: mine[one.file_id] for one in sent if mine[one.file_id][1].state is TransferState.COPYING}
    versions = _completed(archive, under_way, {one.file_id: one.version_id for one in sent if one.version_id is not None})
    with archive.ledger.begin(sender.name) as tx:
        moving = [one for one in sent if one.file_id in versions]
        for link in {mine[one.file_id][0].dataset_id for one in moving}:
            its = [one for one in moving if mine[one.file_id][0].dataset_id == link]
            tx.update_objects([{"of": mine[one.file_id][0].object_id, "sha256": one.sha256} for one in its])
            tx.update_uploads([{"of": mine[one.file_id][1].id, "sent_at": tx.at} for one in its])
            now = [{"version_id": versions[one.file_id]} for one in its]
            tx.change_all("transfer", [mine[one.file_id][1] for one in its], TransferState.VERIFYING, now, next_try_at=tx.at)
    return {one.file_id: "verifying" if one.file_id in versions else _state(*mine[one.file_id]) for one in sent}


def pack_done(archive: Archive, sender: Sender, dataset_id: int, number: int, sums: Mapping[int, str], version_id: str | None = None) -> str:
    """All of a pack was sent: from now on the worker proves it. `sums`: the SHA-256 of each file in it. Returns `received`, `verifying` or `missing`.

    Raises `NotFound` (it was taken apart, or is another's), `Conflict` (not just its files are told of), `ChecksumMismatch` (nothing changes),
    `StoreUnavailable`.
    """
    gone = NotFound(f"There is no pack number {number} that {sender.name} sends.", "Ask how its files are sent: POST uploads.")
    with archive.ledger.read() as tx:
        own = {link.id for link in incoming.chain(tx, sender, dataset_id)}
        under = tx.pack(number)
        if under is None or under.dataset_id not in own or under.state is TransferState.CANCELLED:
            raise gone
        files = [file for file, _, _ in tx.standing_in(number)]
        mine = tx.uploads_by_file([file.id for file in files])
        size_bytes = tx.object(number).size_bytes
    if {file.id for file in files} != sums.keys():
        raise Conflict(f"Pack {number} has {len(files)} files, and not just these are told of.", "Tell the SHA-256 of each of its files, once.")
    for file in files:
        _fits(archive, *mine[file.id], sums[file.id])
    if under.state is not TransferState.COPYING:
        return {TransferState.PROVEN: "received", TransferState.VERIFYING: "verifying"}.get(under.state, "missing")
    version = version_id or _whole_at(archive, {number: (under.key, size_bytes)}).get(number)
    if version is None:
        return "missing"
    with archive.ledger.begin(sender.name) as tx:
        tx.update_objects([{"of": file.object_id, "sha256": sums[file.id]} for file in files])
        tx.update_uploads([{"of": mine[file.id][1].id, "sent_at": tx.at} for file in files])
        tx.change("transfer", under, TransferState.VERIFYING, version_id=version, next_try_at=tx.at)
    return "verifying"


def _whole_at(archive: Archive, keys: Mapping[int, tuple[str, int]]) -> dict[int, str]:
    """The versions that stand at keys and have their sizes, by number: (key, bytes). What stands there and has another size was put there by an
    earlier request of ours: it is cleared away, else nothing could follow."""
    tier = archive.tiers[policy.HOT]
    looked = _looked(tier, [key for key, _ in keys.values()])
    versions = {}
    for number, (key, size_bytes) in keys.items():
        there = looked[key]
        if there is not None and there.size_bytes == size_bytes:
            versions[number] = there.version_id
        elif there is not None:
            transfer.clear(archive, tier, key, there.version_id)
    return versions


def _state(file: File, under: Transfer, _upload: Upload) -> str:
    if file.state is FileState.RECEIVED:
        return "received"
    return "verifying" if under.state is TransferState.VERIFYING else "missing"


def _fits(archive: Archive, file: File, under: Transfer, upload: Upload, sha256: str) -> None:
    """Raise `ChecksumMismatch` when the sender has told of another SHA-256 for this file before."""
    told = upload.expected_sha256 if file.state is not FileState.RECEIVED else file.sha256
    if told is None or told == sha256:
        return
    error = ChecksumMismatch(
        f"{file.path} was sent with SHA-256 {sha256}, but {told} was told of it before.",
        "Nothing of it is received: see which of the two is right, and send it again.",
        file_id=file.id,
    )
    if under.state is TransferState.COPYING:
        transfer.fail(archive, under, error)
    raise error


def _completed(archive: Archive, sent: dict[int, tuple[File, Transfer, Upload]], told: Mapping[int, str]) -> dict[int, str]:
    """The versions of those of which all is there, by file; what came in parts is made one object.

    `told`: versions that the store answered the senders. They are believed, as each is read back before it counts.
    """
    tier = archive.tiers[policy.HOT]
    versions: dict[int, str] = {}
    whole: dict[int, tuple[str, int]] = {}
    for file_id, (file, under, upload) in sent.items():
        if upload.upload_id is not None:
            try:
                version = incoming.completed(tier, under.key, upload.upload_id, file.size_bytes)
            except incoming.NotAll:
                continue
            if version is not None:
                versions[file_id] = version
                continue
        elif file_id in told:
            versions[file_id] = told[file_id]
            continue
        whole[file_id] = (under.key, file.size_bytes)
    return versions | _whole_at(archive, whole)


def give_up(archive: Archive, sender: Sender, dataset_id: int, file_id: int) -> None:
    """A file that is on its way is no part of the dataset any more. Raises `NotFound`, `Conflict` (all of it was sent)."""
    with archive.ledger.read() as tx:
        file, under, _ = _mine(tx, sender, dataset_id, [file_id])[file_id]
        pack = tx.packs_with([file.object_id]).get(file.object_id, under)
    if file.state is not FileState.ARRIVING or TransferState.VERIFYING in {under.state, pack.state}:
        raise Conflict(f"{file.path} was sent already, and stays.", "Nothing is to be done; an admin can erase what must not be kept.")
    transfer.forget(archive, file.dataset_id, [file.id])


@dataclass(frozen=True)
class Standing:
    """How far a dataset, with those that continue it, has come: counts, and files that are not received."""

    received: int
    verifying: int
    sending: int
    items: list[Under]


def standing(archive: Archive, sender: Sender, dataset_id: int, after_id: int, limit: int) -> Standing:
    """What of a dataset is received, and what is not, by number of the file, after this one. Raises `NotFound`."""
    with archive.ledger.read() as tx:
        ids = [link.id for link in incoming.chain(tx, sender, dataset_id)]
        return Standing(*tx.on_their_way(ids), tx.not_received(ids, after_id, limit))


def close(archive: Archive, sender: Sender, dataset_id: int) -> list[Dataset]:
    """Have a dataset, and those that continue it, closed by the worker once all is proven; returns them. Can be repeated.

    Raises `NotFound`, `Conflict` while files of it are not sent, or when there is none.
    """
    with archive.ledger.begin(sender.name) as tx:
        chain = incoming.chain(tx, sender, dataset_id)
        for link in chain:
            if link.state is not DatasetState.OPEN or link.closing_at is not None:
                continue
            received, verifying, sending = tx.on_their_way([link.id])
            if sending:
                raise Conflict(f"{sending} file(s) of {link.full_name} are not sent yet.", "Send them; then close it.")
            if not received + verifying and not tx.shows_snapshots(link.id):
                raise Conflict(f"{link.full_name} has no file.", "Send one; an empty dataset is not closed.")
            tx.ask_to_close(link)
        return [tx.dataset(link.id) for link in chain]


def receipts(archive: Archive, sender: Sender, dataset_id: int, after_id: int, limit: int) -> list[tuple[File, list[dict[str, Any]]]]:
    """Received files, by number, after this one, each with its proven copies: tier, place, proof, proven_at. Raises `NotFound`."""
    with archive.ledger.read() as tx:
        ids = [link.id for link in incoming.chain(tx, sender, dataset_id)]
        files = tx.received(ids, after_id, limit)
        lie = tx.lie([file.object_id for file in files])
    places = archive.settings.tiers
    return [
        (
            file,
            [
                {"tier": c.tier, "place": places[c.tier].place if c.tier in places else c.tier, "proof": c.proof, "proven_at": c.proven_at}
                for c in sorted({lies.copy.id: lies.copy for lies in lie[file.object_id]}.values(), key=lambda c: c.id)
            ],
        )
        for file in files
    ]
