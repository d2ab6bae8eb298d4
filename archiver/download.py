"""Taking data home: what of a dataset can be read at this moment, as one ZIP, as links, or file by file.

Law: only what is readable now is given; what would have to be brought back first is refused as a whole, with the line that asks for it (Law 4).
Bytes are checked against the arrival's SHA-256 as they go by: what is not what arrived breaks the answer off. Names in a ZIP stay inside its folder.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from archiver import policy
from archiver.archive import Archive
from archiver.config import Settings
from archiver.errors import ColdData, Conflict, NotFound, StoreUnavailable, WrongUse
from archiver.ledger import Transaction
from archiver.model import Copy, Dataset, DatasetState, File, FileState
from archiver.storage import NotReadable, Signed, Vanished

_PAGE = 500
_EPOCH = (1980, 1, 1, 0, 0, 0)  # ZIP knows no time before
_LAST = 2107


@dataclass(frozen=True)
class Place:
    """A file, and the copy it is read from: the whole object, or `size_bytes` of a bundle from `offset_bytes` on."""

    file: File
    copy: Copy
    offset_bytes: int | None


def places(tx: Transaction, settings: Settings, dataset: Dataset, paths: Sequence[str], after_id: int = 0) -> Iterator[Place]:
    """Where the files that match one of `paths` (paths or globs; none: all) are read from, by number after `after_id`.

    Raises `ColdData` when one must be brought back first.
    """
    while files := tx.files(dataset.id, after_id, _PAGE):
        after_id = files[-1].id
        yield from _placed(tx, settings, dataset, files, paths)


def _placed(tx: Transaction, settings: Settings, dataset: Dataset, files: Sequence[File], paths: Sequence[str]) -> Iterator[Place]:
    wanted = [f for f in files if f.state is FileState.RECEIVED and (not paths or any(_fits(f.path, path) for path in paths))]
    lie = tx.lie([f.object_id for f in wanted])
    order = list(settings.tiers)
    for file in wanted:
        readable = [(lies.copy, lies.offset_bytes) for lies in lie[file.object_id] if _reads(settings, lies.copy.tier)]
        if not readable:
            raise _cold(settings, dataset, file, [lies.copy.tier for lies in lie[file.object_id]])
        copy, offset = min(readable, key=lambda one: (order.index(one[0].tier), one[1] is not None))
        yield Place(file, copy, offset)


def _fits(path: str, wanted: str) -> bool:
    return path == wanted or policy.matches(path, wanted)


def _reads(settings: Settings, tier: str) -> bool:
    return tier in settings.tiers and settings.tiers[tier].recall == "never" and (tier == policy.HOT or settings.tiers[tier].read_in_place)


def _cold(settings: Settings, dataset: Dataset, file: File, held: Sequence[str]) -> ColdData:
    tier = next((name for name in settings.tiers if name in held), None)
    return ColdData(
        f"{dataset.full_name} cannot be read now: {file.path!r} lies only in {tier or 'no tier'}.",
        f'Ask for it back with neve.restore("{dataset.full_name}").wait(), then try again.',
        dataset=dataset.full_name,
        path=file.path,
        tier=tier,
        back_within_s=int(policy.promise(tier, settings).total_seconds()),
        restore=f'neve.restore("{dataset.full_name}").wait()',
    )


def see(tx: Transaction, settings: Settings, dataset: Dataset, paths: Sequence[str]) -> int:
    """How many files of a dataset would be given. Raises `ColdData`, `Conflict` (erased), `WrongUse` (nothing matches)."""
    if dataset.state is DatasetState.ERASED:
        raise Conflict(f"{dataset.full_name} was erased: no copy of it is left.", "Its receipt in the catalog says when and why.")
    count = sum(1 for _ in places(tx, settings, dataset, paths))
    if not count:
        raise WrongUse(f"{dataset.full_name} has no received file that fits.", "Mend `path`; GET datasets/{id}/files lists them.")
    return count


def content(archive: Archive, place: Place, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The bytes of a file, or `length` of them from `start` on, as they lie. Raises `StoreUnavailable`."""
    tier = archive.tiers[place.copy.tier]
    length = place.file.size_bytes - start if length is None else length
    try:
        yield from tier.read(place.copy.key, place.copy.version_id, (place.offset_bytes or 0) + start, length)
    except (Vanished, NotReadable) as error:
        raise StoreUnavailable(f"{place.file.path} went while it was read.", "Try again: it is read from another copy.") from error


def checked(archive: Archive, place: Place) -> Iterator[bytes]:
    """The bytes of a file, which are what arrived. Raises `StoreUnavailable`."""
    sha = hashlib.sha256()
    for chunk in content(archive, place):
        sha.update(chunk)
        yield chunk
    if sha.hexdigest() != place.file.sha256:
        raise StoreUnavailable(f"{place.file.path} in {place.copy.tier} is not what arrived.", "It is proven anew by itself; try again later.")


def link(archive: Archive, place: Place) -> Signed:
    """A request that reads the object in which a file stands, for `api.link_valid`."""
    return archive.tiers[place.copy.tier].signed_get(place.copy.key, place.copy.version_id, archive.settings.api.link_valid)


class _Pipe(io.RawIOBase):
    """What a ZIP is written into: it is taken out again at once."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self._held += memoryview(data)  # type: ignore[arg-type]
        return len(data)  # type: ignore[arg-type]

    def take(self) -> bytes:
        held = bytes(self._held)
        self._held.clear()
        return held


def zipped(archive: Archive, dataset: Dataset, paths: Sequence[str]) -> Iterator[bytes]:
    """A dataset as a ZIP, stored, written as it is read; a page of files is known at a time.

    Raises `StoreUnavailable`, `ColdData` when it cannot go on: then it lacks its end, and no program takes it for whole.
    """
    pipe, used, last = _Pipe(), set[str](), 0
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as packed:
        while page := _page(archive, dataset, paths, last):
            for place in page[0]:
                info = zipfile.ZipInfo(_free(safe_name(dataset.name, place.file.path), used), _time(place.file))
                info.file_size = place.file.size_bytes
                info.external_attr = 0o644 << 16
                with packed.open(info, "w") as entry, closing(checked(archive, place)) as chunks:  # type: ignore[type-var]
                    for chunk in chunks:
                        entry.write(chunk)
                        yield pipe.take()
                yield pipe.take()
            last = page[1]
    yield pipe.take()


def _page(archive: Archive, dataset: Dataset, paths: Sequence[str], after_id: int) -> tuple[list[Place], int] | None:
    """Places of a page of files, and the number of the last; None: there are no more."""
    with archive.ledger.read() as tx:
        files = tx.files(dataset.id, after_id, _PAGE)
        return (list(_placed(tx, archive.settings, dataset, files, paths)), files[-1].id) if files else None


def safe_name(folder: str, path: str) -> str:
    """A path inside the folder, whatever it says: no way up, no root, nothing that cannot be printed or that Windows reads otherwise."""
    parts = ["".join(c if c.isprintable() and c not in '\\:*?"<>|' else "_" for c in part) for part in (folder, *path.split("/"))]
    return "/".join("_" * max(len(part), 1) if not part.strip(". ") else part.rstrip(". ") for part in parts)


def _free(name: str, used: set[str]) -> str:
    """The name, or the first of `name~2`, … that no earlier file has (case aside, as some systems see it)."""
    free, number = name, 1
    while free.casefold() in used:
        number += 1
        free = f"{name}~{number}"
    used.add(free.casefold())
    return free


def _time(file: File) -> tuple[int, int, int, int, int, int]:
    at = file.mtime or file.received_at
    return (at.year, at.month, at.day, at.hour, at.minute, at.second) if at is not None and _EPOCH[0] <= at.year <= _LAST else _EPOCH


def one(tx: Transaction, settings: Settings, dataset: Dataset, file: File) -> Place:
    """Where one file is read from. Raises `ColdData`, `NotFound` while it is not received, or when it was erased."""
    if file.state is not FileState.RECEIVED:
        raise NotFound(f"{file.path} cannot be read: it is {file.state}.", "Its receipt says more.")
    return next(_placed(tx, settings, dataset, [file], []))
