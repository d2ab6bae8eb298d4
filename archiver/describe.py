"""How datasets, files, restores and events look to programs: the one shape that API, pages and CLI share (JSON-ready)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from archiver import erasure, names, policy, restore
from archiver.config import Settings
from archiver.ledger import Transaction
from archiver.ledger.browse import Coverage
from archiver.model import Claim, Copy, Dataset, DatasetState, Drill, Erasure, ErasureState, Event, File, Restore, RestoreState, Snapshot, Transfer
from archiver.promises import Record

Document = dict[str, Any]


def time(at: datetime | None) -> str | None:
    """ISO 8601 in UTC, with Z."""
    return None if at is None else f"{at.astimezone(UTC).isoformat()[: -len('+00:00')]}Z"


def datasets(tx: Transaction, settings: Settings, page: Sequence[Dataset], *, own: Sequence[str] | None = None) -> list[Document]:
    """A page of datasets, with what they are claimed for and where they have a full set of copies; a few queries for all.

    `own`: the asker's projects (None: all). What people do with the data of others, which are public, is told without their names and reasons.
    """
    ids = [d.id for d in page]
    full: dict[int, set[str]] = {i: set() for i in ids}
    counts = {d.id: d.file_count for d in page}
    for covered in tx.coverage(ids):
        if covered.files == counts[covered.dataset_id]:
            full[covered.dataset_id].add(covered.tier)
    rarely = tx.rarely(ids)
    claims: dict[int, list[Any]] = {i: [] for i in ids}
    for claim in tx.stored_claims(rarely["claim"]):
        claims[claim.dataset_id].append(claim)
    open_restores = {r.dataset_id: r for r in tx.open_restores(rarely["restore"])}
    progress = {r["dataset_id"]: r for r in restores(tx, list(open_restores.values()))}
    problems = tx.problems(rarely["problem"]) | tx.harmed(rarely["harm"])
    growing: dict[int, list[Document]] = {i: [] for i in ids}
    for one in tx.snapshots([d.id for d in page if d.state is DatasetState.OPEN]):
        growing[one.dataset_id] += snapshots([one])
    tags, comments, public = tx.tags_of(rarely["tag"]), tx.comment_counts(rarely["comment"]), set(tx.public_projects())
    found = []
    for d in page:
        inside = own is None or d.project in own
        tiers = [name for name in settings.tiers if name in full[d.id]]
        nearest = tiers[0] if tiers else None
        by_age = policy.age_claims(d, settings, tx.at)
        found.append(
            {
                "id": d.id,
                "project": d.project,
                "instrument": d.instrument,
                "name": d.name,
                "full_name": d.full_name,
                "state": d.state,
                "tier": nearest,
                "tiers": tiers,
                "prefix": d.prefix,
                "path": f"/data/{d.prefix}",
                "title": d.title,
                "format": d.format,
                "metadata": d.metadata,
                "size_bytes": d.size_bytes,
                "file_count": d.file_count,
                "received_at": time(d.received_at),
                "acquired_at": time(d.acquired_at),
                "closed_at": time(d.closed_at),
                "hot_until": None if d.state is DatasetState.ERASED else time(policy.hot_until(by_age, claims[d.id], tx.at)),
                "readable": "never" if d.state is DatasetState.ERASED else _readable(nearest, tiers, settings),
                "back_within_s": int(policy.promise(nearest, settings).total_seconds()),
                "claims": [
                    {"tier": c.tier, "kind": "age", "until": time(c.until), "user": None, "reason": "age"}
                    for c in by_age
                    if d.state is DatasetState.CLOSED
                ]
                + [
                    {
                        "tier": c.tier,
                        "kind": c.kind,
                        "until": time(c.until),
                        "user": c.user if inside else None,
                        "reason": c.reason if inside else c.kind,
                    }
                    for c in claims[d.id]
                ],
                "restore": progress.get(d.id) if inside else None,
                "problem": problems.get(d.id),
                "snapshots": growing[d.id],
                "stub": d.stub_at is not None,
                "tags": tags.get(d.id, []),
                "comments": comments.get(d.id, 0),
                "public": d.project in public,
            }
        )
    return found


def snapshots(page: Sequence[Snapshot]) -> list[Document]:
    """Those of growing files that are shown."""
    return [
        {
            "path": names.text(one.shown_raw),
            "of": names.text(one.path_raw),
            "size_bytes": one.size_bytes,
            "sha256": one.sha256,
            "taken_at": time(one.taken_at),
            "proven_at": time(one.proven_at),
        }
        for one in page
        if one.version_id is not None
    ]


def _readable(nearest: str | None, tiers: Sequence[str], settings: Settings) -> str:
    if nearest is None:
        return "not_yet"
    if nearest == policy.HOT:
        return "now"
    return "in_place" if any(settings.tiers[t].recall == "never" and settings.tiers[t].read_in_place for t in tiers) else "after_restore"


def files(tx: Transaction, settings: Settings, page: Sequence[File]) -> list[Document]:
    """A page of files, each with its live copies and their proofs."""
    copies: dict[int, list[tuple[int | None, Copy]]] = {f.id: [] for f in page}
    for file_id, offset, copy in tx.file_copies(copies):
        copies[file_id].append((offset, copy))
    return [
        {
            "id": f.id,
            "path": f.path,
            "state": f.state,
            "size_bytes": f.size_bytes,
            "sha256": f.sha256,
            "crc64nvme": f.crc64nvme,
            "format": f.format,
            "metadata": f.metadata,
            "metadata_state": f.metadata_state,
            "metadata_error": f.metadata_error,
            "has_preview": f.has_preview,
            "reader_version": f.reader_version,
            "copies": [_copy(c, settings, f.size_bytes, offset) for offset, c in copies[f.id]],
        }
        for f in page
    ]


def _copy(copy: Copy, settings: Settings, size_bytes: int, offset_bytes: int | None) -> Document:
    return {
        "tier": copy.tier,
        "bucket": settings.tiers[copy.tier].bucket if copy.tier in settings.tiers else None,
        "key": copy.key,
        "version_id": copy.version_id,
        "storage_class": copy.storage_class,
        "proof": copy.proof,
        "proven_at": time(copy.proven_at),
        "size_bytes": size_bytes,
        "offset_bytes": offset_bytes,
    }


def restores(tx: Transaction, page: Sequence[Restore]) -> list[Document]:
    """Restores with what they have reached; a few queries for all, as far as they mean whole datasets."""
    if not page:
        return []
    ids = {r.dataset_id for r in page}
    known = tx.datasets_numbered(ids)
    hot = {c.dataset_id: c for c in tx.coverage(ids) if c.tier == policy.HOT}
    given_up = tx.given_up(ids, policy.HOT)
    found = []
    for r in page:
        dataset = known[r.dataset_id]
        reached = _reached(tx, r, dataset, hot.get(dataset.id), [(path, why) for of, path, why in given_up if of == dataset.id])
        found.append(
            {
                "id": r.id,
                "dataset_id": r.dataset_id,
                "dataset": dataset.full_name,
                "user": r.user,
                "state": r.state,
                "files_glob": r.files_glob,
                "keep_days": r.keep_days,
                "requested_at": time(r.requested_at),
                "promised_by": None if r.state is RestoreState.AWAITING_APPROVAL else time(r.promised_by),
                "ready_at": time(r.ready_at),
                "expires_at": time(r.expires_at),
                "ended_at": time(r.ended_at),
                "files_total": reached.files_total,
                "files_ready": reached.files_ready,
                "bytes_total": reached.bytes_total,
                "bytes_ready": reached.bytes_ready,
                "errors": [{"path": path, "reason": why} for path, why in reached.given_up],
                "error": r.error,
                "priority": r.priority,
                "from_tier": r.from_tier,
                "approved_by": r.approved_by,
            }
        )
    return found


def transfers(tx: Transaction, page: Sequence[Transfer]) -> list[Document]:
    """Transfers, for an admin."""
    known = tx.datasets_numbered({one.dataset_id for one in page})
    return [
        {
            "id": one.id,
            "dataset_id": one.dataset_id,
            "dataset": known[one.dataset_id].full_name,
            "key": one.key,
            "tier": one.tier,
            "state": one.state,
            "attempts": one.attempts,
            "next_try_at": time(one.next_try_at),
            "error": one.error,
        }
        for one in page
    ]


def promises(settings: Settings, page: Sequence[Record]) -> list[Document]:
    """How promises were kept, by tier."""
    return [
        {
            "tier": one.tier,
            "back_within_s": settings.tiers[one.tier].back_within.total_seconds(),
            "kept": one.kept,
            "missed": one.missed,
            "median_s": None if one.median is None else one.median.total_seconds(),
            "p90_s": None if one.p90 is None else one.p90.total_seconds(),
        }
        for one in page
    ]


def _reached(tx: Transaction, r: Restore, dataset: Dataset, hot: Coverage | None, given_up: list[tuple[str, str]]) -> restore.Progress:
    """What a restore has reached: by counts where it means all files, else file by file."""
    if r.files_glob is None:
        ready = (hot.files, hot.size_bytes) if hot else (0, 0)
        return restore.Progress(dataset.file_count, ready[0], dataset.size_bytes, ready[1], given_up, recalling=False, copying=False)
    going = {d.copy_id for d in tx.drops(dataset.id)}
    in_hot = {c.object_id for c in tx.copies(dataset.id, policy.HOT) if c.id not in going}
    return restore.progress(r, tx.files(dataset.id), in_hot, tx.transfers(dataset.id))


def holds(tx: Transaction, page: Sequence[Claim]) -> list[Document]:
    """Holds, and whether they count."""
    known = tx.datasets_numbered({h.dataset_id for h in page})
    return [
        {
            "id": h.id,
            "dataset_id": h.dataset_id,
            "dataset": known[h.dataset_id].full_name,
            "user": h.user,
            "reason": h.reason,
            "files_glob": h.files_glob,
            "state": "ended" if h.ended_at or (h.until and h.until <= tx.at) else "waiting" if h.restore_id else "in_force",
            "restore_id": h.restore_id,
            "created_at": time(h.created_at),
            "until": time(h.until),
            "ended_at": time(h.ended_at),
        }
        for h in page
    ]


def erasures(tx: Transaction, page: Sequence[Erasure]) -> list[Document]:
    """Erasures; of those that wait for a second admin, what they would end."""
    known = tx.datasets_numbered({e.dataset_id for e in page})
    return [
        {
            "id": e.id,
            "dataset_id": e.dataset_id,
            "dataset": known[e.dataset_id].full_name,
            "project": known[e.dataset_id].project,
            "files_glob": e.files_glob,
            "reason": e.reason,
            "state": e.state,
            "asked_by": e.asked_by,
            "asked_at": time(e.asked_at),
            "approved_by": e.approved_by,
            "approved_at": time(e.approved_at),
            "ended_at": time(e.ended_at),
            "ends": asdict(erasure.reach(tx, e)) if e.state == ErasureState.REQUESTED else None,
            "receipt": e.receipt,
        }
        for e in page
    ]


def drills(tx: Transaction, page: Sequence[Drill], projects: Sequence[str] | None) -> list[Document]:
    """Rehearsals of restores; whose dataset it was is said to those who may see it (`projects`; None: all)."""
    known = tx.datasets_numbered({d.dataset_id for d in page})
    return [
        {
            "id": d.id,
            "dataset": known[d.dataset_id].full_name if projects is None or known[d.dataset_id].project in projects else None,
            "tier": d.tier,
            "state": d.state,
            "created_at": time(d.created_at),
            "ended_at": time(d.ended_at),
            "size_bytes": d.size_bytes,
            "seconds": d.seconds,
            "error": d.error if projects is None else None,
        }
        for d in page
    ]


def events(page: Sequence[Event]) -> list[Document]:
    """A dataset's history."""
    return [{"seq": e.seq, "at": time(e.at), "actor": e.actor, "kind": e.kind, "detail": e.detail} for e in page]


def dataset_in_full(tx: Transaction, settings: Settings, dataset: Dataset) -> Document:
    """One dataset with all its files."""
    return {**datasets(tx, settings, [dataset])[0], "files": files(tx, settings, tx.files(dataset.id))}
