"""Tombstones: small objects that say what two admins had erased, in every tier before the first byte ends (rule 13).

Law: a ledger that is made again from the stores carries out again what they say, so that nothing erased comes back.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from archiver import manifest, names
from archiver.archive import Archive
from archiver.ledger import Transaction
from archiver.model import Erasure
from archiver.policy import View
from archiver.storage import AlreadyThere, Tier


def write(archive: Archive, erasure: Erasure, seen: View, condemned: frozenset[int]) -> None:
    """Say in every tier what ends. `condemned`: objects that end. Written twice, the first stays. Raises `StoreUnavailable`."""
    assert erasure.approved_at is not None
    keys = {o.id: o.key for o in seen.objects}
    files = [f for f in seen.files if f.object_id in condemned]
    others = condemned - {f.object_id for f in files}
    said = {
        "neve_erasure": 1,
        "dataset": seen.dataset.full_name,
        "prefix": seen.dataset.prefix,
        "files_glob": erasure.files_glob,
        "reason": erasure.reason,
        "asked_by": erasure.asked_by,
        "approved_by": erasure.approved_by,
        **manifest.iso(asked_at=erasure.asked_at, approved_at=erasure.approved_at),
        "files": [
            {"path": f.path, "path_hex": f.path_raw.hex(), "key": keys[f.object_id], "size_bytes": f.size_bytes, "sha256": f.sha256} for f in files
        ],
        "objects": [{"kind": o.kind, "key": o.key, "size_bytes": o.size_bytes} for o in seen.objects if o.id in others],
    }
    body = json.dumps(said, ensure_ascii=False, sort_keys=True, indent=1).encode()
    key = names.erasure_key(seen.dataset.prefix, erasure.approved_at)
    for tier in archive.tiers.values():
        with suppress(AlreadyThere):
            tier.put(key, len(body), iter([body]), "STANDARD")


def read(archive: Archive, problem: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """All tombstones, oldest first, by the prefix of their dataset; what cannot be read is a problem. Raises `StoreUnavailable`."""
    found: dict[str, dict[str, Any]] = {}
    for tier in archive.tiers.values():
        for key in (entry.key for entry in tier.listed(names.ERASURES) if entry.key not in found):
            said = _read(tier, key)
            if said is None:
                problem(f"{key} in {tier.name} cannot be read as a tombstone")
            else:
                found[key] = said
    by_prefix: dict[str, list[dict[str, Any]]] = {}
    for _, said in sorted(found.items()):
        by_prefix.setdefault(said["prefix"], []).append(said)
    return by_prefix


def _read(tier: Tier, key: str) -> dict[str, Any] | None:
    try:
        said = json.loads(tier.newest(key) or b"")
        right = said["neve_erasure"] == 1 and key == names.erasure_key(said["prefix"], datetime.fromisoformat(said["approved_at"]))
    except (ValueError, KeyError, TypeError):
        return None
    return dict(said) if right else None


def replay(tx: Transaction, dataset_id: int, said: dict[str, Any]) -> None:
    """Have the worker carry out again what a tombstone says, unless the ledger knows of it."""
    asked, approved = ((said[f"{what}_by"], datetime.fromisoformat(said[f"{what}_at"])) for what in ("asked", "approved"))
    tx.again_erasure(dataset_id, said["files_glob"], said["reason"], asked, approved)
