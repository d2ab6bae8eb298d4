"""Instruments, datasets, files, objects and copies in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.errors import Ambiguous, NotFound
from archiver.ledger import tables as t
from archiver.ledger.indexing import Indexing
from archiver.ledger.projects import Projects

_FOUND_BY = frozenset({"title", "metadata", "acquired_at"})
"""What a dataset is searched by; a change of it is a change of the index."""


class Datasets(Projects, Indexing):
    """Reading and writing what the data is and where it lies."""

    # instruments

    def add_instrument(self, name: str, title: str) -> None:
        """Add an instrument, or give it a new title; written down, with who did it."""
        c = t.instrument.c
        known = self.connection.execute(sa.select(c.title).where(c.name == name)).scalar()
        if known is None:
            self.connection.execute(sa.insert(t.instrument).values(name=name, title=title, created_at=self.at))
            self.deed("instrument.added", name, {"title": title})
        elif known != title:
            self.connection.execute(sa.update(t.instrument).where(c.name == name).values(title=title))
            self.deed("instrument.changed", name, {"title": [known, title]})

    def instruments(self) -> list[model.Instrument]:
        return self._all(model.Instrument, sa.select(t.instrument).order_by(t.instrument.c.name))

    def require(self, project: str, instrument: str) -> None:
        """Raise `NotFound`, naming what is known, unless both are."""
        for what, name, known in (("project", project, self.projects()), ("instrument", instrument, self.instruments())):
            if name not in {k.name for k in known}:
                names = ", ".join(k.name for k in known) or "none yet"
                raise NotFound(f"There is no {what} {name!r} (known: {names}).", f"Add it with `archiver {what}s add {name} --title …`.")

    # datasets

    def dataset(self, dataset_id: int) -> model.Dataset:
        """Raises `NotFound`."""
        found = self._one(model.Dataset, sa.select(t.dataset).where(t.dataset.c.id == dataset_id))
        if found is None:
            raise NotFound(f"There is no dataset number {dataset_id}.", "`archiver status` lists the datasets.")
        return found

    def dataset_named(self, instrument: str, name: str) -> model.Dataset | None:
        return self._one(model.Dataset, sa.select(t.dataset).where(t.dataset.c.instrument == instrument, t.dataset.c.name == name))

    def find_dataset(self, reference: str, projects: Sequence[str] | None = None) -> model.Dataset:
        """The dataset that `reference` means: `instrument/name`, a bare name, or a number.

        `projects`: those the asker may see (None: all). Raises `NotFound`, `Ambiguous`.
        """
        instrument, slash, name = reference.partition("/")
        c = t.dataset.c
        which = sa.and_(c.instrument == instrument, c.name == name) if slash else c.name == reference
        select = sa.select(t.dataset).where(which)
        if projects is not None:
            select = select.where(c.project.in_(projects))
        found = self._all(model.Dataset, select.limit(10))
        if not found and reference.isascii() and reference.isdecimal() and len(reference) < 17:
            select = sa.select(t.dataset).where(c.id == int(reference))
            found = self._all(model.Dataset, select if projects is None else select.where(c.project.in_(projects)))
        if not found:
            raise NotFound(f"There is no dataset {reference!r}.", "Look its name up in the catalog page, or with `archiver status`.")
        if len(found) > 1:
            names = ", ".join(d.full_name for d in found)
            raise Ambiguous(
                f"{reference!r} is the name of several datasets: {names}.",
                "Give the full name, instrument/name.",
                candidates=[d.full_name for d in found],
            )
        return found[0]

    def open_dataset(
        self, project: str, instrument: str, name: str, prefix: str, follows_id: int | None, opened_by: str | None = None
    ) -> model.Dataset:
        dataset_id = self._insert(
            t.dataset,
            project=project,
            instrument=instrument,
            name=name,
            state=model.DatasetState.OPEN,
            prefix=prefix,
            received_at=self.at,
            follows_id=follows_id,
            opened_by=opened_by,
            size_bytes=0,
            file_count=0,
            metadata={},
        )
        self.event(dataset_id, "dataset.open", {"name": f"{instrument}/{name}", "project": project})
        self.index(dataset_id)
        self.committed_states.append("dataset.open")
        return self.dataset(dataset_id)

    def followers(self, dataset_id: int) -> list[model.Dataset]:
        """The datasets that continue this one, oldest first."""
        return self._all(model.Dataset, sa.select(t.dataset).where(t.dataset.c.follows_id == dataset_id).order_by(t.dataset.c.id))

    def update_dataset(self, dataset_id: int, **values: Any) -> None:
        self.connection.execute(sa.update(t.dataset).where(t.dataset.c.id == dataset_id).values(**values))
        if not _FOUND_BY.isdisjoint(values):
            self.index(dataset_id)

    def close_dataset(self, dataset_id: int) -> None:
        """The manifest is proven: nothing changes any more, and claims begin to count."""
        self.update_dataset(dataset_id, state=model.DatasetState.CLOSED, closed_at=self.at, look_at=self.at)
        self.event(dataset_id, "dataset.closed", {})
        self.committed_states.append("dataset.closed")

    def datasets_to_look_at(self, limit: int) -> list[int]:
        """Datasets whose copies and claims may differ by now, longest waiting first."""
        c = t.dataset.c
        select = sa.select(c.id).where(c.look_at <= self.at).order_by(c.look_at, c.id).limit(limit)
        return list(self.connection.execute(select).scalars())

    def look_at_all(self) -> None:
        """Every dataset that is not open is looked at again (the policy has changed)."""
        self.connection.execute(sa.update(t.dataset).where(t.dataset.c.state != model.DatasetState.OPEN).values(look_at=self.at))

    # files, objects, copies

    def files(self, dataset_id: int, after_id: int = 0, limit: int | None = None) -> list[model.File]:
        """A dataset's files, arriving or received; not the erased ones."""
        c = t.file.c
        select = sa.select(t.file).where(c.dataset_id == dataset_id, c.id > after_id, c.state != model.FileState.ERASED).order_by(c.id)
        return self._all(model.File, select.limit(limit) if limit else select)

    def erased_files(self, dataset_id: int) -> list[model.File]:
        """What is left of a dataset's erased files: names, sizes, sums."""
        c = t.file.c
        return self._all(model.File, sa.select(t.file).where(c.dataset_id == dataset_id, c.state == model.FileState.ERASED).order_by(c.id))

    def file_at(self, dataset_id: int, path_raw: bytes) -> model.File | None:
        return self._one(model.File, sa.select(t.file).where(t.file.c.dataset_id == dataset_id, t.file.c.path_raw == path_raw))

    def add_object(self, dataset_id: int, kind: model.ObjectKind, key: str, size_bytes: int, **sums: str) -> int:
        return self._insert(t.object_, dataset_id=dataset_id, kind=kind, key=key, size_bytes=size_bytes, **sums)

    def add_file(self, dataset_id: int, path: str, path_raw: bytes, size_bytes: int, object_id: int, mtime: datetime | None) -> int:
        return self._insert(
            t.file,
            dataset_id=dataset_id,
            path=path,
            path_raw=path_raw,
            state=model.FileState.ARRIVING,
            size_bytes=size_bytes,
            object_id=object_id,
            offset_bytes=0,
            mtime=mtime,
            metadata_state=model.MetadataState.NONE,
            metadata={},
        )

    def update_file(self, file_id: int, **values: Any) -> None:
        self.connection.execute(sa.update(t.file).where(t.file.c.id == file_id).values(**values))

    def update_files(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Each row: `of` (a file's id) and new values, of the same columns in all."""
        self._update_each(t.file, t.file.c.id, rows)

    def update_object(self, object_id: int, **values: Any) -> None:
        self.connection.execute(sa.update(t.object_).where(t.object_.c.id == object_id).values(**values))

    def update_objects(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Each row: `of` (an object's id) and new values, of the same columns in all."""
        self._update_each(t.object_, t.object_.c.id, rows)

    def object(self, object_id: int) -> model.Object:
        found = self._one(model.Object, sa.select(t.object_).where(t.object_.c.id == object_id))
        assert found is not None
        return found

    def object_with_key(self, key: str) -> model.Object | None:
        return self._one(model.Object, sa.select(t.object_).where(t.object_.c.key == key))

    def objects(self, dataset_id: int) -> list[model.Object]:
        return self._all(model.Object, sa.select(t.object_).where(t.object_.c.dataset_id == dataset_id).order_by(t.object_.c.id))

    def forget_bundles(self, dataset_id: int) -> None:
        """Take back the bundles that an open dataset was laid out in: none is built before it is closed. Those that came from outside stay."""
        o, w = t.object_.c, t.transfer.c
        came = sa.exists().where(w.object_id == o.id)
        bundles = list(self.connection.execute(sa.select(o.id).where(o.dataset_id == dataset_id, o.kind == model.ObjectKind.BUNDLE, ~came)).scalars())
        self.connection.execute(sa.delete(t.member).where(t.member.c.bundle_id.in_(bundles)))
        self.connection.execute(sa.delete(t.object_).where(o.id.in_(bundles)))

    def members(self, dataset_id: int) -> list[model.Member]:
        """Which of a dataset's objects stand in which of its bundles, in the order in which they do."""
        c = t.member.c
        # By the few bundles' numbers: joined, a database may read all members of all datasets.
        o = t.object_.c
        bundles = list(self.connection.execute(sa.select(o.id).where(o.dataset_id == dataset_id, o.kind == model.ObjectKind.BUNDLE)).scalars())
        if not bundles:
            return []
        return self._all(model.Member, sa.select(t.member).where(c.bundle_id.in_(bundles)).order_by(c.bundle_id, c.offset_bytes))

    def members_of(self, bundle_id: int) -> list[model.Member]:
        """What stands in a bundle, in order."""
        c = t.member.c
        return self._all(model.Member, sa.select(t.member).where(c.bundle_id == bundle_id).order_by(c.offset_bytes))

    def offset_in(self, bundle_id: int, object_id: int) -> int | None:
        """Where in a bundle an object's bytes begin; None when they do not stand there."""
        c = t.member.c
        return self.connection.execute(sa.select(c.offset_bytes).where(c.bundle_id == bundle_id, c.object_id == object_id)).scalar()

    def copies(self, dataset_id: int, tier: str | None = None) -> list[model.Copy]:
        """The copies of a dataset's objects (in one tier) that are not dropped."""
        select = sa.select(t.copy).join(t.object_).where(t.object_.c.dataset_id == dataset_id, t.copy.c.dropped_at.is_(None))
        if tier is not None:
            select = select.where(t.copy.c.tier == tier)
        return self._all(model.Copy, select.order_by(t.copy.c.id))

    def copy(self, copy_id: int) -> model.Copy:
        found = self._one(model.Copy, sa.select(t.copy).where(t.copy.c.id == copy_id))
        assert found is not None
        return found

    def copies_of(self, object_id: int) -> list[model.Copy]:
        """An object's own copies that are not dropped."""
        return self._all(model.Copy, sa.select(t.copy).where(t.copy.c.object_id == object_id, t.copy.c.dropped_at.is_(None)))

    def copies_with(self, object_id: int) -> list[model.Copy]:
        """The copies in which an object's bytes stand: its own, and those of its bundles."""
        bundles = sa.select(t.member.c.bundle_id).where(t.member.c.object_id == object_id)
        select = sa.select(t.copy).where(sa.or_(t.copy.c.object_id == object_id, t.copy.c.object_id.in_(bundles)), t.copy.c.dropped_at.is_(None))
        return self._all(model.Copy, select.order_by(t.copy.c.id))

    def is_a_copy(self, tier: str, key: str, version_id: str) -> bool:
        """Whether the ledger counts on this version, or keeps it because it may be the last: then nobody may clear it away as a leftover."""
        c, f = t.copy.c, t.finding.c
        select = sa.select(c.id).where(c.tier == tier, c.key == key, c.version_id == version_id, c.dropped_at.is_(None))
        kept = sa.select(f.id).where(f.tier == tier, f.key == key, f.version_id == version_id, f.kind.in_(t.KEPT), f.resolved_at.is_(None))
        return any(self.connection.execute(query).first() is not None for query in (select, kept))

    def prove_copy(self, copy_id: int, proof: model.Proof) -> None:
        """A copy was proven anew."""
        self.connection.execute(sa.update(t.copy).where(t.copy.c.id == copy_id).values(proof=proof, proven_at=self.at))

    def lose_copy(self, copy: model.Copy, dataset_id: int, why: str) -> None:
        """A copy is not in the store, or not what it should be: it no longer counts, and is made anew if it is claimed."""
        self.connection.execute(sa.update(t.copy).where(t.copy.c.id == copy.id).values(dropped_at=self.at))
        self.relocate(dataset_id, copy.tier)
        self.event(dataset_id, "copy.lost", {"copy_id": copy.id, "tier": copy.tier, "key": copy.key, "version_id": copy.version_id, "why": why})
        self.look(dataset_id)

    # what the ledger remembers of itself

    def note(self, name: str) -> str | None:
        return self.connection.execute(sa.select(t.note.c.value).where(t.note.c.name == name)).scalar()

    def set_note(self, name: str, value: str) -> None:
        if not self.connection.execute(sa.update(t.note).where(t.note.c.name == name).values(value=value)).rowcount:
            self.connection.execute(sa.insert(t.note).values(name=name, value=value))

    def events(self, dataset_id: int) -> list[model.Event]:
        return self._all(model.Event, sa.select(t.event).where(t.event.c.dataset_id == dataset_id).order_by(t.event.c.seq))
