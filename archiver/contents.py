"""What stands inside received files: their format and metadata, read from a copy in hot.

Law: bytes first. A file is received when its bytes are proven, whatever is inside; it is looked into afterwards, in a child process with
limits (formats/), from a spool file that goes away again. Only its own metadata is at stake; done twice, it is the same. Previews stand in
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
from pathlib import Path
from typing import IO, Any

from archiver import formats, manifest, names, policy
from archiver.archive import Archive
from archiver.errors import StoreUnavailable
from archiver.flow import ahead
from archiver.formats.content import content_of
from archiver.formats.preview import Preview
from archiver.model import Copy, Dataset, File, MetadataState
from archiver.storage import Vanished

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
}
_SPARE_BYTES = 2**30
"""Left free on the spool's disk."""


@dataclass(frozen=True)
class Said:
    """What a file says of itself: the columns of a file in the ledger, and its preview."""

    columns: Mapping[str, Any]
    preview: Preview | None = None


def read(archive: Archive, files: Sequence[File]) -> None:
    """Look into these received files, and write down what they say, all at once. Raises `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        lie = tx.lie([file.object_id for file in files])
    copies = {file.id: lies.copy for file in files for lies in lie[file.object_id] if lies.copy.tier == policy.HOT and lies.offset_bytes is None}
    tier = archive.tiers[policy.HOT]
    small = [file for file in files if file.id in copies and file.size_bytes <= _SMALL_BYTES]
    asked = ahead((partial(tier.begin_read, copies[file.id].key, copies[file.id].version_id) for file in small), _AT_ONCE)
    said = {file.id: _guarded(file, partial(_small, archive, file, begun)) for file, begun in zip(small, asked, strict=True)}
    for file in files:
        if file.id not in copies:
            said[file.id] = Said(_not_read("it is no longer in fast storage"))
        elif file.id not in said:
            said[file.id] = _guarded(file, partial(_large, archive, file, copies[file.id]))
        keep_preview(archive, file.dataset_id, file.path_raw, said[file.id])
    with archive.ledger.begin() as tx:
        tx.update_files([{"of": file.id, **_UNKNOWN, **said[file.id].columns} for file in files])


def _guarded(file: File, look: Callable[[], Said]) -> Said:
    """What comes of looking; a fault of ours with one file must not keep the others from being looked into."""
    try:
        return look()
    except StoreUnavailable:
        raise
    except Exception:
        log.exception("file %s could not be looked into", file.id)
        return Said(_not_read("the archiver made a mistake with it, which its log tells"))


def _small(archive: Archive, file: File, begun: Callable[[], bytes]) -> Said:
    try:
        content = begun()
    except Vanished:
        return Said(_not_read("its copy was gone"))
    with _spooled(archive) as local:
        local.write(content)
        local.flush()
        return described(Path(local.name), file.path, archive.settings.reception.zone)


def _large(archive: Archive, file: File, copy: Copy) -> Said:
    limit = archive.settings.reception.read_max_bytes
    if file.size_bytes > limit:
        return Said(_not_read(f"it is larger than reception.read_max_bytes ({limit})"))
    with _spooled(archive) as local:
        if shutil.disk_usage(local.name).free < file.size_bytes + _SPARE_BYTES:
            return Said(_not_read("the archiver's disk had no room to look into it"))
        try:
            _fetch(archive, copy, local, _SMALL_BYTES)
            if content_of(Path(local.name)) is None:  # what is of no known format is not fetched whole to say so
                return Said(_UNKNOWN)
            _fetch(archive, copy, local, None)
        except Vanished:
            return Said(_not_read("its copy was gone"))
        return described(Path(local.name), file.path, archive.settings.reception.zone)


def _spooled(archive: Archive) -> IO[bytes]:
    """A file in the spool that goes away when it is closed."""
    spool = archive.spool / "contents"
    spool.mkdir(parents=True, exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=spool)


def _fetch(archive: Archive, copy: Copy, local: IO[bytes], length: int | None) -> None:
    local.seek(0)
    local.truncate()
    for chunk in archive.tiers[policy.HOT].read(copy.key, copy.version_id, 0, length):
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


def preview(archive: Archive, dataset: Dataset, file: File) -> Preview | None:
    """A file's preview, if it has one. Raises `StoreUnavailable`."""
    if not file.has_preview:
        return None
    text = archive.tiers[policy.HOT].read_text(names.preview_key(dataset.prefix, file.path_raw))
    return None if text is None else Preview.from_json(json.loads(text))


def _not_read(why: str) -> dict[str, Any]:
    return {"metadata_state": MetadataState.FAILED, "metadata_error": f"No metadata was read: {why}."}
