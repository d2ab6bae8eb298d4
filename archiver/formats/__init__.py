"""Metadata and a preview from inside scientific files: `extract(path, name)`.

Law: a format is known by its content; the original is only read; no file, however damaged or hostile, harms the caller or
costs more than its own metadata. What parses runs in a child process (`sandbox`); a file of no known format starts none.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from archiver.formats.content import content_of
from archiver.formats.preview import Preview
from archiver.formats.sandbox import ChildFailed, ask
from archiver.model import MetadataState

__all__ = ["VERSION", "Extracted", "Preview", "extract"]

log = logging.getLogger(__name__)

VERSION = 3  # of what is extracted: raised with each change that gives old files more or other metadata, so that they are read again
TIME_LIMIT_S = 30.0  # for one file; real ones take milliseconds


@dataclass(frozen=True)
class Extracted:
    """What a file says about itself.

    `format`: nexus, hdf5, netcdf3, netcdf4, miniseed, edf, cbf, tiff, marccd, mar345, png, jpeg, spec, mca, csv, tsv, columns;
    hdf4 is named but not read; None for any other. `acquired_at`: aware UTC; where the file named no zone,
    `metadata["time_zone_assumed"]` is true and `metadata["time_zone"]` the one assumed. `metadata`: JSON-ready, at most 64 kB.
    `error`: with state FAILED, a sentence that says why; metadata may still hold what could be read.
    `preview`: at most 100 kB; where there should be one and is not, `preview_error` says why.
    """

    format: str | None
    state: MetadataState
    error: str | None = None
    title: str | None = None
    acquired_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    preview: Preview | None = None
    preview_error: str | None = None


def extract(path: Path, name: str, *, zone: str = "UTC", time_limit_s: float = TIME_LIMIT_S) -> Extracted:
    """Metadata of the file at `path`, known to people as `name`; times without a zone are read in `zone` (an IANA name).

    Never raises for what the file contains. Raises ZoneInfoNotFoundError for a zone that does not exist.
    """
    ZoneInfo(zone)
    try:
        content = content_of(path)
    except OSError as error:
        return Extracted(None, MetadataState.FAILED, f"The file could not be opened to read its metadata: {error.strerror}.")
    if content is None or content == "hdf4":
        return Extracted(content, MetadataState.NONE)
    kind = "columns" if content == "table" else content  # csv or tsv, once it is read
    try:
        answer, seen = ask({"path": str(path.absolute()), "content": content, "zone": zone, "limit_s": time_limit_s}, time_limit_s)
        preview = Preview.from_json(seen["preview"]) if seen.get("preview") else None
    except ChildFailed as error:
        log.warning("No metadata from %s: %s.", name, error)
        return Extracted(kind, MetadataState.FAILED, f"No metadata could be read: {error}.")
    if answer.get("none"):
        return Extracted(None, MetadataState.NONE)
    problem = answer.get("error")
    acquired_at = answer.get("acquired_at")
    return Extracted(
        format=answer.get("format") or kind,
        state=MetadataState.FAILED if problem else MetadataState.OK,
        error=problem,
        title=answer.get("title"),
        acquired_at=datetime.fromisoformat(acquired_at) if acquired_at else None,
        metadata=answer.get("metadata") or {},
        preview=preview,
        preview_error=seen.get("error"),
    )
