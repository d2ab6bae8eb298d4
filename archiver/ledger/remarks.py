"""What people say of datasets: tags, comments, and what was made of what.

Law: nobody's words are overwritten by another; each change has its event, with who. A dataset's location records carry its tags and comments,
so that a ledger made again from the stores has them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.errors import NotFound
from archiver.ledger import tables as t
from archiver.ledger.indexing import Indexing


class Remarks(Indexing):
    """Reading and writing tags, comments and lineage."""

    # tags

    def tags_of(self, dataset_ids: Iterable[int]) -> dict[int, list[str]]:
        """The tags of these datasets, in order."""
        found: dict[int, list[str]] = {i: [] for i in dataset_ids}
        if not found:
            return {}
        select = sa.select(t.tag.c.dataset_id, t.tag.c.tag).where(t.tag.c.dataset_id.in_(list(found))).order_by(t.tag.c.tag)
        for dataset_id, tag in self.connection.execute(select):
            found[dataset_id].append(tag)
        return found

    def set_tags(self, dataset: model.Dataset, tags: Collection[str]) -> None:
        """From now on the dataset has these tags, and no others."""
        self.hold_still(dataset.id)
        had = set(self.tags_of([dataset.id])[dataset.id])
        added, removed = sorted(set(tags) - had), sorted(had - set(tags))
        if not added and not removed:
            return
        if removed:
            self.connection.execute(sa.delete(t.tag).where(t.tag.c.dataset_id == dataset.id, t.tag.c.tag.in_(removed)))
        if added:
            new = [{"dataset_id": dataset.id, "tag": tag, "project": dataset.project, "place": dataset.place} for tag in added]
            self.connection.execute(sa.insert(t.tag), new)
        self._remarked(dataset.id, "dataset.tagged", {"added": added, "removed": removed})

    # comments

    def comments(self, dataset_id: int, after_id: int = 0, limit: int | None = None) -> list[model.Comment]:
        """Oldest first."""
        c = t.comment.c
        return self._all(model.Comment, sa.select(t.comment).where(c.dataset_id == dataset_id, c.id > after_id).order_by(c.id).limit(limit))

    def comment_counts(self, dataset_ids: Iterable[int]) -> dict[int, int]:
        c, ids = t.comment.c, list(dataset_ids)
        if not ids:
            return {}
        rows = self.connection.execute(sa.select(c.dataset_id, sa.func.count()).where(c.dataset_id.in_(ids)).group_by(c.dataset_id))
        return {row[0]: row[1] for row in rows}

    def comment(self, comment_id: int) -> model.Comment:
        """Raises `NotFound`."""
        found = self._one(model.Comment, sa.select(t.comment).where(t.comment.c.id == comment_id))
        if found is None:
            raise NotFound(f"There is no comment number {comment_id}.", "Look it up in the dataset's comments.")
        return found

    def add_comment(self, dataset_id: int, user: str, text: str) -> model.Comment:
        comment_id = self._insert(t.comment, dataset_id=dataset_id, user=user, text=text, created_at=self.at)
        self._remarked(dataset_id, "comment.added", {"comment_id": comment_id, "text": text})
        return self.comment(comment_id)

    def change_comment(self, comment: model.Comment, text: str) -> model.Comment:
        self.hold_still(comment.dataset_id)
        self.connection.execute(sa.update(t.comment).where(t.comment.c.id == comment.id).values(text=text, changed_at=self.at))
        self._remarked(comment.dataset_id, "comment.changed", {"comment_id": comment.id, "text": text})
        return self.comment(comment.id)

    def remove_comment(self, comment: model.Comment) -> None:
        self.hold_still(comment.dataset_id)
        self.connection.execute(sa.delete(t.comment).where(t.comment.c.id == comment.id))
        self._remarked(comment.dataset_id, "comment.removed", {"comment_id": comment.id})

    def _remarked(self, dataset_id: int, kind: str, detail: Mapping[str, Any]) -> None:
        """It is told, found, and due in the dataset's location records."""
        self.event(dataset_id, kind, detail)
        self.index(dataset_id)
        self.connection.execute(sa.update(t.location).where(t.location.c.dataset_id == dataset_id).values(dirty_at=self.at))

    def remarks(self, dataset_id: int) -> dict[str, Any]:
        """Tags and comments, JSON-ready."""
        comments = [
            {
                "user": c.user,
                "text": c.text,
                "created_at": c.created_at.isoformat(),
                **({"changed_at": c.changed_at.isoformat()} if c.changed_at else {}),
            }
            for c in self.comments(dataset_id)
        ]
        return {"tags": self.tags_of([dataset_id])[dataset_id], "comments": comments}

    def again_remarks(self, dataset_id: int, tags: Iterable[str], comments: Iterable[tuple[str, str, datetime, datetime | None]]) -> None:
        """In a rebuilt ledger: what a location record tells. `comments`: (user, text, created, changed)."""
        dataset = self._one(model.Dataset, sa.select(t.dataset).where(t.dataset.c.id == dataset_id))
        assert dataset is not None
        for tag in set(tags):
            self.connection.execute(sa.insert(t.tag).values(dataset_id=dataset_id, tag=tag, project=dataset.project, place=dataset.place))
        for user, text, created_at, changed_at in comments:
            self._insert(t.comment, dataset_id=dataset_id, user=user, text=text, created_at=created_at, changed_at=changed_at)
        self.index(dataset_id)

    # lineage

    def derive(self, dataset_id: int, parents: Iterable[int]) -> None:
        """The dataset was made of these."""
        for parent_id in dict.fromkeys(parents):
            self.connection.execute(sa.insert(t.lineage).values(dataset_id=dataset_id, parent_id=parent_id))

    def parents(self, dataset_ids: Collection[int]) -> list[tuple[int, int]]:
        """(dataset, what it was made of), of these datasets."""
        c = t.lineage.c
        select = sa.select(c.dataset_id, c.parent_id).where(c.dataset_id.in_(list(dataset_ids))).order_by(c.dataset_id, c.parent_id)
        return [(row[0], row[1]) for row in self.connection.execute(select)]

    def children(self, dataset_ids: Collection[int]) -> list[tuple[int, int]]:
        """(what was made of it, dataset), of these datasets."""
        c = t.lineage.c
        select = sa.select(c.dataset_id, c.parent_id).where(c.parent_id.in_(list(dataset_ids))).order_by(c.dataset_id, c.parent_id)
        return [(row[0], row[1]) for row in self.connection.execute(select)]
