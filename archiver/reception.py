"""Reception: files become a dataset. Register, send (transfer.py), close with a manifest.

Law: proven before the ledger says received; never overwritten; never the same twice. The same content again is no work; other
content under a known path becomes `path@v2` while the dataset is open; once it is closed everything new goes to `name+1`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from archiver import arrivals, bundle, contents, manifest, names
from archiver.archive import Archive
from archiver.errors import Conflict, UnreadableSource, WrongUse
from archiver.ledger import Transaction
from archiver.ledger.receiving import NewFile
from archiver.model import Dataset, DatasetState, File, FileState, MetadataState, ObjectKind


@dataclass(frozen=True)
class Source:
    """A local file and the path it shall have in its dataset."""

    path: Path
    path_raw: bytes
    size_bytes: int
    mtime: datetime | None  # None: a time that no calendar has


@dataclass(frozen=True)
class Arrival:
    """What became of a source: `transfer_id` to be run, or None when the same content was received before."""

    source: Source
    dataset_id: int
    path: str
    path_raw: bytes
    transfer_id: int | None


def scan(paths: Sequence[Path]) -> list[Source]:
    """The regular files below `paths`, in order; a folder gives the paths below it, a file its name.

    Symlinks are not followed. Raises `UnreadableSource` for what is missing, unreadable or no file, before anything is written.
    """
    sources = []
    for path in paths:
        try:
            mode = path.lstat().st_mode
        except OSError as error:
            raise UnreadableSource(f"{names.shown(path)} cannot be read: {error.strerror}.", "Check the path.") from None
        if stat.S_ISDIR(mode):
            sources += [_source(found, os.fsencode(found.relative_to(path))) for found in _walk(path)]
        elif stat.S_ISREG(mode):
            sources.append(_source(path, os.fsencode(path.name)))
        else:
            raise UnreadableSource(
                f"{names.shown(path)} is neither a file nor a folder.", "Links, devices and sockets are not received; name the file itself."
            )
    if not sources:
        raise UnreadableSource(f"There is no file in {', '.join(map(names.shown, paths))}.", "Name a file, or a folder with files in it.")
    doubles = [path_raw for path_raw, count in Counter(s.path_raw for s in sources).items() if count > 1]
    if doubles:
        raise WrongUse(
            f"Two sources would have the same path {names.text(min(doubles))!r} in the dataset.",
            "Receive them as two datasets, or name their folder.",
        )
    return sources


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda e: os.fsencode(e.name))
    except OSError as error:
        raise UnreadableSource(f"{names.shown(folder)} cannot be read: {error.strerror}.", "See that the folder is readable.") from None
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _source(path: Path, path_raw: bytes) -> Source:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
    except OSError as error:
        raise UnreadableSource(f"{names.shown(path)} cannot be read: {error.strerror}.", "See that it is readable, then try again.") from None
    try:
        mtime = datetime.fromtimestamp(found.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        mtime = None
    return Source(path, path_raw, found.st_size, mtime)


def register(archive: Archive, project: str, instrument: str, name: str, sources: Sequence[Source]) -> list[Arrival]:
    """Write sources down, in the dataset they belong to: all of them, or none. They are then to be sent.

    Raises `NotFound` (unknown project or instrument), `WrongUse` (name, or the dataset is another project's), `Conflict` (erased before),
    `SnapshotInTheWay`.
    """
    names.dataset(name)
    with archive.ledger.read() as tx:
        tx.require(project, instrument)
        first = tx.dataset_named(instrument, name)
        if first is not None and first.project != project:
            raise WrongUse(
                f"{first.full_name} belongs to project {first.project}.", "A dataset's name is unique per instrument; choose another name."
            )
        chain = [] if first is None else tx.chain(first)
        there = {file.path_raw for file in tx.files_at([link.id for link in chain], [source.path_raw for source in sources])}
        known = [arrivals.known(tx, chain, source.path_raw, source.size_bytes) if source.path_raw in there else [] for source in sources]
    zone = archive.settings.reception.zone
    found: list[File | contents.Said] = [
        (arrivals.same_content(files, _sha256(source.path), f"{instrument}/{name}") if files else None)
        or contents.described(source.path, names.text(source.path_raw), zone)
        for source, files in zip(sources, known, strict=True)
    ]
    new = {source: said for source, said in zip(sources, found, strict=True) if isinstance(said, contents.Said)}
    with arrivals.making_way(archive), archive.ledger.begin() as tx:
        registered = _register(tx, arrivals.tail(tx, project, instrument, name), new) if new else {}  # opened for what is new only
    for source, said in new.items():
        contents.keep_preview(archive, registered[source].dataset_id, registered[source].path_raw, said)
    return [
        Arrival(source, one.dataset_id, one.path, one.path_raw, None) if isinstance(one, File) else registered[source]
        for source, one in zip(sources, found, strict=True)
    ]


def _register(tx: Transaction, dataset: Dataset, wanted: Mapping[Source, contents.Said]) -> dict[Source, Arrival]:
    """What no file is on its way for is written down all at once: a few queries, however many there are."""
    taken = {file.path_raw for file in tx.files_at([dataset.id], [source.path_raw for source in wanted])}
    paths: dict[bytes, Source] = {}
    under_way: dict[bytes, File] = {}
    for source in wanted:
        free = source.path_raw not in taken and source.path_raw not in paths  # `f@v2` may be a file's own name too
        path_raw, file = (source.path_raw, None) if free else arrivals.free_path(tx, dataset.id, source.path_raw, paths)
        paths[path_raw] = source
        if file is not None:
            under_way[path_raw] = file
    new = {path_raw: source for path_raw, source in paths.items() if path_raw not in under_way}
    arrivals.see_free(tx, dataset.id, new)
    rows = [NewFile(names.text(path_raw), path_raw, names.key(dataset.prefix, path_raw), one.size_bytes, one.mtime) for path_raw, one in new.items()]
    added = tx.add_files(dataset.id, rows, MetadataState.NONE)
    tx.update_files([{"of": file_id, **wanted[source].columns} for (file_id, _), source in zip(added, new.values(), strict=True)])
    planned = tx.plan_arrivals([(obj, _uri(source.path)) for (_, obj), source in zip(added, new.values(), strict=True)])
    transfers = dict(zip(new, planned, strict=True))
    for path_raw, file in under_way.items():
        transfers[path_raw] = _go_on(tx, file, paths[path_raw], wanted[paths[path_raw]])
    return {source: Arrival(source, dataset.id, names.text(path_raw), path_raw, transfers[path_raw]) for path_raw, source in paths.items()}


def _go_on(tx: Transaction, file: File, source: Source, said: contents.Said) -> int:
    """An arrival that was cut short: it goes on with what the file is now."""
    for pack in tx.packs_with([file.object_id]).values():  # it was being sent with others, which are asked for anew
        tx.take_pack_apart(pack)
    tx.update_object(file.object_id, size_bytes=source.size_bytes, sha256=None, crc64nvme=None)
    tx.update_file(file.id, size_bytes=source.size_bytes, mtime=source.mtime, **said.columns)
    return _arrival_transfer(tx, file.object_id, source.path)


def _uri(path: Path) -> str:
    return path.absolute().as_uri()


def _arrival_transfer(tx: Transaction, object_id: int, path: Path) -> int:
    transfer = tx.transfer_into(object_id, "hot")
    if transfer is None:
        return tx.plan_transfer(tx.object(object_id), "hot", source_uri=_uri(path))
    tx.restart_arrival(transfer, _uri(path))
    return transfer.id


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableSource(f"{names.shown(path)} cannot be read: {error.strerror}.", "See that it is readable, then try again.") from None


def unfinished(archive: Archive, dataset_id: int) -> list[str]:
    """Paths of a dataset that are known but not received."""
    with archive.ledger.read() as tx:
        return [f.path for f in tx.files(dataset_id) if f.state is not FileState.RECEIVED]


def prepare_close(archive: Archive, dataset_id: int) -> int | None:
    """Describe an open dataset as a whole and write its manifest down as one more arrival; returns that transfer, None if it is closed.

    Raises `Conflict` while files are missing; the dataset then stays open.
    """
    missing = unfinished(archive, dataset_id)
    if missing:
        raise Conflict(
            f"{len(missing)} file(s) of the dataset are not received yet, the first is {missing[0]!r}.", "Send them again; then it closes."
        )
    with archive.ledger.begin() as tx:
        dataset = tx.dataset(dataset_id)
        if dataset.state is not DatasetState.OPEN:
            return None
        if tx.snapshots([dataset_id]):
            raise Conflict(f"Snapshots of growing files stand in {dataset.full_name}.", "Have its sender close it: then the worker deals with them.")
        files = tx.files(dataset_id)
        if not files:
            raise Conflict(f"{dataset.full_name} has no file.", "Send one; an empty dataset is not closed.")
        tx.update_dataset(dataset_id, **manifest.summary(files, dataset.called))
        known = tx.object_with_key(names.manifest_key(dataset.prefix))
        if known is not None and tx.copies_of(known.id):
            return None  # proven by a close that was cut short before its last step
        _lay_out(archive, tx, dataset, files)
        body = manifest.body(tx, dataset_id)
        path = archive.spool / "manifests" / f"{dataset_id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        if known is None:
            object_id = tx.add_object(dataset_id, ObjectKind.MANIFEST, names.manifest_key(dataset.prefix), len(body))
            return _arrival_transfer(tx, object_id, path)
        tx.update_object(known.id, size_bytes=len(body), sha256=None, crc64nvme=None)
        return _arrival_transfer(tx, known.id, path)


def _lay_out(archive: Archive, tx: Transaction, dataset: Dataset, files: Sequence[File]) -> None:
    """Say which small files go into which bundle, where some tier takes bundles; they are built once the dataset is closed."""
    tx.forget_bundles(dataset.id)
    if not any(tier.bundles for tier in archive.settings.tiers.values()):
        return
    rules = archive.settings.rules_for(dataset.project, dataset.instrument)
    packed = {member.object_id for member in tx.members(dataset.id)}  # they came together, and lie so already
    rest = [file for file in files if file.object_id not in packed]
    for number, layout in enumerate(bundle.layouts(rest, rules.bundle_below_bytes, rules.bundle_max_bytes), start=tx.next_bundle(dataset.id)):
        bundle_id = tx.add_object(dataset.id, ObjectKind.BUNDLE, names.bundle_key(dataset.prefix, number), layout.size_bytes)
        tx.add_members(bundle_id, [(place.file.object_id, place.offset_bytes) for place in layout.places])


def close(archive: Archive, dataset_id: int) -> None:
    """The last step: the manifest is proven, the dataset is closed. Raises `Conflict` when the manifest is not."""
    with archive.ledger.begin() as tx:
        dataset = tx.dataset(dataset_id)
        if dataset.state is DatasetState.OPEN:
            if not arrivals.described(tx, dataset):
                raise Conflict(f"The manifest of {dataset.full_name} is not proven yet.", "Close the dataset again.")
            tx.close_dataset(dataset_id)
    (archive.spool / "manifests" / f"{dataset_id}.json").unlink(missing_ok=True)
