"""Instruments and their keys, what they send, and datasets that are about to close."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.errors import NotFound
from archiver.ledger import tables as t
from archiver.ledger.base import batches
from archiver.ledger.packs import UPLOADS, Packs
from archiver.model import DatasetState, FileState, MetadataState, TransferState

_MANY = 100_000


@dataclass(frozen=True)
class NewFile:
    """A file to be written down: its path and key in its dataset."""

    path: str
    path_raw: bytes
    key: str
    size_bytes: int
    mtime: datetime | None


@dataclass(frozen=True)
class Under:
    """A file that is not received yet, and the transfer that shall bring it: its own, or its pack's (None: it was cancelled)."""

    file: model.File
    transfer: model.Transfer | None


class Receiving(Packs):
    """Reading and writing what arrives from outside."""

    # instruments and keys

    def instrument(self, name: str) -> model.Instrument:
        """Raises `NotFound`."""
        found = self._one(model.Instrument, sa.select(t.instrument).where(t.instrument.c.name == name))
        if found is None:
            raise NotFound(f"There is no instrument {name!r}.", "`archiver instruments list` names those that are there.")
        return found

    def allow_projects(self, instrument: str, globs: Sequence[str]) -> None:
        """From now on the instrument's keys may send to these projects, and no others. Raises `NotFound`."""
        before = list(self.instrument(instrument).projects)
        if before != list(globs):
            self.connection.execute(sa.update(t.instrument).where(t.instrument.c.name == instrument).values(projects=list(globs)))
            self.deed("instrument.changed", instrument, {"projects": [before, list(globs)]})

    def add_key(self, instrument: str, sha256: str) -> None:
        self._insert(t.instrument_key, instrument=instrument, sha256=sha256, created_at=self.at)
        self.deed("instrument.key_made", instrument, {})

    def key(self, sha256: str) -> model.InstrumentKey | None:
        return self._one(model.InstrumentKey, sa.select(t.instrument_key).where(t.instrument_key.c.sha256 == sha256))

    def key_counts(self) -> dict[str, int]:
        """How many keys that are not revoked each instrument has."""
        c = t.instrument_key.c
        rows = self.connection.execute(sa.select(c.instrument, sa.func.count()).where(c.revoked_at.is_(None)).group_by(c.instrument))
        return {row[0]: row[1] for row in rows}

    def revoke_keys(self, instrument: str) -> int:
        """All keys of an instrument end; returns how many there were."""
        c = t.instrument_key.c
        ending = sa.update(t.instrument_key).where(c.instrument == instrument, c.revoked_at.is_(None)).values(revoked_at=self.at)
        ended = self.connection.execute(ending).rowcount
        if ended:
            self.deed("instrument.keys_revoked", instrument, {"keys": ended})
        return ended

    def see_instrument(self, name: str, report: Mapping[str, Any] | None = None) -> None:
        """An instrument was heard of, with or without a report."""
        said = {} if report is None else {"report": {**report, "at": self.at.isoformat()}}
        self.connection.execute(sa.update(t.instrument).where(t.instrument.c.name == name).values(seen_at=self.at, **said))

    # datasets that are open

    def chain(self, dataset: model.Dataset) -> list[model.Dataset]:
        """A dataset and those that continue it, in order."""
        found = [dataset]
        while True:
            c = t.dataset.c
            after = self._one(model.Dataset, sa.select(t.dataset).where(c.follows_id == found[-1].id).order_by(c.id).limit(1))
            if after is None:
                return found
            found.append(after)

    def ask_to_close(self, dataset: model.Dataset) -> None:
        """Nothing new is added; the worker closes it when all of it is proven and read."""
        if dataset.closing_at is None and dataset.state is DatasetState.OPEN:
            self.connection.execute(sa.update(t.dataset).where(t.dataset.c.id == dataset.id).values(closing_at=self.at))
            self.event(dataset.id, "dataset.closing", {})
            self.committed_states.append("dataset.closing")

    def left_open(self, *, quiet_since: datetime | None = None, opened_before: datetime | None = None) -> list[model.Dataset]:
        """Open datasets of senders: not asked to close, and nothing written in them since then; or opened before, asked to close or not."""
        c, e = t.dataset.c, t.event.c
        select = sa.select(t.dataset).where(c.state == DatasetState.OPEN, c.opened_by.is_not(None))
        if quiet_since is not None:
            select = select.where(c.closing_at.is_(None), ~sa.exists().where(e.dataset_id == c.id, e.at > quiet_since))
        if opened_before is not None:
            select = select.where(c.received_at <= opened_before)
        return self._all(model.Dataset, select.order_by(c.id))

    def spoilt_promotions(self) -> dict[int, list[int]]:
        """Files that were snapshots and could not be proven, by dataset."""
        w, u, f = t.transfer.c, t.upload.c, t.file.c
        failed = sa.and_(u.mark == model.SNAPSHOT_MARK, w.state.in_((TransferState.FAILED, TransferState.QUARANTINED)))
        select = sa.select(f.dataset_id, f.id).join_from(t.upload, t.transfer).join(t.file, f.object_id == w.object_id).where(failed)
        found: dict[int, list[int]] = {}
        for dataset_id, file_id in self.connection.execute(select.order_by(f.id)):
            found.setdefault(dataset_id, []).append(file_id)
        return found

    def forget_arrivals(self, dataset_id: int, file_ids: Collection[int] | None = None) -> list[str]:
        """Files (these, or all) that were to come from outside, and of which not all was sent, are no part of the dataset any more.

        Returns the keys at which something of theirs may stand.
        """
        self.hold_still(dataset_id)
        unsent = (TransferState.PLANNED, TransferState.COPYING, TransferState.FAILED, TransferState.QUARANTINED)
        gone = [
            under
            for under in self.not_received([dataset_id], 0, _MANY)
            if under.transfer is not None and under.transfer.state in unsent and (under.transfer.source_uri or "").startswith(model.UPLOAD_URI)
            if file_ids is None or under.file.id in file_ids
        ]
        if not gone:
            return []
        for pack in {under.id: under for under in self.packs_with([one.file.object_id for one in gone]).values()}.values():
            self.take_pack_apart(pack)
        self.events_of(dataset_id, "file.forgotten", [{"path": one.file.path, "size_bytes": one.file.size_bytes} for one in gone])
        for part in batches([one.file.object_id for one in gone]):
            transfers = sa.select(t.transfer.c.id).where(t.transfer.c.object_id.in_(part))
            self.connection.execute(sa.delete(t.upload).where(t.upload.c.transfer_id.in_(transfers)))
            self.connection.execute(sa.delete(t.transfer).where(t.transfer.c.object_id.in_(part)))
            self.connection.execute(sa.delete(t.file).where(t.file.c.object_id.in_(part)))
            self.connection.execute(sa.delete(t.object_).where(t.object_.c.id.in_(part)))
        keys = [under.key for one in gone if (under := one.transfer) is not None and under.attempts]
        self.give_up(keys)
        return keys

    def closings(self) -> int:
        """How many open datasets shall close."""
        c = t.dataset.c
        counted = sa.select(sa.func.count()).where(c.closing_at.is_not(None), c.state == DatasetState.OPEN)
        return int(self.connection.execute(counted).scalar() or 0)

    # files on their way

    def files_at(self, dataset_ids: Collection[int], paths_raw: Collection[bytes]) -> list[model.File]:
        """Those of these datasets' files that have one of these paths."""
        c = t.file.c
        found = []
        for part in batches(list(paths_raw)):
            found += self._all(model.File, sa.select(t.file).where(c.dataset_id.in_(dataset_ids), c.path_raw.in_(part)).order_by(c.id))
        return found

    def arriving_as(self, dataset_ids: Collection[int], paths_raw: Collection[bytes]) -> dict[bytes, model.File]:
        """Files of these datasets that are on their way, by the path that was asked for: those of uploads, and those from local files."""
        f, w, u = t.file.c, t.transfer.c, t.upload.c
        arriving = sa.and_(f.dataset_id.in_(dataset_ids), f.state == FileState.ARRIVING)
        found: dict[bytes, model.File] = {}
        for part in batches(list(paths_raw)):
            sent = (
                sa.select(t.upload.c.transfer_id, w.object_id, u.path_raw)
                .join_from(t.upload, t.transfer)
                .where(u.dataset_id.in_(dataset_ids), u.path_raw.in_(part))
            )
            asked = {row.object_id: bytes(row.path_raw) for row in self.connection.execute(sent.order_by(u.transfer_id))}
            found |= {asked[file.object_id]: file for file in self._all(model.File, sa.select(t.file).where(arriving, f.object_id.in_(asked)))}
            uploads = sa.exists().where(u.transfer_id == w.id, w.object_id == f.object_id)
            local = self._all(model.File, sa.select(t.file).where(arriving, f.path_raw.in_(part), ~uploads))
            found |= {file.path_raw: file for file in local}
        return found

    def add_files(self, dataset_id: int, new: Sequence[NewFile], metadata_state: MetadataState) -> list[tuple[int, model.Object]]:
        """Write new files and their objects down: (file id, object) of each, in order. A few queries, however many they are."""
        if not new:
            return []
        objects = [{"dataset_id": dataset_id, "kind": model.ObjectKind.FILE, "key": one.key, "size_bytes": one.size_bytes} for one in new]
        object_ids = self.connection.execute(sa.insert(t.object_).returning(t.object_.c.id, sort_by_parameter_order=True), objects).scalars().all()
        files = [
            {
                "dataset_id": dataset_id,
                "path": one.path,
                "path_raw": one.path_raw,
                "state": FileState.ARRIVING,
                "size_bytes": one.size_bytes,
                "object_id": object_id,
                "offset_bytes": 0,
                "mtime": one.mtime,
                "metadata_state": metadata_state,
                "metadata": {},
            }
            for one, object_id in zip(new, object_ids, strict=True)
        ]
        file_ids = self.connection.execute(sa.insert(t.file).returning(t.file.c.id, sort_by_parameter_order=True), files).scalars().all()
        return [
            (file_id, model.Object(object_id, dataset_id, model.ObjectKind.FILE, one.key, one.size_bytes, None, None))
            for one, object_id, file_id in zip(new, object_ids, file_ids, strict=True)
        ]

    def files_numbered(self, ids: Collection[int]) -> dict[int, model.File]:
        return {file.id: file for file in self._all(model.File, sa.select(t.file).where(t.file.c.id.in_(ids)))}

    def add_uploads(self, uploads: Sequence[model.Upload]) -> None:
        if uploads:
            rows = [vars(upload) for upload in uploads]
            self.connection.execute(sa.insert(t.upload), rows)

    def update_uploads(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Each row: `of` (a transfer's id) and new values, of the same columns in all."""
        self._update_each(t.upload, t.upload.c.transfer_id, rows)

    def uploads_by_file(self, file_ids: Collection[int]) -> dict[int, tuple[model.File, model.Transfer, model.Upload]]:
        """The last arrival from outside of each of these files, whatever became of it."""
        w = t.transfer.c
        files = self.files_numbered(file_ids)
        objects = {file.object_id: file for file in files.values()}
        uploads = sa.exists().where(t.upload.c.transfer_id == w.id)
        select = sa.select(t.transfer).where(w.object_id.in_(objects), w.tier == "hot", uploads).order_by(w.id)
        transfers = {one.id: one for one in self._all(model.Transfer, select)}
        found = {}
        for upload in self._all(model.Upload, sa.select(t.upload).where(t.upload.c.transfer_id.in_(transfers)).order_by(t.upload.c.transfer_id)):
            transfer = transfers[upload.transfer_id]
            file = objects[transfer.object_id]
            found[file.id] = (file, transfer, upload)
        return found

    def not_received(self, dataset_ids: Collection[int], after_id: int, limit: int) -> list[Under]:
        """Files of these datasets that are not received, by number, after this one."""
        f, w = t.file.c, t.transfer.c
        select = sa.select(t.file).where(f.dataset_id.in_(dataset_ids), f.state == FileState.ARRIVING, f.id > after_id).order_by(f.id).limit(limit)
        files = self._all(model.File, select)
        objects = [file.object_id for file in files]
        transfers = self._all(
            model.Transfer, sa.select(t.transfer).where(w.object_id.in_(objects), w.tier == "hot", w.state != TransferState.CANCELLED).order_by(w.id)
        )
        by_object = {one.object_id: one for one in transfers} | self.packs_with(objects)
        return [Under(file, by_object.get(file.object_id)) for file in files]

    def arriving_from(self, instrument: str) -> tuple[int, int]:
        """Files and bytes that an instrument's open datasets have been told of, and that are not received."""
        d, f = t.dataset.c, t.file.c
        select = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(f.size_bytes), 0)).join_from(t.dataset, t.file)
        row = self.connection.execute(select.where(d.instrument == instrument, d.state == DatasetState.OPEN, f.state == FileState.ARRIVING)).one()
        return int(row[0]), int(row[1])

    def received(self, dataset_ids: Collection[int], after_id: int, limit: int) -> list[model.File]:
        """Received files of these datasets, by number, after this one."""
        f = t.file.c
        select = sa.select(t.file).where(f.dataset_id.in_(dataset_ids), f.state == FileState.RECEIVED, f.id > after_id).order_by(f.id)
        return self._all(model.File, select.limit(limit))

    def on_their_way(self, dataset_ids: Collection[int]) -> tuple[int, int, int]:
        """How many files of these datasets are received, being proven, and not sent yet."""
        f, w = t.file.c, t.transfer.c
        rows = self.connection.execute(sa.select(f.state, sa.func.count()).where(f.dataset_id.in_(dataset_ids)).group_by(f.state))
        states: dict[FileState, int] = {row[0]: row[1] for row in rows}
        proving = sa.select(sa.func.count()).where(w.dataset_id.in_(dataset_ids), UPLOADS, w.state == TransferState.VERIFYING)
        proving = proving.join(t.object_).where(t.object_.c.kind == model.ObjectKind.FILE)
        verifying = int(self.connection.execute(proving).scalar() or 0) + self.members_verifying(dataset_ids)
        return states.get(FileState.RECEIVED, 0), verifying, states.get(FileState.ARRIVING, 0) - verifying

    def oldest_upload(self) -> datetime | None:
        """Since when the upload waits that was begun first, of those of which not all was sent."""
        c = t.transfer.c
        sending = sa.and_(UPLOADS, c.state.in_([TransferState.PLANNED, TransferState.COPYING]))
        return self.connection.execute(sa.select(sa.func.min(c.created_at, type_=t.UtcDateTime)).where(sending)).scalar()

    def postpone(self, transfer: model.Transfer, until: datetime, attempts: int, error: str) -> None:
        """A store was away while something was proven: it is looked at again then. Nothing else changes."""
        values = {"next_try_at": until, "attempts": attempts, "error": error, "updated_at": self.at, "lease_by": None, "lease_until": None}
        self.connection.execute(sa.update(t.transfer).where(t.transfer.c.id == transfer.id).values(**values))

    # what was received and not looked into

    def unread(self, limit: int) -> list[model.File]:
        """Received files that nobody has looked into yet, oldest first."""
        c = t.file.c
        select = sa.select(t.file).where(c.metadata_state == MetadataState.WAITING, c.state == FileState.RECEIVED).order_by(c.id).limit(limit)
        return self._all(model.File, select)
