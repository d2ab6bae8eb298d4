"""Holds in the ledger: a person's claims on hot, each with a reason and an end.

A hold whose `restore_id` is set waits for that restore and claims nothing; it counts from the moment the restore is ready. Law: a hold is
never removed, only ended, and each of its changes is an event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from archiver import model, policy
from archiver.errors import NotFound
from archiver.ledger import tables as t
from archiver.ledger.base import Base

_c = t.claim.c
_HOLD = _c.kind == model.ClaimKind.HOLD


class Holds(Base):
    """Writing holds down, and what they add up to."""

    def add_hold(
        self, dataset_id: int, user: str, reason: str, until: datetime, files_glob: str | None, restore_id: int | None = None
    ) -> model.Claim:
        """A hold on the files of a dataset that match; with `restore_id` it waits for that restore."""
        self.hold_still(dataset_id)  # the dataset before its claims, as everywhere: nobody waits for each other
        hold_id = self._insert(
            t.claim,
            dataset_id=dataset_id,
            tier=policy.HOT,
            kind=model.ClaimKind.HOLD,
            restore_id=restore_id,
            user=user,
            reason=reason,
            created_at=self.at,
            until=until,
            files_glob=files_glob,
        )
        self._happened(dataset_id, "placed", hold_id, user=user, until=_text(until), reason=reason, files_glob=files_glob, restore_id=restore_id)
        self.look(dataset_id)
        return self.hold(hold_id)

    def hold(self, hold_id: int) -> model.Claim:
        """Raises `NotFound`."""
        found = self._one(model.Claim, sa.select(t.claim).where(_c.id == hold_id, _HOLD))
        if found is None:
            raise NotFound(f"There is no hold number {hold_id}.", "Look it up in the list of holds.")
        return found

    def hold_like(self, dataset_id: int, user: str, files_glob: str | None) -> model.Claim | None:
        """This person's hold on the same files, if it has not ended."""
        same = _c.files_glob.is_(None) if files_glob is None else _c.files_glob == files_glob
        return self._one(model.Claim, sa.select(t.claim).where(_HOLD, _c.dataset_id == dataset_id, _c.user == user, same, *self._lasting()))

    def change_hold(self, hold: model.Claim, until: datetime, reason: str) -> model.Claim:
        """Another end, or another reason."""
        self.hold_still(hold.dataset_id)
        self.connection.execute(sa.update(t.claim).where(_c.id == hold.id).values(until=until, reason=reason))
        self._happened(hold.dataset_id, "changed", hold.id, until=_text(until), reason=reason)
        self.look(hold.dataset_id)
        return self.hold(hold.id)

    def end_hold(self, hold: model.Claim, why: str) -> model.Claim:
        """It claims nothing any more; what it was stays."""
        self._end([hold], why)
        return self.hold(hold.id)

    def lapse_holds(self, dataset_id: int) -> None:
        """End those whose time is over."""
        over = sa.select(t.claim).where(_HOLD, _c.dataset_id == dataset_id, _c.ended_at.is_(None), _c.until <= self.at)
        self._end(self._all(model.Claim, over.order_by(_c.id)), "its time is over")

    # holds that wait for a restore

    def activate_holds(self, restore_id: int) -> None:
        """The restore is ready: from now on the holds that waited for it count."""
        for hold in self._waiting_for(restore_id):
            self.hold_still(hold.dataset_id)
            self.connection.execute(sa.update(t.claim).where(_c.id == hold.id).values(restore_id=None))
            self._happened(hold.dataset_id, "began", hold.id, restore_id=restore_id)
            self.look(hold.dataset_id)

    def end_holds(self, restore_id: int) -> None:
        """The restore was denied, cancelled or failed: the holds that waited for it end."""
        self._end(self._waiting_for(restore_id), f"restore {restore_id} did not bring the data back")

    def _waiting_for(self, restore_id: int) -> list[model.Claim]:
        return self._all(model.Claim, sa.select(t.claim).where(_HOLD, _c.restore_id == restore_id, _c.ended_at.is_(None)).order_by(_c.id))

    # lists and sums

    def holds(
        self,
        projects: Sequence[str] | None,
        dataset_id: int | None,
        user: str | None,
        limit: int | None,
        *,
        ended: bool = False,
        own: Sequence[str] | None = None,
        viewer: str = "",
    ) -> list[model.Claim]:
        """Holds in these projects (None: all), newest first; outside of the `viewer`'s `own` ones (None: all are) only theirs.

        `ended`: also those that have.
        """
        select = sa.select(t.claim).join(t.dataset, t.dataset.c.id == _c.dataset_id).where(_HOLD).order_by(_c.id.desc()).limit(limit)
        if projects is not None:
            select = select.where(t.dataset.c.project.in_(projects))
        if own is not None:
            select = select.where(sa.or_(t.dataset.c.project.in_(own), _c.user == viewer))
        if dataset_id is not None:
            select = select.where(_c.dataset_id == dataset_id)
        if user is not None:
            select = select.where(_c.user == user)
        return self._all(model.Claim, select if ended else select.where(*self._lasting()))

    def standing_holds(self, limit: int, after: tuple[datetime, int] | None = None) -> list[model.Claim]:
        """Holds that have not ended, those that end first before others: after an (end, number)."""
        select = sa.select(t.claim).where(_HOLD, *self._lasting())
        if after is not None:
            until, number = after
            select = select.where(_c.until >= until, sa.or_(_c.until > until, _c.id > number))
        return self._all(model.Claim, select.order_by(_c.until, _c.id).limit(limit))

    def held_by(self, holds: Collection[model.Claim]) -> dict[int, tuple[int, int]]:
        """Files and bytes that each of these holds means, by its number; the files of datasets that are held in part are read once."""
        whole = {h.dataset_id for h in holds if h.files_glob is None}
        d, f = t.dataset.c, t.file.c
        select = sa.select(d.id, d.file_count, d.size_bytes).where(d.id.in_(whole))
        sums = {(row[0], None): (row[1], row[2]) for row in self.connection.execute(select)}
        globs: dict[int, set[str]] = {}
        for hold in holds:
            if hold.files_glob is not None:
                globs.setdefault(hold.dataset_id, set()).add(hold.files_glob)
        parts: dict[tuple[int, str | None], tuple[int, int]] = {(i, glob): (0, 0) for i, several in globs.items() for glob in several}
        files = sa.select(f.dataset_id, f.path, f.size_bytes).where(f.dataset_id.in_(globs), f.state != model.FileState.ERASED)
        for dataset_id, path, size in self.connection.execute(files) if globs else ():
            for glob in globs[dataset_id]:
                if policy.matches(path, glob):
                    n, before = parts[dataset_id, glob]
                    parts[dataset_id, glob] = (n + 1, before + size)
        return {h.id: (sums | parts)[h.dataset_id, h.files_glob] for h in holds}

    def held_bytes(self, *, user: str | None = None, project: str | None = None) -> int:
        """What holds keep in hot, each file once: of one person, or of a project.

        A hold that waits is left out, and so is what an open restore of the same person or project covers: it is counted there.
        """
        whose = self._whose(_c.user, user, project)
        select = sa.select(_c.dataset_id, _c.files_glob).join(t.dataset, t.dataset.c.id == _c.dataset_id)
        held = _globs(self.connection.execute(select.where(_HOLD, _c.restore_id.is_(None), *self._lasting(), *whose)))
        r = t.restore.c
        open_restores = sa.select(r.dataset_id, r.files_glob).join(t.dataset, t.dataset.c.id == r.dataset_id).where(r.dataset_id.in_(held))
        states = r.state.in_(model.active(model.RESTORE_CHANGES))
        counted = _globs(self.connection.execute(open_restores.where(states, *self._whose(r.user, user, project))))
        return sum(self._bytes(dataset_id, globs, counted.get(dataset_id, ())) for dataset_id, globs in held.items())

    def _bytes(self, dataset_id: int, globs: Collection[str | None], without: Collection[str | None]) -> int:
        """Bytes of a dataset's files that match one of `globs` and none of `without`."""
        f = t.file.c
        return sum(
            size
            for path, size in self.connection.execute(
                sa.select(f.path, f.size_bytes).where(f.dataset_id == dataset_id, f.state != model.FileState.ERASED)
            )
            if any(policy.matches(path, glob) for glob in globs) and not any(policy.matches(path, glob) for glob in without)
        )

    @staticmethod
    def _whose(column: sa.ColumnElement[str], user: str | None, project: str | None) -> list[sa.ColumnElement[bool]]:
        return [*([column == user] if user is not None else []), *([t.dataset.c.project == project] if project is not None else [])]

    def _lasting(self) -> list[sa.ColumnElement[bool]]:
        return [_c.ended_at.is_(None), _c.until > self.at]

    def _end(self, holds: Iterable[model.Claim], why: str) -> None:
        for hold in holds:
            self.hold_still(hold.dataset_id)
            self.connection.execute(sa.update(t.claim).where(_c.id == hold.id).values(ended_at=self.at))
            self._happened(hold.dataset_id, "ended", hold.id, why=why)
            self.look(hold.dataset_id)

    def _happened(self, dataset_id: int, what: str, hold_id: int, **detail: str | int | None) -> None:
        self.event(dataset_id, f"hold.{what}", {"hold_id": hold_id, **{k: v for k, v in detail.items() if v is not None}})
        self.committed_states.append(f"hold.{what}")


def _globs(rows: Iterable[tuple[int, str | None]]) -> dict[int, list[str | None]]:
    found: dict[int, list[str | None]] = {}
    for dataset_id, glob in rows:
        found.setdefault(dataset_id, []).append(glob)
    return found


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
