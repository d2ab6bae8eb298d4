"""Quotes, quotas and what became of promises: what a restore is measured by before it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base
from archiver.model import RecallState, RestoreState
from archiver.promises import Outcome

_KEPT_AFTER_END = timedelta(days=1)  # so that a quote that is too old can be told from one that never was


class Quotes(Base):
    """Reading and writing what restores are measured by."""

    # quotes

    def add_quote(self, quote_id: str, user: str, valid: timedelta, selection: Mapping[str, Any], answer: Mapping[str, Any]) -> model.Quote:
        """Write down what was said; quotes that ended long ago go."""
        self.connection.execute(sa.delete(t.quote).where(t.quote.c.expires_at < self.at - _KEPT_AFTER_END))
        quote = model.Quote(quote_id, user, self.at, self.at + valid, selection, answer)
        self.connection.execute(sa.insert(t.quote).values(**quote.__dict__))
        return quote

    def quote(self, quote_id: str, user: str) -> model.Quote | None:
        """This user's quote of that id; another's is as if it were not."""
        return self._one(model.Quote, sa.select(t.quote).where(t.quote.c.id == quote_id, t.quote.c.user == user))

    def restores_from(self, quote_id: str) -> list[model.Restore]:
        """The restores that were asked for by this quote."""
        return self._all(model.Restore, sa.select(t.restore).where(t.restore.c.quote_id == quote_id).order_by(t.restore.c.id))

    # quotas

    def lock_quotas(self) -> None:
        """From here to the end of the transaction nobody else asks for anything: two that fit one by one may not fit together.

        SQLite lets one writer in at a time anyway; PostgreSQL is given rows that all who ask lock in the same order.
        """
        self.connection.execute(sa.select(t.project.c.name).order_by(t.project.c.name).with_for_update(key_share=True)).all()

    def quota(self, kind: str, name: str) -> model.Quota | None:
        """The limit that an admin set for this user or project, if one did."""
        return self._one(model.Quota, sa.select(t.quota).where(t.quota.c.kind == kind, t.quota.c.name == name))

    def quotas(self) -> list[model.Quota]:
        return self._all(model.Quota, sa.select(t.quota).order_by(t.quota.c.kind, t.quota.c.name))

    def set_quota(self, kind: str, name: str, limit_bytes: int | None) -> None:
        self.drop_quota(kind, name)
        self.connection.execute(sa.insert(t.quota).values(kind=kind, name=name, limit_bytes=limit_bytes))

    def drop_quota(self, kind: str, name: str) -> None:
        """The default of the settings counts again."""
        self.connection.execute(sa.delete(t.quota).where(t.quota.c.kind == kind, t.quota.c.name == name))

    def live_restores(self, kind: str, name: str) -> list[model.Restore]:
        """A user's or project's restores that have not ended, largest first."""
        c = t.restore.c
        mine = c.user == name if kind == "user" else t.dataset.c.project == name
        select = sa.select(t.restore).join(t.dataset, t.dataset.c.id == c.dataset_id).where(mine, c.state.in_(model.active(model.RESTORE_CHANGES)))
        return self._all(model.Restore, select.order_by(c.size_bytes.desc(), c.id))

    def undecided(self, dataset_id: int | None = None, limit: int = 20, *, after_id: int = 0) -> list[model.Restore]:
        """Restores (of a dataset) that wait for an admin, oldest first."""
        c = t.restore.c
        select = sa.select(t.restore).where(c.state == RestoreState.AWAITING_APPROVAL, c.id > after_id).order_by(c.id).limit(limit)
        return self._all(model.Restore, select if dataset_id is None else select.where(c.dataset_id == dataset_id))

    # what is known already

    def recalls_known(self, copy_ids: Iterable[int]) -> set[int]:
        """Those of these copies that are being recalled, or are readable."""
        select = sa.select(t.recall.c.copy_id).where(t.recall.c.copy_id.in_(list(copy_ids)), t.recall.c.state != RecallState.LAPSED)
        return set(self.connection.execute(select).scalars())

    # promises

    def outcomes(self, tier: str | None = None, limit: int = 1000) -> list[Outcome]:
        """What became of the last restores that had to come from a colder tier: those that came back, and those that are late."""
        r = t.restore.c
        # An approval takes a person's time: an approved restore begins with its claim.
        began = sa.select(sa.func.min(t.claim.c.created_at, type_=t.UtcDateTime)).where(t.claim.c.restore_id == r.id).scalar_subquery()
        late = sa.or_(r.state == RestoreState.FAILED, sa.and_(r.ended_at.is_(None), r.promised_by < self.at))
        select = (
            sa.select(r.from_tier, r.size_bytes, r.requested_at, began, r.approved_by, r.ready_at, r.promised_by, r.state, r.error)
            .where(
                r.from_tier.is_not(None),
                r.from_tier != "hot",
                r.state.not_in([RestoreState.AWAITING_APPROVAL, RestoreState.DENIED]),
                sa.or_(r.ready_at.is_not(None), late),
            )
            .order_by(r.id.desc())
            .limit(limit)
        )
        found = []
        for source, size, asked, claimed, approved, ready, promised, state, error in self.connection.execute(
            select if tier is None else select.where(r.from_tier == tier)
        ):
            whole = ready is not None and state is not RestoreState.PARTLY_READY and error is None
            start = claimed if approved and claimed else asked
            found.append(Outcome(source, size, ready - start if whole else None, kept=whole and ready <= promised))
        return found
