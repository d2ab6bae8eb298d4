"""Addresses, and messages to people: what was told to whom, and what is still to be sent.

Law: a message is written down before it is sent, at most one of a kind per person, day and channel (an index sees to it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import Base
from archiver.model import NoticeState

NOTEBOOK = "notebook"
_BATCH = 500
_c = t.notice.c


class Messages(Base):
    """Reading and writing addresses and messages."""

    def address(self, user: str) -> model.Address | None:
        return self._one(model.Address, sa.select(t.address).where(t.address.c.user == user))

    def set_address(self, address: model.Address) -> None:
        values = asdict(address)
        if not self.connection.execute(sa.update(t.address).where(t.address.c.user == address.user).values(**values)).rowcount:
            self.connection.execute(sa.insert(t.address).values(**values))

    # writing messages down

    def told(self, user: str, kind: str, day: str, channel: str = NOTEBOOK) -> bool:
        """Whether this message was written down before."""
        same = sa.and_(_c.user == user, _c.kind == kind, _c.day == day, _c.channel == channel)
        return self.connection.execute(sa.select(_c.id).where(same)).first() is not None

    def add_notice(self, user: str, kind: str, day: str, channel: str, subject: str, body: dict[str, Any]) -> None:
        """Write a message down, unless it was before."""
        if self.told(user, kind, day, channel):
            return
        self._insert(
            t.notice,
            user=user,
            kind=kind,
            day=day,
            channel=channel,
            subject=subject,
            body=body,
            state=NoticeState.WAITING,
            attempts=0,
            next_try_at=self.at,
            created_at=self.at,
            updated_at=self.at,
        )

    def notices_of(self, kind: str, since: datetime) -> list[model.Notice]:
        """What was told in this kind (or one that begins so), as it stands in notebooks."""
        like = sa.or_(_c.kind == kind, _c.kind.startswith(f"{kind}#", autoescape=True))
        return self._all(model.Notice, sa.select(t.notice).where(like, _c.channel == NOTEBOOK, _c.created_at >= since).order_by(_c.id))

    # sending

    def notices_due(self, channel: str, limit: int) -> list[model.Notice]:
        """Messages to be sent now, oldest first."""
        due = sa.select(t.notice).where(_c.channel == channel, _c.state == NoticeState.WAITING, _c.next_try_at <= self.at)
        return self._all(model.Notice, due.order_by(_c.id).limit(limit))

    def end_notice(self, notice: model.Notice, to: NoticeState, error: str | None = None) -> None:
        """It was handed over, or given up."""
        self._change(notice, state=to, attempts=notice.attempts + 1, error=error)

    def put_off(self, notice: model.Notice, until: datetime, error: str, *, attempts: int) -> None:
        """It will be tried again."""
        self._change(notice, next_try_at=until, error=error, attempts=attempts)

    def _change(self, notice: model.Notice, **values: Any) -> None:
        waiting = sa.and_(_c.id == notice.id, _c.state == NoticeState.WAITING)
        self.connection.execute(sa.update(t.notice).where(waiting).values(updated_at=self.at, **values))

    # in the notebook and on the page

    def messages(self, user: str, limit: int) -> list[model.Notice]:
        """A person's messages, newest first."""
        return self._all(model.Notice, sa.select(t.notice).where(_c.user == user, _c.channel == NOTEBOOK).order_by(_c.id.desc()).limit(limit))

    def unseen(self, user: str) -> int:
        """How many messages a person has not seen."""
        new = sa.and_(_c.user == user, _c.channel == NOTEBOOK, _c.state == NoticeState.WAITING)
        return int(self.connection.execute(sa.select(sa.func.count()).select_from(t.notice).where(new)).scalar_one())

    def seen(self, user: str, up_to: int) -> None:
        """A person has seen the messages up to this number."""
        new = sa.and_(_c.user == user, _c.channel == NOTEBOOK, _c.state == NoticeState.WAITING, _c.id <= up_to)
        self.connection.execute(sa.update(t.notice).where(new).values(state=NoticeState.SENT, updated_at=self.at))

    # what there is to tell

    def changing_before(self, horizon: datetime) -> Iterator[list[model.Dataset]]:
        """Closed datasets whose claims change by time alone before `horizon`, in batches."""
        c, last = t.dataset.c, 0
        while True:
            select = sa.select(t.dataset).where(c.look_at <= horizon, c.state == model.DatasetState.CLOSED, c.id > last).order_by(c.id).limit(_BATCH)
            page = self._all(model.Dataset, select)
            if not page:
                return
            yield page
            last = page[-1].id

    def events_since(self, event_id: int, kinds: Sequence[str], since: datetime | None, limit: int) -> list[model.Event]:
        """Events of these kinds in all datasets after a number (and, if given, a time), oldest first."""
        e = t.event.c
        select = sa.select(t.event).where(e.id > event_id, e.kind.in_(kinds)).order_by(e.id).limit(limit)
        return self._all(model.Event, select if since is None else select.where(e.at >= since))
