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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archiver import formats, manifest, names, policy
from archiver.archive import Archive
from archiver.formats.preview import Preview
from archiver.model import Copy, Dataset, File, MetadataState
from archiver.storage import Vanished

log = logging.getLogger(__name__)

_SPARE_BYTES = 2**30
"""Left free on the spool's disk."""


@dataclass(frozen=True)
class Said:
    """What a file says of itself: the columns of a file in the ledger, and its preview."""

    columns: Mapping[str, Any]
    preview: Preview | None = None


def read(archive: Archive, files: Sequence[File]) -> None:
    """Look into these received files, and write down what they say. Raises `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        lie = tx.lie([file.object_id for file in files])
    for file in files:
        copy = next((lies.copy for lies in lie[file.object_id] if lies.copy.tier == policy.HOT and lies.offset_bytes is None), None)
        said = Said(_not_read("it is no longer in fast storage")) if copy is None else _looked_into(archive, file, copy)
        keep_preview(archive, file.dataset_id, file.path_raw, said)
        with archive.ledger.begin() as tx:
            tx.update_file(file.id, **said.columns)


def _looked_into(archive: Archive, file: File, copy: Copy) -> Said:
    limit = archive.settings.reception.read_max_bytes
    if file.size_bytes > limit:
        return Said(_not_read(f"it is larger than reception.read_max_bytes ({limit})"))
    spool = archive.spool / "contents"
    spool.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(spool).free < file.size_bytes + _SPARE_BYTES:
        return Said(_not_read("the archiver's disk had no room to look into it"))
    with tempfile.NamedTemporaryFile(dir=spool) as local:
        try:
            for chunk in archive.tiers[policy.HOT].read(copy.key, copy.version_id):
                local.write(chunk)
        except Vanished:
            return Said(_not_read("its copy was gone"))
        local.flush()
        return described(Path(local.name), file.path, archive.settings.reception.zone)


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
