"""Taking data home: what of datasets can be read at this moment, as one ZIP, as a list of links, or file by file.

Law: only what is readable now is given; what would have to be brought back first is refused as a whole, with the line that asks for it (Law 4).
Bytes are checked against the arrival's SHA-256 as they go by: what is not what arrived breaks the answer off. Names stay inside their folder,
and are the same in the ZIP, in each list and in the list of checksums.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum

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
class Wanted:
    """What is wanted of a dataset: the files that match one of `paths` (paths or globs), or have one of these numbers; neither: all."""

    dataset: Dataset
    paths: Sequence[str] = ()
    file_ids: Sequence[int] = ()


@dataclass(frozen=True)
class Place:
    """A file, and the copy it is read from: the whole object, or `size_bytes` of a bundle from `offset_bytes` on."""

    file: File
    copy: Copy
    offset_bytes: int | None


@dataclass
class Account:
    """What a download would be: files and bytes, how much of them must be brought back first, how many files stand in bundles."""

    files: int = 0
    size_bytes: int = 0
    cold_files: int = 0
    cold_bytes: int = 0
    bundled: int = 0


def account(tx: Transaction, settings: Settings, wanted: Wanted) -> Account:
    """What of this would be given, and what not."""
    found, last = Account(), 0
    while files := _page(tx, wanted, last):
        last = files[-1].id
        for file, place, _ in _lying(tx, settings, files, wanted.paths):
            found.files += 1
            found.size_bytes += file.size_bytes
            found.cold_files += place is None
            found.cold_bytes += file.size_bytes if place is None else 0
            found.bundled += place is not None and place.offset_bytes is not None
    return found


def places(tx: Transaction, settings: Settings, wanted: Wanted, after_id: int = 0) -> Iterator[Place]:
    """Where these files are read from, by number after `after_id`. Raises `ColdData` at one that must be brought back first."""
    while files := _page(tx, wanted, after_id):
        after_id = files[-1].id
        yield from _placed(tx, settings, wanted, files)


def _page(tx: Transaction, wanted: Wanted, after_id: int) -> list[File]:
    """The next files to look at, by number."""
    if not wanted.file_ids:
        return tx.files(wanted.dataset.id, after_id, _PAGE)
    numbers = sorted(number for number in set(wanted.file_ids) if number > after_id)[:_PAGE]
    return [file for number in numbers if (file := tx.file(number)) is not None and file.dataset_id == wanted.dataset.id]


def _placed(tx: Transaction, settings: Settings, wanted: Wanted, files: Sequence[File]) -> Iterator[Place]:
    for file, place, held in _lying(tx, settings, files, wanted.paths):
        if place is None:
            raise _cold(settings, wanted.dataset, file, held)
        yield place


def _lying(tx: Transaction, settings: Settings, files: Sequence[File], paths: Sequence[str]) -> Iterator[tuple[File, Place | None, list[str]]]:
    """Each received file that fits, the nearest place from which it can be read now, and the tiers that hold it."""
    fitting = [f for f in files if f.state is FileState.RECEIVED and (not paths or any(_fits(f.path, path) for path in paths))]
    lie = tx.lie([f.object_id for f in fitting])
    order = list(settings.tiers)
    for file in fitting:
        readable = [(lies.copy, lies.offset_bytes) for lies in lie[file.object_id] if reads(settings, lies.copy.tier)]
        nearest = min(readable, key=lambda one: (order.index(one[0].tier), one[1] is not None), default=None)
        yield file, None if nearest is None else Place(file, *nearest), [lies.copy.tier for lies in lie[file.object_id]]


def _fits(path: str, wanted: str) -> bool:
    return path == wanted or policy.matches(path, wanted)


def reads(settings: Settings, tier: str) -> bool:
    """Whether what lies in a tier can be read at any time."""
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


def see(tx: Transaction, settings: Settings, wanted: Wanted) -> int:
    """That all of it would be given; how many of the files stand in bundles. Raises `ColdData`, `Conflict` (erased), `WrongUse` (nothing fits)."""
    be_there(wanted.dataset)
    files = bundled = 0
    for place in places(tx, settings, wanted):
        files += 1
        bundled += place.offset_bytes is not None
    if not files:
        raise WrongUse(f"{wanted.dataset.full_name} has no received file that fits.", "Mend `path`; GET datasets/{id}/files lists them.")
    return bundled


def be_there(dataset: Dataset) -> None:
    """Raise `Conflict` where a dataset was erased."""
    if dataset.state is DatasetState.ERASED:
        raise Conflict(f"{dataset.full_name} was erased: no copy of it is left.", "Its receipt in the catalog says when and why.")


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


def link(archive: Archive, place: Place, save_as: str | None = None) -> Signed:
    """A request that reads the object in which a file stands, for `api.link_valid`; a browser keeps it under the name `save_as`."""
    return archive.tiers[place.copy.tier].signed_get(place.copy.key, place.copy.version_id, archive.settings.api.link_valid, save_as)


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


def zipped(archive: Archive, parts: Sequence[Wanted]) -> Iterator[bytes]:
    """Datasets, or some of their files, as a ZIP, stored, written as it is read; a page of files is known at a time.

    Raises `StoreUnavailable`, `ColdData` when it cannot go on: then it lacks its end, and no program takes it for whole.
    """
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as packed:
        for name, place in _named(archive, parts):
            info = zipfile.ZipInfo(name, _time(place.file))
            info.file_size = place.file.size_bytes
            info.external_attr = 0o644 << 16
            with packed.open(info, "w") as entry, closing(checked(archive, place)) as chunks:  # type: ignore[type-var]
                for chunk in chunks:
                    entry.write(chunk)
                    yield pipe.take()
            yield pipe.take()
    yield pipe.take()


class Listed(StrEnum):
    """What a list is for."""

    ARIA2 = "aria2"  # `aria2c --input-file`: links, names and checksums
    URLS = "urls"  # a link a line
    CURL = "curl"  # `curl --config`: links and names; where a file stands in a bundle, its range
    SHA256 = "sha256"  # `sha256sum --check`


def listed(archive: Archive, parts: Sequence[Wanted], form: Listed, empty_at: str = "") -> Iterator[bytes]:
    """The list. `empty_at`: where nothing is read from, which is what an empty file in a bundle is.

    Raises `ColdData` when it cannot go on, `Conflict` for what a plain list cannot name.
    """
    for number, (name, place) in enumerate(_named(archive, parts)):
        if form is Listed.SHA256:
            line = f"{place.file.sha256}  {name}\n"
        elif form is Listed.CURL:
            line = ("next\n" if number else "parallel\n") + _curl(archive, name, place, empty_at)
        elif place.offset_bytes is not None:
            raise Conflict(f"{place.file.path} stands in a bundle, which a plain list cannot name.", "Take the ZIP, or another list.")
        else:
            line = f"{link(archive, place).url}\n"
            line += f"  out={name}\n  checksum=sha-256={place.file.sha256}\n" if form is Listed.ARIA2 else ""
        yield line.encode("utf-8", "replace")


def _curl(archive: Archive, name: str, place: Place, empty_at: str) -> str:
    said = name.replace("\\", "\\\\").replace('"', '\\"')
    lines = [f'output = "{said}"', "create-dirs", "fail", "retry = 5"]
    start, size = place.offset_bytes, place.file.size_bytes
    if start is None:
        lines += [f'url = "{link(archive, place).url}"', 'continue-at = "-"']
    elif size:
        lines += [f'url = "{link(archive, place).url}"', f'range = "{start}-{start + size - 1}"']
    else:
        lines.append(f'url = "{empty_at}"')
    return "\n".join(lines) + "\n"


def _named(archive: Archive, parts: Sequence[Wanted]) -> Iterator[tuple[str, Place]]:
    """Each file with the name that it has where it is taken: in a folder of its dataset's name, in full where two are called the same."""
    names, used = [part.dataset.name for part in parts], set[str]()
    for part in parts:
        folder = (part.dataset.instrument,) if names.count(part.dataset.name) > 1 else ()
        last = 0
        while page := _next(archive, part, last):
            for place in page[0]:
                yield _free(safe_name(*folder, part.dataset.name, place.file.path), used), place
            last = page[1]


def _next(archive: Archive, wanted: Wanted, after_id: int) -> tuple[list[Place], int] | None:
    """Places of a page of files, and the number of the last; None: there are no more."""
    with archive.ledger.read() as tx:
        files = _page(tx, wanted, after_id)
        return (list(_placed(tx, archive.settings, wanted, files)), files[-1].id) if files else None


def safe_name(*folders_and_path: str) -> str:
    """A path inside the folders, whatever it says: no way up, no root, nothing that cannot be printed or that Windows reads otherwise."""
    *folders, path = folders_and_path
    parts = ["".join(c if c.isprintable() and c not in '\\:*?"<>|' else "_" for c in part) for part in (*folders, *path.split("/"))]
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
    return next(_placed(tx, settings, Wanted(dataset), [file]))
