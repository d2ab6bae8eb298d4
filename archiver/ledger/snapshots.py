"""Snapshots of growing files: what is shown of each, and what comes into its place.

Law: of a snapshot's life, that it is shown, was given up, ended or became a file are lines of its dataset's history; its steps are
not, as there are many of them and nothing of them lasts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Moved, batches
from archiver.ledger.leases import Lease, Leases
from archiver.model import SnapshotState

_AT_WORK = (SnapshotState.PROVING, SnapshotState.SHOWING, SnapshotState.CLEARING, SnapshotState.ENDING)
NOTHING_COMES: dict[str, Any] = dict.fromkeys(
    (
        *("coming_key", "coming_bytes", "coming_mark", "coming_mtime", "coming_taken_at"),
        *("coming_upload_id", "coming_sha256", "coming_version_id", "lease_by", "lease_until"),
    )
)
"""Values of a row into whose place nothing comes."""


class Snapshots(Leases):
    """Reading and writing snapshots."""

    def snapshots(self, dataset_ids: Collection[int]) -> list[model.Snapshot]:
        """All of these datasets, in order of the paths that they are shown at."""
        if not dataset_ids:
            return []
        c = t.snapshot.c
        return self._all(model.Snapshot, sa.select(t.snapshot).where(c.dataset_id.in_(dataset_ids)).order_by(c.dataset_id, c.shown_raw))

    def snapshot_of(self, dataset_id: int, path_raw: bytes) -> model.Snapshot | None:
        """That of a growing file."""
        c = t.snapshot.c
        return self._one(model.Snapshot, sa.select(t.snapshot).where(c.dataset_id == dataset_id, c.path_raw == path_raw))

    def snapshots_shown_at(self, dataset_ids: Collection[int], paths_raw: Collection[bytes]) -> list[model.Snapshot]:
        """Those that stand, or will, at one of these paths."""
        c = t.snapshot.c
        found = []
        for part in batches(list(paths_raw)):
            found += self._all(model.Snapshot, sa.select(t.snapshot).where(c.dataset_id.in_(dataset_ids), c.shown_raw.in_(part)))
        return found

    def snapshot_keys(self, keys: Sequence[str] | None = None) -> set[str]:
        """Those of these keys that are snapshots'; without `keys` the keys to which snapshots are being sent."""
        c = t.snapshot.c
        if keys is None:
            return set(self.connection.execute(sa.select(c.coming_key).where(c.coming_key.is_not(None))).scalars())
        return {key for part in batches(keys) for key in self.connection.execute(sa.select(c.key).where(c.key.in_(part))).scalars()}

    def snapshot_bytes(self) -> int:
        """What they take of fast storage, shown and coming."""
        c = t.snapshot.c
        taken = sa.func.coalesce(c.size_bytes, 0) + sa.func.coalesce(c.coming_bytes, 0)
        return int(self.connection.execute(sa.select(sa.func.sum(taken))).scalar() or 0)

    def shows_snapshots(self, dataset_id: int) -> bool:
        """Whether anything of a growing file stands in a dataset."""
        c = t.snapshot.c
        return self.connection.execute(sa.select(c.id).where(c.dataset_id == dataset_id, c.version_id.is_not(None))).first() is not None

    def file_received(self, dataset_id: int, path_raw: bytes, mtime: datetime) -> bool:
        """Whether a dataset's file of this path is received, as it was at that time of its own or later."""
        later = sa.or_(t.file.c.mtime.is_(None), t.file.c.mtime >= mtime)
        return bool(self.connection.execute(sa.select(_received(dataset_id, path_raw, later))).scalar())

    def superseded(self, dataset_ids: Collection[int] | None = None) -> list[model.Snapshot]:
        """Those whose file is received, as it was then or later. (A time that was set back does not matter where it was received later.)"""
        s, f = t.snapshot.c, t.file.c
        later = sa.or_(f.mtime.is_(None), f.mtime >= sa.func.coalesce(s.coming_mtime, s.mtime), f.received_at >= s.announced_at)
        select = sa.select(t.snapshot).where(_received(s.dataset_id, s.path_raw, later))
        return self._all(model.Snapshot, select if dataset_ids is None else select.where(s.dataset_id.in_(dataset_ids)))

    def add_snapshot(self, dataset_id: int, path_raw: bytes, shown_raw: bytes, key: str, **coming: Any) -> model.Snapshot:
        """The first of a growing file is announced."""
        row = {"dataset_id": dataset_id, "path_raw": path_raw, "shown_raw": shown_raw, "key": key, "state": SnapshotState.SENDING}
        self._insert(t.snapshot, **row, announced_at=self.at, next_try_at=self.at, **coming)
        self.committed_states.append("snapshot.sending")
        found = self.snapshot_of(dataset_id, path_raw)
        assert found is not None
        return found

    def update_snapshot(self, snapshot: model.Snapshot, **values: Any) -> model.Snapshot:
        """Change what is no state. Raises `Moved` when it is not what the caller saw."""
        if self.connection.execute(sa.update(t.snapshot).where(*_seen(snapshot)).values(**values)).rowcount != 1:
            raise Moved(f"snapshot {snapshot.id} is no longer {snapshot.state}")
        return replace(snapshot, **values)

    def move_snapshot(self, snapshot: model.Snapshot, to: SnapshotState, line: str = "", why: str = "", **values: Any) -> model.Snapshot:
        """Change its state; with `line`, an event `snapshot.LINE` is written. Raises `Moved`, `ValueError` for a change that is not legal."""
        if to not in model.SNAPSHOT_CHANGES[snapshot.state]:
            raise ValueError(f"snapshot {snapshot.id}: {snapshot.state} -> {to} is not a legal change")
        moved = replace(snapshot, **values)
        if line:  # which holds the dataset still: always before its rows
            self._tell(moved, line, why)
        values = {"next_try_at": self.at, "attempts": 0, "lease_by": None, "lease_until": None, **values}
        moved = self.update_snapshot(snapshot, state=to, **values)
        self.committed_states.append(f"snapshot.{to}")
        return moved

    def forget_snapshot(self, snapshot: model.Snapshot, line: str, why: str) -> None:
        """Its row goes: nothing of it stands any more, or what does is a file's. Raises `Moved`."""
        self._tell(snapshot, line, why)
        if self.connection.execute(sa.delete(t.snapshot).where(*_seen(snapshot))).rowcount != 1:
            raise Moved(f"snapshot {snapshot.id} is no longer {snapshot.state}")
        self.committed_states.append(f"snapshot.{line}")

    def _tell(self, snapshot: model.Snapshot, line: str, why: str) -> None:
        shown = snapshot.shown_raw.decode("utf-8", "backslashreplace")
        said = {"why": why} if why else {"size_bytes": snapshot.size_bytes, "sha256": snapshot.sha256}
        self.event(snapshot.dataset_id, f"snapshot.{line}", {"path": shown, **said})

    # for the worker

    def snapshots_wait(self) -> bool:
        """Whether there is any snapshot at all: most of the time there is none, and nothing else need be asked."""
        return self.connection.execute(sa.select(t.snapshot.c.id).limit(1)).first() is not None

    def stranded_snapshots(self) -> list[model.Snapshot]:
        """Those of datasets that are no longer open."""
        c = t.snapshot.c
        select = sa.select(t.snapshot).join(t.dataset).where(t.dataset.c.state != model.DatasetState.OPEN)
        return self._all(model.Snapshot, select.order_by(c.id))

    def snapshots_announced_before(self, at: datetime) -> list[model.Snapshot]:
        """Those that have been on their way for so long."""
        c = t.snapshot.c
        return self._all(model.Snapshot, sa.select(t.snapshot).where(c.state == SnapshotState.SENDING, c.announced_at <= at).order_by(c.id))

    def take_snapshots(self, lease: Lease, limit: int, without: Collection[int]) -> list[model.Snapshot]:
        """Those with which something is to be done and that nobody has, longest waiting first: this worker's from now on."""
        c = t.snapshot.c
        due = sa.and_(c.state.in_(_AT_WORK), c.next_try_at <= self.at, c.id.not_in(without), self._free(t.snapshot, lease))
        select = sa.select(t.snapshot).where(due).order_by(c.next_try_at, c.id).limit(limit)
        found = self._all(model.Snapshot, select.with_for_update(skip_locked=True, of=t.snapshot, key_share=True))
        until = self._take(t.snapshot, [one.id for one in found], lease)
        return [replace(one, lease_by=lease.by, lease_until=until) for one in found]


def _received(dataset_id: Any, path_raw: Any, so: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether a file of this path is received: under it, or under a version of it that its sender asked for by it. Each by an index."""
    f, u, w = t.file.c, t.upload.c, t.transfer.c
    received = sa.and_(f.state == model.FileState.RECEIVED, so)
    by_path = sa.exists().where(f.dataset_id == dataset_id, f.path_raw == path_raw, received)
    asked = sa.and_(u.dataset_id == dataset_id, u.path_raw == path_raw, w.id == u.transfer_id, f.object_id == w.object_id)
    return sa.or_(by_path, sa.exists().where(asked, received))


def _seen(snapshot: model.Snapshot) -> tuple[sa.ColumnElement[bool], ...]:
    """The row, while it is what the caller saw: the same state, the same thing coming."""
    c = t.snapshot.c
    return c.id == snapshot.id, c.state == snapshot.state, c.coming_key.is_not_distinct_from(snapshot.coming_key)
