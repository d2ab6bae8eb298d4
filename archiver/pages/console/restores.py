"""`/admin/restores`: which wait for an admin's yes or no, which are under way or there, and which have ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from archiver import asking, describe, restore
from archiver.api import access, listing, models
from archiver.api.access import Here
from archiver.archive import Archive
from archiver.auth import Identity
from archiver.errors import PublicError
from archiver.ledger import Transaction
from archiver.model import ClaimKind, Restore, RestoreState
from archiver.pages.console.shared import FIRST, LIMIT, Acting, Ending, Looking, Question, act, ask, show
from archiver.pages.sessions import Told
from archiver.pages.views import Visitor

router = APIRouter()

_PATH = "/restores"
Group = Literal["waiting", "running", "ended"]
_GROUPS: Sequence[Group] = ("waiting", "running", "ended")


@router.get("/admin/restores")
def restores(request: Request, archive: Here, visitor: Looking, group: Group | None = None, cursor: models.Text = "") -> Response:
    """All groups, or one from `cursor` on."""
    return _page(request, archive, visitor, None, group, cursor)


def _page(request: Request, archive: Archive, visitor: Visitor, failed: PublicError | None, group: Group | None = None, cursor: str = "") -> Response:
    after = listing.after(cursor or None)
    limit = FIRST if group is None else LIMIT
    with archive.ledger.read() as tx:
        found = {name: _group(tx, name, limit + 1, after) for name in (_GROUPS if group is None else (group,))}
        known = tx.datasets_numbered({r.dataset_id for several in found.values() for r in several})
        groups = [
            {
                "name": name,
                "items": [_row(tx, r, known[r.dataset_id].full_name) for r in several[:limit]],
                "next": listing.following(several[limit - 1].id) if len(several) > limit else None,
            }
            for name, several in found.items()
        ]
        room = asking.room(tx, archive.settings) if found.get("waiting") else None
    return show(request, visitor, "restores", failed, groups=groups, group=group, cursor=cursor, room=room)


def _group(tx: Transaction, name: Group, limit: int, after: int) -> list[Restore]:
    """What waits is told oldest first, all else newest first."""
    if name == "waiting":
        return tx.undecided(None, limit, after_id=after)
    return tx.restores_going(limit, after or None) if name == "running" else tx.restores_ended(limit, after or None)


def _row(tx: Transaction, r: Restore, dataset: str) -> dict[str, Any]:
    on_the_way = r.state is not RestoreState.AWAITING_APPROVAL and r.ready_at is None and r.ended_at is None
    return {
        **{name: getattr(r, name) for name in ("id", "dataset_id", "user", "state", "files_glob", "keep_days", "size_bytes", "from_tier", "error")},
        **{name: describe.time(getattr(r, name)) for name in ("requested_at", "expires_at", "ended_at")},
        "dataset": dataset,
        "promised_by": describe.time(r.promised_by) if on_the_way else None,
        "late": on_the_way and r.promised_by < tx.at,
    }


@router.post("/admin/restores/{restore_id}/approve")
def approve(request: Request, archive: Here, visitor: Acting, restore_id: models.Id) -> Response:
    """An admin's yes."""
    return _act(request, archive, visitor, restore_id, "done_approved", lambda who: restore.approve(archive, who.name, restore_id))


@router.post("/admin/restores/{restore_id}/deny")
def deny(request: Request, archive: Here, visitor: Acting, restore_id: models.Id, reason: Annotated[str, Form(max_length=2000)] = "") -> Response:
    """An admin's no."""
    return _act(request, archive, visitor, restore_id, "done_denied", lambda who: restore.deny(archive, who.name, restore_id, reason))


@router.get("/admin/restores/{restore_id}/cancel")
def ask_cancel(request: Request, archive: Here, visitor: Looking, restore_id: models.Id) -> Response:
    """What cancelling a restore would end."""
    with archive.ledger.read() as tx:
        asked = access.visible_restore(tx, visitor.identity, restore_id)
        said = describe.restores(tx, [asked])[0]
        others = [c for c in tx.stored_claims([asked.dataset_id]) if c.kind is ClaimKind.HOLD or c.restore_id != asked.id]
    waiting = [c for c in others if c.restore_id == asked.id]  # holds that end with it
    people = sorted({asked.user, *(c.user for c in waiting)})
    also: list[Told] = [("confirm_hold_ends", {"user": c.user, "reason": c.reason}) for c in waiting]
    if len(others) > len(waiting):
        also.append(("confirm_others_keep", {"n": len(others) - len(waiting)}))
    action = f"{request.app.state.root}/admin{_PATH}/{restore_id}/cancel"
    return ask(
        request, visitor, "restores", Question("confirm_cancel", said["dataset"], action, said["bytes_total"], said["files_total"], people, also)
    )


@router.post("/admin/restores/{restore_id}/cancel")
def cancel(request: Request, archive: Here, visitor: Ending, restore_id: models.Id) -> Response:
    """It ends, and what only it claimed."""
    return _act(
        request,
        archive,
        visitor,
        restore_id,
        "done_cancelled",
        lambda who: restore.cancel(archive, who.name, restore_id, who.readable, admin=who.admin),
    )


def _act(request: Request, archive: Archive, visitor: Visitor, restore_id: int, done: str, do: Callable[[Identity], Restore]) -> Response:
    def tell() -> Told:
        with archive.ledger.read() as tx:
            name = tx.dataset(access.visible_restore(tx, visitor.identity, restore_id).dataset_id).full_name
        return done, {"name": name, "user": do(visitor.identity).user}

    return act(request, visitor, _PATH, lambda failed: _page(request, archive, visitor, failed), tell)
