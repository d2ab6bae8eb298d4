"""What the pages of the console share: who may look and who may act, the navigation, what is said once, and the question before what ends something.

Law: each action is the same verb that the API calls, in the admin's name. What it refuses is said on the page it was sent from, with the right
status; what was done is said once, on the page that follows. What takes something from people asks first, with the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import Field
from starlette.responses import HTMLResponse, RedirectResponse, Response

from archiver import auth, silence
from archiver.api import models
from archiver.api.problems import headers_for, public
from archiver.errors import NotAllowed, PublicError, WrongUse
from archiver.ledger.store import Moved
from archiver.model import TransferState
from archiver.pages.sessions import Told
from archiver.pages.views import Reading, Sending, Visitor, render

PAGES: Sequence[tuple[str, str]] = (
    ("overview", ""),
    ("restores", "/restores"),
    ("transfers", "/transfers"),
    ("holds", "/holds"),
    ("reception", "/reception"),
    ("projects", "/projects"),
    ("audit", "/audit"),
    ("plan", "/plan"),
    ("announce", "/announce"),
)
"""Name (its text is `console_NAME`) and path below `/admin` of each page, in the order of the navigation."""
LIMIT = 50
"""Most items of a list on one page."""
FIRST = 10
"""Most items of each group where several stand on one page."""


def _looking(visitor: Reading) -> Visitor:
    return _admin(visitor)


def _acting(visitor: Sending) -> Visitor:
    visitor.identity.need(auth.READ)
    return _admin(visitor)


def _ending(visitor: Annotated[Visitor, Depends(_acting)]) -> Visitor:
    visitor.identity.need(auth.RESTORE)
    return visitor


def _admin(visitor: Visitor) -> Visitor:
    if not visitor.identity.admin:
        raise NotAllowed("The console is for admins.", "Ask an admin of the hub to do it for you.")
    return visitor


Looking = Annotated[Visitor, Depends(_looking)]
Acting = Annotated[Visitor, Depends(_acting)]
Ending = Annotated[Visitor, Depends(_ending)]
"""Who ends what somebody else asked for: as in the API, that takes the right to restore, too."""


@dataclass(frozen=True)
class Question:
    """Before what takes something from people. `what`: its text (with `name`); beside it stand `WHAT_then` and `WHAT_do`.

    `size_bytes`, `files`: of the data that are meant; `people`: whom it touches (None: not known by name); `also`: what else follows.
    `hidden`: what the form sends again.
    """

    what: str
    name: str
    action: str
    size_bytes: int
    files: int | None
    people: Sequence[str] | None
    also: Sequence[Told] = ()
    hidden: Mapping[str, str] = field(default_factory=dict)


class After(models.Asked):
    """A list in the order of a time, from a place on: after the item of this time and number."""

    at: models.Time | None = None
    after: Annotated[int, Field(ge=1, le=2**53 - 1)] | None = None

    @property
    def place(self) -> tuple[datetime, int] | None:
        """None: from the beginning. Raises `WrongUse`."""
        if (self.at is None) != (self.after is None):
            raise WrongUse("`at` and `after` belong together.", "Begin at the first page.")
        return None if self.at is None or self.after is None else (self.at, self.after)


def show(request: Request, visitor: Visitor, page: str, failed: PublicError | None = None, template: str = "", **values: Any) -> HTMLResponse:
    """A page of the console; `page` is marked in the navigation, and where something waits for a person. `failed`: what was refused just now."""
    told = [visitor.session.told.pop() for _ in range(len(visitor.session.told))]
    status, headers = (200, None) if failed is None else (failed.status, headers_for(failed, failed))
    paths = dict(PAGES)
    archive = request.app.state.archive
    with archive.ledger.read() as tx:
        waiting = {
            "restores": len(tx.undecided(None, LIMIT)),
            "transfers": tx.count_transfers(TransferState.QUARANTINED),
            "reception": len(silence.silent(tx, archive.settings.reception)),
        }
    shared = {
        "visitor": visitor,
        "pages": PAGES,
        "page": page,
        "here": f"{request.app.state.root}/admin{paths[page]}",
        "told": told,
        "waiting": waiting,
        "failed": failed,
    }
    return render(request, template or f"console_{page}.html", status, headers, **shared, **values)


def ask(request: Request, visitor: Visitor, page: str, question: Question) -> HTMLResponse:
    """The question, with the numbers, and the button that does it."""
    return show(request, visitor, page, template="console_confirm.html", question=question)


def act(request: Request, visitor: Visitor, path: str, look: Callable[[PublicError], Response], do: Callable[[], Told | Response]) -> Response:
    """Do it, and lead back to the page at `path`, which tells what was done (or answer what `do` says is to be seen once).

    What is refused is told on the page that `look` gives.
    """
    try:
        done = do()
    except (PublicError, Moved) as raised:
        return look(public(raised))
    if isinstance(done, Response):
        return done
    visitor.session.told.append(done)
    return RedirectResponse(f"{request.app.state.root}/admin{path}", 303)
