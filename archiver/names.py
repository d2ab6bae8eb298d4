"""Names: what a project, instrument or dataset may be called, and the key and the text of any file name that a file system can hold.

Law: keys are `<project>/<instrument>/<YYYY>/<MM>/<dataset>/<path>`. A printable UTF-8 path stands in its key as it is; any other, one
too long (S3 ends at 1,024 bytes), or the reserved stub name gets a short hashed key, its true name being in ledger and manifest.
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import datetime
from pathlib import Path

from archiver.archive import BUNDLE_NAME, STUB_NAME
from archiver.errors import WrongUse

_MAX_KEY_BYTES = 1024
_MAX_PART_BYTES = 240
MANIFESTS = ".neve/manifests/"
LOCATIONS = ".neve/locations/"
ERASURES = ".neve/erasures/"
PREVIEWS = ".neve/previews/"
SNAPSHOTS = ".neve/snapshots/"
_RESERVED = re.compile(r"NEVE-BUNDLE-\d+\.tar")
_MANIFEST = re.compile(re.escape(MANIFESTS) + r"([^/]+/[^/]+/\d{4}/\d\d/[^/]+?)(?:\.json|/(\d+)\.json)")
_UNIT = re.compile(r"[a-z0-9][a-z0-9_.-]{2,62}")


def unit(what: str, name: str) -> str:
    """A project's or instrument's name: it is a hub group, a folder and a profile name as well. Raises `WrongUse`."""
    if not _UNIT.fullmatch(name):
        raise WrongUse(f"{name!r} cannot be the name of {what}.", "Use 3 to 63 of a-z, 0-9, '-', '_', '.', beginning with a letter or digit.")
    return name


def dataset(name: str) -> str:
    """A dataset's name: one folder name, printable. Raises `WrongUse`."""
    if not name.isprintable() or "/" in name or "\\" in name or name != name.strip() or name.startswith(".") or not 1 <= len(name.encode()) <= 200:
        raise WrongUse(
            f"{name!r} cannot be the name of a dataset.",
            "Use 1 to 200 bytes of printable text without '/', '\\', a leading '.', or spaces at the ends.",
        )
    return name


def prefix(project: str, instrument: str, name: str, received_at: datetime) -> str:
    """Where a dataset lies, in every tier and below /data."""
    return f"{project}/{instrument}/{received_at:%Y/%m}/{name}"


def text(path_raw: bytes) -> str:
    """A path for people: bytes that are no UTF-8 are shown escaped."""
    return path_raw.decode("utf-8", "backslashreplace")


def shown(path: Path) -> str:
    """A local path for people."""
    return text(os.fsencode(path))


def key(dataset_prefix: str, path_raw: bytes) -> str:
    """The S3 key of a file."""
    try:
        path = path_raw.decode("utf-8")
    except UnicodeDecodeError:
        path = ""
    plain = f"{dataset_prefix}/{path}"
    standing = (
        path not in {"", STUB_NAME}
        and not _RESERVED.fullmatch(path)
        and path.isprintable()
        and "\\" not in path
        and len(plain.encode()) <= _MAX_KEY_BYTES
    )
    # SeaweedFS keeps an object's versions in a folder `<name>.versions` of a file system whose names end at 255 bytes.
    if standing and all(len(part.encode()) <= _MAX_PART_BYTES and not part.endswith(".versions") for part in path.split("/")):
        return plain
    suffix = re.search(rb"\.[A-Za-z0-9]{1,8}\Z", path_raw)
    return f"{dataset_prefix}/name-{hashlib.sha256(path_raw).hexdigest()[:32]}{suffix[0].decode() if suffix else ''}"


def bundle_key(dataset_prefix: str, number: int) -> str:
    """The key of a dataset's `number`th bundle."""
    return f"{dataset_prefix}/{BUNDLE_NAME.format(number=number)}"


def preview_key(dataset_prefix: str, path_raw: bytes) -> str:
    """The key of a file's preview, in hot's bucket."""
    return f"{PREVIEWS}{dataset_prefix}/{hashlib.sha256(path_raw).hexdigest()[:32]}.json"


def snapshot(path_raw: bytes) -> bytes:
    """The path at which a snapshot of a growing file is shown: `run/scan.h5` → `run/scan.snapshot.h5`, `log` → `log.snapshot`."""
    folder, slash, name = path_raw.rpartition(b"/")
    stem, dot, suffix = name.rpartition(b".")
    return folder + slash + (stem + b".snapshot." + suffix if dot and stem.strip(b".") and suffix else name + b".snapshot")


def snapshot_key(dataset_prefix: str, token: str) -> str:
    """The key, in hot's bucket and outside every project's prefix, to which a snapshot is sent before it is proven."""
    return f"{SNAPSHOTS}{dataset_prefix}/{token}"


def location_key(dataset_prefix: str) -> str:
    """The key of a dataset's location record, in each tier's own bucket."""
    return f"{LOCATIONS}{dataset_prefix}.json"


def manifest_key(dataset_prefix: str, revision: int = 1) -> str:
    """The key of a dataset's manifest, outside every project's prefix. A `revision` above 1 is made by an erasure."""
    return f"{MANIFESTS}{dataset_prefix}.json" if revision == 1 else f"{MANIFESTS}{dataset_prefix}/{revision}.json"


def manifest_of(manifest_key: str) -> tuple[str, int] | None:
    """The dataset's prefix and the revision that a manifest's key says; None when it is no such key. A prefix has five parts."""
    found = _MANIFEST.fullmatch(manifest_key)
    return None if found is None else (found[1], int(found[2] or 1))


def erasure_key(dataset_prefix: str, approved_at: datetime) -> str:
    """The key of an erasure's tombstone."""
    return f"{ERASURES}{dataset_prefix}/{approved_at:%Y%m%dT%H%M%S.%f}.json"
