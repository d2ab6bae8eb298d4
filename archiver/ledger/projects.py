"""Projects in the ledger: their facts, which of them are public, and who changed what.

Law: whether a project's data are public is asked here and nowhere else. Each change of a fact is written down with who made it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.errors import NotFound
from archiver.ledger import tables as t
from archiver.ledger.base import Base, batches

FACTS = ("title", "pi", "starts_at", "ends_at", "embargo_until", "public_after", "quota_bytes")
"""What is said of a project, and may be changed."""
_NONE = dict.fromkeys(FACTS)
_P = t.project.c
_AT = sa.bindparam("at", type_=t.UtcDateTime)
_PUBLIC = sa.and_(_P.public_after.is_not(None), _P.public_after <= _AT, sa.or_(_P.embargo_until.is_(None), _P.embargo_until <= _AT))
_KNOWN = sa.select(_P.name, _PUBLIC.label("public")).order_by(_P.name)


class Projects(Base):
    """Reading and writing projects."""

    _known: Mapping[str, bool] | None = None

    def projects(self) -> list[model.Project]:
        return self._all(model.Project, sa.select(t.project).order_by(_P.name))

    def project(self, name: str) -> model.Project:
        """Raises `NotFound`."""
        found = self._one(model.Project, sa.select(t.project).where(_P.name == name))
        if found is None:
            raise NotFound(f"There is no project {name!r}.", "`archiver projects list` names them.")
        return found

    def projects_after(self, name: str, limit: int) -> list[model.Project]:
        """Projects by name, those after this one."""
        return self._all(model.Project, sa.select(t.project).where(_P.name > name).order_by(_P.name).limit(limit))

    def holdings(self, names: Collection[str] | None = None) -> dict[str, tuple[int, int]]:
        """(closed datasets, bytes received) of each project that has any; of these alone, if they are named."""
        d, f = t.dataset.c, t.file.c
        received = sa.and_(d.state == model.DatasetState.OPEN, f.state == model.FileState.RECEIVED)
        whole = sa.select(d.project, sa.func.count(), sa.func.sum(d.size_bytes)).where(d.state == model.DatasetState.CLOSED)
        coming = sa.select(d.project, sa.literal(0), sa.func.sum(f.size_bytes)).join_from(t.file, t.dataset).where(received)
        found: dict[str, tuple[int, int]] = {}
        for select in (whole, coming):
            asked = select if names is None else select.where(d.project.in_(names))
            for project, datasets, size in self.connection.execute(asked.group_by(d.project)):
                so_far = found.get(project, (0, 0))
                found[project] = (so_far[0] + datasets, so_far[1] + int(size or 0))
        return found

    def project_bytes(self, project: str) -> int:
        """Bytes of what is received of a project."""
        return self.holdings([project]).get(project, (0, 0))[1]

    def add_project(self, name: str, title: str) -> None:
        """Add a project, or give it a new title."""
        self.put_project(name, {"title": title})

    def put_project(self, name: str, facts: Mapping[str, Any]) -> None:
        """A project has these facts from now on (and keeps its others); one that is not there is added. What changes is written down."""
        self.put_projects({name: facts})

    def put_projects(self, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        """The same for many, in a few queries however many they are."""
        had = {p.name: p for part in batches(sorted(wanted)) for p in self._all(model.Project, self._held_still(part))}
        new = [{**_NONE, "name": name, "title": name, "created_at": self.at, **facts} for name, facts in wanted.items() if name not in had]
        if new:
            self.connection.execute(sa.insert(t.project), new)
        changes, rows = [], []
        for name, facts in wanted.items():
            old = had.get(name)
            changed = {fact: value for fact, value in facts.items() if old is None or getattr(old, fact) != value}
            if old is not None and changed:
                rows.append({"of": name, **{fact: changed.get(fact, getattr(old, fact)) for fact in FACTS}})
            if old is None or changed:
                said = {fact: [_plain(getattr(old, fact, None)), _plain(value)] for fact, value in changed.items()}
                changes.append({"project": name, "at": self.at, "actor": self.actor, "detail": said})
        self._update_each(t.project, _P.name, rows)
        if changes:
            self.connection.execute(sa.insert(t.project_change).inline(), changes)

    def _held_still(self, names: Sequence[str]) -> sa.Select[Any]:
        """Projects that nobody else changes until this transaction ends. (On SQLite a writer is alone.)"""
        return sa.select(t.project).where(_P.name.in_(names)).order_by(_P.name).with_for_update(key_share=True)

    def project_changes(self, name: str, limit: int) -> list[model.ProjectChange]:
        """The last changes of a project's facts, newest first."""
        c = t.project_change.c
        return self._all(model.ProjectChange, sa.select(t.project_change).where(c.project == name).order_by(c.id.desc()).limit(limit))

    def public_projects(self) -> tuple[str, ...]:
        """Projects whose data all who are signed in may read: their day has come, and no embargo goes on."""
        return tuple(name for name, public in self.known_projects().items() if public)

    def known_projects(self) -> Mapping[str, bool]:
        """The name of every project, in order, and whether its data are public. A transaction that only reads sees one moment, and looks once."""
        if self.writing or self._known is None:
            self._known = {name: bool(public) for name, public in self.connection.execute(_KNOWN, {"at": self.at}).all()}
        return self._known

    def make_public(self, project: str, after: datetime | None) -> None:
        """From `after` on its data are public, once an embargo is over too; None: they are not. Raises `NotFound`."""
        self.put_project(self.project(project).name, {"public_after": after})


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
