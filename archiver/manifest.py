"""The manifest: a dataset's own description, one JSON object beside its data, enough by itself to make the ledger again (Law 6).

It is written once, at close; only an erasure writes another, with a revision of its own, that no longer tells what the erased files hold.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from archiver.ledger import Transaction
from archiver.model import File, Member, MetadataState, ObjectKind

_TELLING = ("nexus", "hdf5", "netcdf4", "netcdf3", "miniseed", "spec")


def iso(**values: Any) -> dict[str, Any]:
    """Those values that are known; times as ISO 8601."""
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in values.items() if v is not None}


def summary(files: Sequence[File], called: str | None) -> dict[str, Any]:
    """What a dataset is as a whole, from its files: the earliest acquisition, the formats, the first title (or what a person `called` it) and
    the first metadata, from files that tell of a measurement before those that merely hold numbers or a picture."""
    times = sorted(datetime.fromisoformat(f.metadata["acquired_at"]) for f in files if f.metadata.get("acquired_at"))
    good = sorted((f for f in files if f.metadata_state is MetadataState.OK), key=lambda f: f.format not in _TELLING)
    kinds = [f.format for f in files if f.format]
    kinds = [kind for kind in kinds if kind in _TELLING] or kinds
    return {
        "size_bytes": sum(f.size_bytes for f in files),
        "file_count": len(files),
        "acquired_at": times[0] if times else None,
        "title": called or next((str(f.metadata["title"]) for f in [*good, *files] if f.metadata.get("title")), None),
        "format": max(sorted(set(kinds)), key=kinds.count) if kinds else None,
        "metadata": good[0].metadata if good else {},
    }


def body(tx: Transaction, dataset_id: int) -> bytes:
    """A dataset as the ledger has it: JSON with sorted keys, sums in hex and base64, times in UTC."""
    dataset, files, erased = tx.dataset(dataset_id), tx.files(dataset_id), tx.erased_files(dataset_id)
    objects = tx.objects(dataset.id)
    keys = {o.id: o.key for o in objects}
    gone = {f.object_id for f in erased}
    members: dict[int, list[Member]] = {}
    for member in tx.members(dataset.id):
        members.setdefault(member.bundle_id, []).append(member)
    parents = tx.datasets_numbered({parent_id for _, parent_id in tx.parents([dataset.id])})
    follows = tx.dataset(dataset.follows_id).full_name if dataset.follows_id is not None else None
    described = {
        "neve_manifest": 1,
        "dataset": {
            **iso(received_at=dataset.received_at, acquired_at=dataset.acquired_at, title=dataset.title, format=dataset.format, follows=follows),
            "project": dataset.project,
            "instrument": dataset.instrument,
            "name": dataset.name,
            "prefix": dataset.prefix,
            "metadata": dataset.metadata,
            **({"called": dataset.called} if dataset.called else {}),
            **({"derived_from": sorted(parent.full_name for parent in parents.values())} if parents else {}),
        },
        "files": [
            {
                **iso(mtime=f.mtime, received_at=f.received_at, format=f.format, metadata_error=f.metadata_error),
                "path": f.path,
                "path_hex": f.path_raw.hex(),
                "key": keys[f.object_id],
                "offset_bytes": f.offset_bytes,
                "size_bytes": f.size_bytes,
                "sha256": f.sha256,
                "crc64nvme": f.crc64nvme,
                "metadata_state": f.metadata_state,
                "metadata": f.metadata,
                "reader_version": f.reader_version,
                **({"has_preview": True} if f.has_preview else {}),
            }
            for f in files
        ],
        "bundles": [
            {
                "key": o.key,
                "size_bytes": o.size_bytes,
                **({"sha256": o.sha256, "crc64nvme": o.crc64nvme} if o.sha256 is not None else {}),
                "members": [{"key": keys[m.object_id], "offset_bytes": m.offset_bytes} for m in members[o.id]],
            }
            for o in objects
            if o.kind is ObjectKind.BUNDLE and o.id in members and gone.isdisjoint(m.object_id for m in members[o.id])
        ],
    }
    if erased:
        described["erased"] = [
            {
                "path": f.path,
                "path_hex": f.path_raw.hex(),
                "key": keys[f.object_id],
                "size_bytes": f.size_bytes,
                "sha256": f.sha256,
                "crc64nvme": f.crc64nvme,
                **iso(received_at=f.received_at),
            }
            for f in erased
        ]
    return json.dumps(described, ensure_ascii=False, sort_keys=True, indent=1).encode()
