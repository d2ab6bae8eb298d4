"""What stands inside received files: their format and metadata, read from a copy in hot.

Law: bytes first. A file is received when its bytes are proven, whatever is inside; it is looked into afterwards, in a child process with
limits (formats/), from a spool file that goes away again. Only its own metadata is at stake; done twice, it is the same.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archiver import formats, manifest, policy
from archiver.archive import Archive
from archiver.model import Copy, File, MetadataState
from archiver.storage import Vanished

log = logging.getLogger(__name__)

_SPARE_BYTES = 2**30
"""Left free on the spool's disk."""


def read(archive: Archive, files: Sequence[File]) -> None:
    """Look into these received files, and write down what they say. Raises `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        lie = tx.lie([file.object_id for file in files])
    for file in files:
        copy = next((lies.copy for lies in lie[file.object_id] if lies.copy.tier == policy.HOT and lies.offset_bytes is None), None)
        said = _not_read("it is no longer in fast storage") if copy is None else _looked_into(archive, file, copy)
        with archive.ledger.begin() as tx:
            tx.update_file(file.id, **said)


def _looked_into(archive: Archive, file: File, copy: Copy) -> Mapping[str, Any]:
    limit = archive.settings.reception.read_max_bytes
    if file.size_bytes > limit:
        return _not_read(f"it is larger than reception.read_max_bytes ({limit})")
    spool = archive.spool / "contents"
    spool.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(spool).free < file.size_bytes + _SPARE_BYTES:
        return _not_read("the archiver's disk had no room to look into it")
    with tempfile.NamedTemporaryFile(dir=spool) as local:
        try:
            for chunk in archive.tiers[policy.HOT].read(copy.key, copy.version_id):
                local.write(chunk)
        except Vanished:
            return _not_read("its copy was gone")
        local.flush()
        return described(Path(local.name), file.path)


def described(path: Path, name: str) -> dict[str, Any]:
    """What a local file, known to people as `name`, says of itself, as the columns of a file in the ledger."""
    found = formats.extract(path, name)
    return {
        "format": found.format,
        "metadata_state": found.state,
        "metadata_error": found.error,
        "metadata": {**found.metadata, **manifest.iso(title=found.title, acquired_at=found.acquired_at)},
    }


def _not_read(why: str) -> dict[str, Any]:
    return {"metadata_state": MetadataState.FAILED, "metadata_error": f"No metadata was read: {why}."}
