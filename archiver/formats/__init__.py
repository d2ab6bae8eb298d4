"""Metadata from inside scientific files: `extract(path, name)`.

Law: a format is known by its content; the original is only read; no file, however damaged or hostile, harms the caller or
costs more than its own metadata. What parses runs in a child process (`sandbox`); a file of no known format starts none.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from archiver.formats.content import content_of
from archiver.formats.sandbox import ChildFailed, ask
from archiver.model import MetadataState

__all__ = ["Extracted", "extract"]

log = logging.getLogger(__name__)

TIME_LIMIT_S = 30.0  # for one file; real ones take milliseconds


@dataclass(frozen=True)
class Extracted:
    """What a file says about itself.

    `format`: nexus, hdf5, netcdf3, netcdf4; hdf4 is named but not read; None for any other. `acquired_at`: aware UTC, and
    `metadata["time_zone_assumed"]` is "UTC" where the file named no zone. `metadata`: JSON-ready, at most 64 kB.
    `error`: with state FAILED, a sentence that says why; metadata may still hold what could be read.
    """

    format: str | None
    state: MetadataState
    error: str | None = None
    title: str | None = None
    acquired_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def extract(path: Path, name: str, *, time_limit_s: float = TIME_LIMIT_S) -> Extracted:
    """Metadata of the file at `path`, known to people as `name`. Never raises for what the file contains."""
    try:
        content = content_of(path)
    except OSError as error:
        return Extracted(None, MetadataState.FAILED, f"The file could not be opened to read its metadata: {error.strerror}.")
    if content is None or content == "hdf4":
        return Extracted(content, MetadataState.NONE)
    try:
        answer = ask({"path": str(path.absolute()), "content": content, "limit_s": time_limit_s}, time_limit_s)
    except ChildFailed as error:
        log.warning("No metadata from %s: %s.", name, error)
        return Extracted(content, MetadataState.FAILED, f"No metadata could be read: {error}.")
    problem = answer.get("error")
    acquired_at = answer.get("acquired_at")
    return Extracted(
        format=answer.get("format") or content,
        state=MetadataState.FAILED if problem else MetadataState.OK,
        error=problem,
        title=answer.get("title"),
        acquired_at=datetime.fromisoformat(acquired_at) if acquired_at else None,
        metadata=answer.get("metadata") or {},
    )
