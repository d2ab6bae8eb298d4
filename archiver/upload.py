"""Files sent from outside: written down, sent straight to the store by whoever has them, and received once the worker has proven them.

Law: a sender is given requests, each for one key, one size and one hour, never keys. What stands at a key counts for nothing until it
was read back and is what the sender told of. Every step can be asked for again after a crash of either side: what was sent is not sent twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from archiver import arrivals, names, policy, transfer
from archiver.archive import Archive
from archiver.errors import ChecksumMismatch, Conflict, ForeignObject, NotAllowed, NotFound, ReceptionFull, TooLarge, WrongUse
from archiver.flow import Looked, ahead
from archiver.keys import Sender
from archiver.ledger import Transaction
from archiver.ledger.receiving import NewFile, Under
from archiver.model import UPLOAD_URI, Dataset, DatasetState, File, FileState, MetadataState, Transfer, TransferState, Upload
from archiver.storage import AlreadyThere, Part, Signed, Tier, Vanished

_AT_ONCE = 16
_PATH_BYTES = 4096


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
    `parts` (in parts of `part_bytes`, of which `done` are there: number to size).
    """

    file_id: int | None
    dataset_id: int
    path_raw: bytes
    state: str
    put: Signed | None = None
    part_bytes: int | None = None
    done: dict[int, int] = field(default_factory=dict)


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
    parts: dict[int, Part] = field(default_factory=dict)


def open_dataset(archive: Archive, sender: Sender, name: str, project: str | None, instrument: str | None) -> Dataset:
    """The dataset of this name, opened when there is none. Raises `NotFound`, `NotAllowed`, `WrongUse`."""
    if sender.instrument is not None and instrument not in {None, sender.instrument}:
        raise NotAllowed(f"{sender.name} sends for itself, not for {instrument}.", "Leave the instrument out, or use that instrument's key.")
    source = sender.instrument or instrument
    if source is None:
        raise WrongUse("No instrument is named.", "Name the instrument that the data comes from.")
    target = sender.the_project(project)
    names.dataset(name)
    with archive.ledger.begin(sender.name) as tx:
        tx.require(target, source)
        found = tx.dataset_named(source, name)
        if found is None:
            return tx.open_dataset(target, source, name, names.prefix(target, source, name, tx.at), None, sender.name)
        if found.project != target:
            raise WrongUse(f"{found.full_name} is not in project {target}.", "A dataset's name is unique per instrument; choose another name.")
        return _own(found, sender)


def _own(dataset: Dataset, sender: Sender) -> Dataset:
    """The dataset, if it is the sender's. Raises `NotFound`: another's answers as one that is not there."""
    mine = dataset.opened_by == sender.name or (dataset.opened_by is None and sender.instrument == dataset.instrument)
    if not mine or (sender.instrument is not None and sender.instrument != dataset.instrument) or not sender.may_send_to(dataset.project):
        raise NotFound(f"There is no dataset number {dataset.id} that {sender.name} may send to.", "Open one of its own: POST datasets.")
    return dataset


def _chain(tx: Transaction, sender: Sender, dataset_id: int) -> list[Dataset]:
    """The sender's dataset and those that continue it."""
    try:
        first = tx.dataset(dataset_id)
    except NotFound:
        raise NotFound(f"There is no dataset number {dataset_id} that {sender.name} may send to.", "Open one of its own: POST datasets.") from None
    return tx.chain(_own(first, sender))


def begin(archive: Archive, sender: Sender, dataset_id: int, wanted: Sequence[Wanted]) -> list[Item]:
    """Write files down and say how each is sent, in order: all of them, or none.

    Raises `NotFound`, `WrongUse` (a path), `TooLarge`, `ReceptionFull`, `Conflict` (erased before), `ForeignObject`, `StoreUnavailable`.
    """
    _check(archive, wanted)
    with archive.ledger.read() as tx:
        chain = _chain(tx, sender, dataset_id)
        there = {file.path_raw for file in tx.files_at([link.id for link in chain], [one.path_raw for one in wanted])}
        known = {one.path_raw: _known(tx, chain, one) for one in wanted if one.path_raw in there}
        _room(archive, tx, sum(one.size_bytes for one in wanted if known.get(one.path_raw) is None))
    new = [one for one in wanted if known.get(one.path_raw) is None]
    steps = dict(zip((one.path_raw for one in new), _written_down(archive, sender, chain[0], new), strict=True)) if new else {}
    _prepare(archive, list(steps.values()))
    return [known.get(one.path_raw) or _item(archive, steps[one.path_raw]) for one in wanted]


def _check(archive: Archive, wanted: Sequence[Wanted]) -> None:
    limit = archive.settings.reception.file_max_bytes
    seen: set[bytes] = set()
    for one in wanted:
        shown = names.text(one.path_raw)
        parts = one.path_raw.split(b"/")
        if len(one.path_raw) > _PATH_BYTES or b"\0" in one.path_raw or any(part in {b"", b".", b".."} for part in parts):
            raise WrongUse(f"{shown[:200]!r} cannot be the path of a file in a dataset.", "Give a path below the dataset, without '.' and '..'.")
        if one.path_raw in seen:
            raise WrongUse(f"The path {shown!r} is named twice.", "Send each path once.")
        seen.add(one.path_raw)
        if one.size_bytes > limit:
            raise TooLarge(
                f"{shown} has {one.size_bytes} bytes, the limit is {limit}.", "Split it, or ask an admin to raise reception.file_max_bytes."
            )


def _known(tx: Transaction, chain: Sequence[Dataset], one: Wanted) -> Item | None:
    """What a wanted file needs when the ledger has its like already; None: it is to be sent."""
    same = arrivals.known(tx, chain, one.path_raw, one.size_bytes)
    if same and one.sha256 is None:
        return Item(None, same[0].dataset_id, one.path_raw, "known")
    file = None if one.sha256 is None else arrivals.same_content(same, one.sha256, chain[0].full_name)
    return None if file is None else Item(file.id, file.dataset_id, file.path_raw, "received")


def _room(archive: Archive, tx: Transaction, more_bytes: int) -> None:
    most = archive.settings.policy.hot_capacity_bytes
    if most is not None and (held := tx.bytes_in(policy.HOT)) + more_bytes > most:
        raise ReceptionFull(
            f"Fast storage holds {held} of {most} bytes: there is no room for {more_bytes} more.",
            "Wait: it is asked for again by itself. An admin can make room, or raise policy.hot_capacity_bytes.",
        )


def _written_down(archive: Archive, sender: Sender, first: Dataset, wanted: Sequence[Wanted]) -> list[_Step]:
    uri = f"{UPLOAD_URI}{sender.name}"
    with archive.ledger.begin(sender.name) as tx:
        # It may be about to close, and wait for just these.
        open_ones = [link.id for link in tx.chain(first) if link.state is DatasetState.OPEN]
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
            rows = [
                NewFile(names.text(path), path, names.key(dataset.prefix, path), one.size_bytes, one.mtime)
                for one, path in zip(rest, paths, strict=True)
            ]
            added = tx.add_files(dataset.id, rows, MetadataState.WAITING)
            planned = tx.plan_transfers([(obj, policy.HOT, None, None) for _, obj in added], uri)
            tx.add_uploads([Upload(i, dataset.id, one.path_raw, one.mark, None, one.sha256, None) for i, one in zip(planned, rest, strict=True)])
            ids |= {one.path_raw: file_id for one, (file_id, _) in zip(rest, added, strict=True)}
        anew = {one.path_raw for one in wanted if one.path_raw in under_way and _go_on(tx, under_way[one.path_raw], one, uri)}
        found = tx.uploads_by_file(list(ids.values()))
        return [_Step(*found[ids[one.path_raw]], anew=one.path_raw in anew) for one in wanted]


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
    begin = [step for step in steps if step.anew or step.transfer.state is TransferState.PLANNED]
    there = _looked(tier, [step.transfer.key for step in begin])
    for step in begin:
        found = there[step.transfer.key]
        if found is not None and step.transfer.attempts == 0 and not step.anew:
            foreign = ForeignObject(
                f"{tier.bucket}/{step.transfer.key} holds an object that the ledger does not know.",
                "See what it is and move it away, then send the file again.",
            )
            transfer.fail(archive, step.transfer, foreign)
            raise foreign
        if found is not None:
            transfer.clear(archive, tier, step.transfer.key, found.version_id)
    for step in steps:
        if step.transfer.state in {TransferState.PLANNED, TransferState.COPYING} and _in_parts(archive, step.file.size_bytes):
            _see_parts(archive, tier, step)
    with archive.ledger.begin() as tx:
        tx.update_uploads([{"of": step.transfer.id, "upload_id": step.upload.upload_id} for step in steps if step.upload.upload_id is not None])
        for dataset_id in {step.transfer.dataset_id for step in begin}:
            its = [s.transfer for s in begin if s.transfer.dataset_id == dataset_id and s.transfer.state is TransferState.PLANNED]
            tx.change_all("transfer", its, TransferState.COPYING)


def _see_parts(archive: Archive, tier: Tier, step: _Step) -> None:
    """The upload of a file that comes in parts, and what of it is there; a new one where there is none (any more)."""
    if step.upload.upload_id is not None:
        with suppress(Vanished):
            step.parts = tier.parts_sent(step.transfer.key, step.upload.upload_id)
            return
        there = tier.begin_look(step.transfer.key)()
        if there is not None and there.size_bytes == step.file.size_bytes:  # made one object by a request whose answer was lost
            step.parts = {number: Part(size, "") for number, size in _part_sizes(tier, step.file.size_bytes).items()}
            return
    upload_id = tier.begin_upload(step.transfer.key, archive.settings.tiers[policy.HOT].storage_class)
    step.upload = replace(step.upload, upload_id=upload_id)


def _looked(tier: Tier, keys: Sequence[str]) -> dict[str, Looked | None]:
    answers = ahead((partial(tier.begin_look, key) for key in keys), _AT_ONCE)
    return {key: answer() for key, answer in zip(keys, answers, strict=True)}


def _in_parts(archive: Archive, size_bytes: int) -> bool:
    return size_bytes > archive.settings.reception.parts_above_bytes


def _item(archive: Archive, step: _Step) -> Item:
    tier, file = archive.tiers[policy.HOT], step.file
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
    sizes = _part_sizes(tier, file.size_bytes)
    wrong = [number for number in numbers if number not in sizes]
    if wrong:
        raise WrongUse(f"{file.path} has no part {wrong[0]}: it has {len(sizes)}.", "Number the parts from 1.")
    valid = archive.settings.reception.upload_valid
    return {number: tier.signed_part(under.key, upload.upload_id, number, sizes[number], valid) for number in numbers}


def _part_sizes(tier: Tier, size_bytes: int) -> dict[int, int]:
    step = tier.part_bytes(size_bytes)
    return {number: min(step, size_bytes - start) for number, start in enumerate(range(0, size_bytes, step), start=1)}


def _mine(tx: Transaction, sender: Sender, dataset_id: int, file_ids: Collection[int]) -> dict[int, tuple[File, Transfer, Upload]]:
    """Files that the sender has sent to this dataset or those that continue it. Raises `NotFound`."""
    own = {link.id for link in _chain(tx, sender, dataset_id)}
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

    `told`: versions that the store answered the senders. They are believed, as each is read back before it counts. What stands there and has
    another size was put there by an earlier request of ours: it is cleared away, else nothing could follow.
    """
    tier = archive.tiers[policy.HOT]
    versions: dict[int, str] = {}
    whole: dict[int, tuple[File, Transfer]] = {}
    for file_id, (file, under, upload) in sent.items():
        if upload.upload_id is not None:
            try:
                found = tier.parts_sent(under.key, upload.upload_id)
                if {number: part.size_bytes for number, part in found.items()} != _part_sizes(tier, file.size_bytes):
                    continue
                versions[file_id] = tier.complete_upload(under.key, upload.upload_id, found)
                continue
            except AlreadyThere:
                tier.abort_uploads(under.key, {under.key})  # by which it got there; what is there is looked at
            except Vanished:
                pass  # it was completed before, by a request whose answer was lost
        elif file_id in told:
            versions[file_id] = told[file_id]
            continue
        whole[file_id] = (file, under)
    looked = _looked(tier, [under.key for _, under in whole.values()])
    for file_id, (file, under) in whole.items():
        there = looked[under.key]
        if there is None:
            continue
        if there.size_bytes == file.size_bytes:
            versions[file_id] = there.version_id
        else:
            transfer.clear(archive, tier, under.key, there.version_id)
    return versions


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
        ids = [link.id for link in _chain(tx, sender, dataset_id)]
        return Standing(*tx.on_their_way(ids), tx.not_received(ids, after_id, limit))


def close(archive: Archive, sender: Sender, dataset_id: int) -> list[Dataset]:
    """Have a dataset, and those that continue it, closed by the worker once all is proven; returns them. Can be repeated.

    Raises `NotFound`, `Conflict` while files of it are not sent, or when there is none.
    """
    with archive.ledger.begin(sender.name) as tx:
        chain = _chain(tx, sender, dataset_id)
        for link in chain:
            if link.state is not DatasetState.OPEN or link.closing_at is not None:
                continue
            received, verifying, sending = tx.on_their_way([link.id])
            if sending:
                raise Conflict(f"{sending} file(s) of {link.full_name} are not sent yet.", "Send them; then close it.")
            if not received + verifying:
                raise Conflict(f"{link.full_name} has no file.", "Send one; an empty dataset is not closed.")
            tx.ask_to_close(link)
        return [tx.dataset(link.id) for link in chain]


def receipts(archive: Archive, sender: Sender, dataset_id: int, after_id: int, limit: int) -> list[tuple[File, list[dict[str, Any]]]]:
    """Received files, by number, after this one, each with its proven copies: tier, place, proof, proven_at. Raises `NotFound`."""
    with archive.ledger.read() as tx:
        ids = [link.id for link in _chain(tx, sender, dataset_id)]
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
