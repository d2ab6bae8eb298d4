"""What stands inside received files: their format and metadata, read from a copy that needs no recall.

Law: bytes first. A file is received when its bytes are proven, whatever is inside; it is looked into afterwards, in a child process with
limits (formats/), from a spool file that goes away again. Only its own metadata is at stake; done twice, it is the same. With which version
of the readers it was, stands beside it: 0 where nothing could be looked into. Previews stand in
hot's bucket under `.neve/previews/` and never leave, until their file is erased.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from archiver import formats, manifest, names, policy
from archiver.archive import Archive
from archiver.errors import StoreUnavailable
from archiver.flow import ahead
from archiver.formats.content import content_in, content_of
from archiver.formats.preview import Preview
from archiver.ledger.many import Lies
from archiver.model import Dataset, File, MetadataState
from archiver.storage import NotReadable, Vanished
from archiver.stretch import Part, Stretches, in_order

log = logging.getLogger(__name__)

_SMALL_BYTES = 2**20
"""Up to this size files are fetched whole, several at once; of larger ones so much, by which a format is known."""
_AT_ONCE = 8
_UNKNOWN: Mapping[str, Any] = {
    "format": None,
    "metadata_state": MetadataState.NONE,
    "metadata_error": None,
    "metadata": {},
    "has_preview": False,
    "reader_version": formats.VERSION,
}
_SPARE_BYTES = 2**30
"""Left free on the spool's disk."""


@dataclass(frozen=True)
class Said:
    """What a file says of itself: the columns of a file in the ledger, and its preview."""

    columns: Mapping[str, Any]
    preview: Preview | None = None

    @property
    def row(self) -> dict[str, Any]:
        """All columns that tell of a file's inside."""
        return {**_UNKNOWN, **self.columns}


def read(archive: Archive, files: Sequence[File]) -> None:
    """Look into these received files, and write down what they say, all at once. Raises `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        lie = tx.lie([file.object_id for file in files])
    in_hot = {file.id: lies for file in files for lies in lie[file.object_id] if lies.copy.tier == policy.HOT}
    said = look(archive, [(file, in_hot[file.id]) for file in files if file.id in in_hot])
    for file in files:
        said.setdefault(file.id, Said(_not_read("it is no longer in fast storage")))
        keep_preview(archive, file.dataset_id, file.path_raw, said[file.id])
    with archive.ledger.begin() as tx:
        tx.update_files([{"of": file.id, **said[file.id].row} for file in files])


def look(archive: Archive, files: Sequence[tuple[File, Lies]]) -> dict[int, Said]:
    """What files say, by number, each read from where it lies: a copy of its own, or its part of a bundle. Raises `StoreUnavailable`."""
    small = [(file, lies) for file, lies in files if file.size_bytes <= _SMALL_BYTES]
    members = {file.id: Part(lies.copy, lies.offset_bytes, file.size_bytes) for file, lies in small if lies.offset_bytes is not None}
    small.sort(key=lambda one: in_order(members.get(one[0].id)))
    stretches = Stretches(members.values())
    asked = ahead((partial(_begun, archive, lies, stretches, members.get(file.id)) for file, lies in small), _AT_ONCE)
    said = {file.id: _guarded(file, partial(_small, archive, file, begun)) for (file, _), begun in zip(small, asked, strict=True)}
    for file, lies in files:
        if file.id not in said:
            said[file.id] = _guarded(file, partial(_large, archive, file, lies))
    return said


def _begun(archive: Archive, lies: Lies, stretches: Stretches, member: Part | None) -> Callable[[], bytes]:
    tier = archive.tiers[lies.copy.tier]
    return tier.begin_read(lies.copy.key, lies.copy.version_id) if member is None else partial(stretches.read, tier, member)


def _guarded(file: File, look: Callable[[], Said]) -> Said:
    """What comes of looking; a fault of ours with one file must not keep the others from being looked into."""
    try:
        return look()
    except StoreUnavailable:
        raise
    except (Vanished, NotReadable):
        return Said(_not_read("its copy was gone, or cold"))
    except Exception:
        log.exception("file %s could not be looked into", file.id)
        return Said(_not_read("the archiver made a mistake with it, which its log tells"))


def _small(archive: Archive, file: File, begun: Callable[[], bytes]) -> Said:
    content = begun()
    if content_in(BytesIO(content), len(content)) is None:
        return Said(_UNKNOWN)
    with _spooled(archive) as local:
        local.write(content)
        local.flush()
        return described(Path(local.name), file.path, archive.settings.reception.zone)


def _large(archive: Archive, file: File, lies: Lies) -> Said:
    limit = archive.settings.reception.read_max_bytes
    if file.size_bytes > limit:
        return Said(_not_read(f"it is larger than reception.read_max_bytes ({limit})"))
    with _spooled(archive) as local:
        if shutil.disk_usage(local.name).free < file.size_bytes + _SPARE_BYTES:
            return Said(_not_read("the archiver's disk had no room to look into it"))
        _fetch(archive, lies, local, _SMALL_BYTES)
        if content_of(Path(local.name)) is None:  # what is of no known format is not fetched whole to say so
            return Said(_UNKNOWN)
        _fetch(archive, lies, local, file.size_bytes)
        return described(Path(local.name), file.path, archive.settings.reception.zone)


def _spooled(archive: Archive) -> IO[bytes]:
    """A file in the spool that goes away when it is closed."""
    spool = archive.spool / "contents"
    spool.mkdir(parents=True, exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=spool)


def _fetch(archive: Archive, lies: Lies, local: IO[bytes], length: int) -> None:
    """The file's first `length` bytes, from where it lies."""
    local.seek(0)
    local.truncate()
    for chunk in archive.tiers[lies.copy.tier].read(lies.copy.key, lies.copy.version_id, lies.offset_bytes or 0, length):
        local.write(chunk)
    local.flush()


def described(path: Path, name: str, zone: str) -> Said:
    """What a local file, known to people as `name`, says of itself; times without zone are in `zone`."""
    found = formats.extract(path, name, zone=zone)
    columns = {
        "format": found.format,
        "metadata_state": found.state,
        "metadata_error": found.error,
        "metadata": {**found.metadata, **manifest.iso(title=found.title, acquired_at=found.acquired_at)},
        "has_preview": found.preview is not None,
        "reader_version": formats.VERSION,
    }
    return Said(columns, found.preview)


def keep_preview(archive: Archive, dataset_id: int, path_raw: bytes, said: Said) -> None:
    """Lay a file's preview beside the data, where it stays for ever; the same again changes nothing. Raises `StoreUnavailable`."""
    if said.preview is None:
        return
    with archive.ledger.read() as tx:
        key = names.preview_key(tx.dataset(dataset_id).prefix, path_raw)
    tier, text = archive.tiers[policy.HOT], json.dumps(said.preview.to_json())
    if tier.read_text(key) != text:
        tier.put_text(key, text)


def forget_preview(archive: Archive, dataset_id: int, path_raw: bytes) -> None:
    """End a file's preview: the file was erased while it was read. Raises `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        key = names.preview_key(tx.dataset(dataset_id).prefix, path_raw)
    tier = archive.tiers[policy.HOT]
    for version in tier.standing(key):
        tier.delete_version(key, version.version_id)


def preview(archive: Archive, dataset: Dataset, file: File) -> Preview | None:
    """A file's preview, if it has one. Raises `StoreUnavailable`."""
    if not file.has_preview:
        return None
    text = archive.tiers[policy.HOT].read_text(names.preview_key(dataset.prefix, file.path_raw))
    return None if text is None else Preview.from_json(json.loads(text))


def _not_read(why: str) -> dict[str, Any]:
    return {"metadata_state": MetadataState.FAILED, "metadata_error": f"No metadata was read: {why}.", "reader_version": 0}
