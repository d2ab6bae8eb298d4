"""Projects in the ledger: their facts, which of them are public, and who changed what.

Law: whether a project's data are public is asked here and nowhere else. Each change of a fact is written down with who made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.errors import NotFound
from archiver.ledger import tables as t
from archiver.ledger.base import Base

_P = t.project.c


class Projects(Base):
    """Reading and writing projects."""

    def projects(self) -> list[model.Project]:
        return self._all(model.Project, sa.select(t.project).order_by(_P.name))

    def project(self, name: str) -> model.Project:
        """Raises `NotFound`."""
        found = self._one(model.Project, sa.select(t.project).where(_P.name == name))
        if found is None:
            raise NotFound(f"There is no project {name!r}.", "`archiver projects list` names them.")
        return found

    def add_project(self, name: str, title: str) -> None:
        """Add a project, or give it a new title."""
        self.put_project(name, {"title": title})

    def put_project(self, name: str, facts: Mapping[str, Any]) -> None:
        """A project has these facts from now on (and keeps its others); one that is not there is added. What changes is written down."""
        had = self._one(model.Project, sa.select(t.project).where(_P.name == name))
        changed = {fact: value for fact, value in facts.items() if had is None or getattr(had, fact) != value}
        if had is None:
            self.connection.execute(sa.insert(t.project).values(name=name, created_at=self.at, **{"title": name, **facts}))
        elif changed:
            self.connection.execute(sa.update(t.project).where(_P.name == name).values(**changed))
        else:
            return
        said = {fact: [_plain(getattr(had, fact, None)), _plain(value)] for fact, value in changed.items()}
        self._insert(t.project_change, project=name, at=self.at, actor=self.actor, detail=said)

    def project_changes(self, name: str, limit: int) -> list[model.ProjectChange]:
        """The last changes of a project's facts, newest first."""
        c = t.project_change.c
        return self._all(model.ProjectChange, sa.select(t.project_change).where(c.project == name).order_by(c.id.desc()).limit(limit))

    def public_projects(self) -> tuple[str, ...]:
        """Projects whose data all who are signed in may read: their day has come, and no embargo goes on."""
        over = sa.or_(_P.embargo_until.is_(None), _P.embargo_until <= self.at)
        return tuple(self.connection.execute(sa.select(_P.name).where(_P.public_after <= self.at, over).order_by(_P.name)).scalars())

    def make_public(self, project: str, after: datetime | None) -> None:
        """From `after` on its data are public, once an embargo is over too; None: they are not. Raises `NotFound`."""
        self.put_project(self.project(project).name, {"public_after": after})


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
