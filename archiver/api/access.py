"""What routes are given: the archive, the hub, and the identity of who asks, with the scope that the route needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Protocol

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from archiver import auth, keys
from archiver.archive import Archive
from archiver.auth import Hub, Identity
from archiver.errors import NotAllowed, NotFound
from archiver.keys import Sender
from archiver.ledger import Transaction
from archiver.model import Claim, Dataset, File, Project, Restore

# For openapi.json only; the header is read by `auth.bearer`, which also takes the hub's own `token …`.
_scheme = HTTPBearer(auto_error=False, description="A token of the hub with the scope that the route names.")


class SignedIn(Protocol):
    """Who is signed in with a browser: our own pages send data with the session's cookie, not with a token."""

    def asks(self, request: Request) -> bool:
        """Whether a page of ours asks."""

    def who(self, request: Request) -> Identity:
        """Who it is. Raises `NotSignedIn`, `NotAllowed`, `HubUnavailable`."""


# Nothing to wait for: being `async` spares a change of threads, for each of which a request under load waits.
async def _archive(request: Request) -> Archive:
    archive: Archive = request.app.state.archive
    return archive


async def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


Here = Annotated[Archive, Depends(_archive)]
TheHub = Annotated[Hub, Depends(_hub)]


def _needs(scope: str | None, *, pages: bool = True, public: bool = True) -> Callable[..., Identity]:
    """`pages`: whether a page of ours may ask, too; what gives keys away, and what only admins do, takes a token. Not `public`: which
    projects are is asked by the route itself (`sighted`), in the transaction that answers."""

    def who(request: Request, archive: Here, hub: TheHub, _shown: Annotated[object, Depends(_scheme)]) -> Identity:
        identity = _by_page(request) if pages else None
        if identity is None:
            token = auth.bearer(request.headers.get("Authorization"))
            if keys.is_key(token):
                raise NotAllowed("This is an instrument's key: it sends data, and can do nothing else.", "Use a token of the hub.")
            identity = hub.who(token)
        if scope is not None:
            identity.need(scope)
        return sighted_now(archive, identity) if public else identity

    return who


def _by_page(request: Request) -> Identity | None:
    """Who is signed in, where a page of ours asks."""
    signed_in = request.app.state.signed_in
    asks = "Authorization" not in request.headers and signed_in is not None and signed_in.asks(request)
    return signed_in.who(request) if asks else None


def sighted(tx: Transaction, identity: Identity) -> Identity:
    """The same person, with the projects that are public by now."""
    return identity if identity.projects is None else replace(identity, public=tx.public_projects())


def sighted_now(archive: Archive, identity: Identity) -> Identity:
    """The same, in a transaction of its own; none for who sees everything."""
    if identity.projects is None:
        return identity
    with archive.ledger.read() as tx:
        return sighted(tx, identity)


def _sender(request: Request, archive: Here, hub: TheHub, _shown: Annotated[object, Depends(_scheme)]) -> Sender:
    identity = _by_page(request)
    if identity is None:
        token = auth.bearer(request.headers.get("Authorization"))
        if keys.is_key(token):
            return keys.sender(archive, token)
        identity = hub.who(token)
    identity.need(auth.INGEST)
    # A project's name is never a glob, but the hub may have a group that looks like one.
    return Sender(identity.name, None, ("*",) if identity.projects is None else keys.literal(identity.projects))


def _reader_or_sender(request: Request, archive: Here, hub: TheHub, _shown: Annotated[object, Depends(_scheme)]) -> Identity | Sender:
    token = auth.bearer(request.headers.get("Authorization"))
    if keys.is_key(token):
        return keys.sender(archive, token)
    identity = hub.who(token)
    identity.need(auth.READ)
    return identity


def _instrument(sender: Annotated[Sender, Depends(_sender)]) -> Sender:
    if sender.instrument is None:
        raise NotAllowed("This is for an instrument's key only.", "Make one: `archiver instruments key NAME`.")
    return sender


Sending = Annotated[Sender, Depends(_sender)]
Instrument = Annotated[Sender, Depends(_instrument)]
ReaderOrSender = Annotated[Identity | Sender, Depends(_reader_or_sender)]
Anybody = Annotated[Identity, Depends(_needs(None))]
Reader = Annotated[Identity, Depends(_needs(auth.READ))]
Searcher = Annotated[Identity, Depends(_needs(auth.READ, public=False))]
Restorer = Annotated[Identity, Depends(_needs(auth.RESTORE))]
Program = Annotated[Identity, Depends(_needs(auth.READ, pages=False))]
Admin = Annotated[Identity, Depends(_needs(auth.ADMIN, pages=False))]


def sendable(archive: Archive, sender: Sender) -> Sequence[str] | None:
    """Projects that a sender may read; None: all."""
    if sender.projects == ("*",) and sender.instrument is None:
        return None
    with archive.ledger.read() as tx:
        return (*sender.projects, *tx.public_projects())


def visible_dataset(tx: Transaction, who: Identity, dataset_id: int) -> Dataset:
    """The dataset, if there is one and `who` may see it: both have the same answer otherwise. Raises `NotFound`."""
    try:
        found = tx.dataset(dataset_id)
    except NotFound:
        found = None
    if found is None or not who.sees(found.project):
        raise NotFound(f"There is no dataset number {dataset_id}.", "Look it up in the list of datasets.")
    return found


def own_dataset(tx: Transaction, who: Identity, dataset_id: int) -> Dataset:
    """The dataset, if `who` may change what is said of it. Raises `NotFound`, `NotAllowed` (it is public, and not theirs)."""
    found = visible_dataset(tx, who, dataset_id)
    if not who.belongs(found.project):
        raise NotAllowed(f"{found.full_name} is public: it is read by all, and changed by members of {found.project}.", "Ask one of them.")
    return found


def visible_file(tx: Transaction, who: Identity, file_id: int) -> tuple[Dataset, File]:
    """The file and its dataset, if there is one and `who` may see it. Raises `NotFound`."""
    file = tx.file(file_id)
    unknown = NotFound(f"There is no file number {file_id}.", "Look it up in the dataset's list of files.")
    if file is None:
        raise unknown
    try:
        return visible_dataset(tx, who, file.dataset_id), file
    except NotFound:
        raise unknown from None


def visible_restore(tx: Transaction, who: Identity, restore_id: int) -> Restore:
    """The same for a restore. Raises `NotFound`."""
    try:
        found = tx.restore(restore_id)
    except NotFound:
        found = None
    if found is None or not is_theirs(tx, who, found):
        raise NotFound(f"There is no restore number {restore_id}.", "Look it up in the list of restores.")
    return found


def is_theirs(tx: Transaction, who: Identity, wish: Restore | Claim) -> bool:
    """Whether a restore or a hold is to be told of: of one's own projects, or one's own of public data."""
    project = tx.dataset(wish.dataset_id).project
    return who.belongs(project) or (wish.user == who.name and who.sees(project))


def known_projects(tx: Transaction, who: Identity) -> list[Project]:
    """The projects that `who` may see: groups of the hub that the ledger knows, and what is public."""
    return [project for project in tx.projects() if who.sees(project.name)]
