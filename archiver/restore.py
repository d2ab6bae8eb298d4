"""Restores: a person's claim on hot. `requested → [awaiting_approval] → queued → [recalling] → copying → ready → expired`.

Law: a restore only claims; the worker makes the copies, as for every other claim. Its state is read off its files, so it
cannot be stuck beside them: each file is in hot, under way, or given up with a reason. Days count from ready, for `partly_ready`
from the first ready file. What waits for an admin or for room claims nothing yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from archiver import asking, policy
from archiver.archive import Archive, view
from archiver.config import Settings
from archiver.errors import Conflict, NotFound, WrongUse
from archiver.ledger import Transaction
from archiver.model import ClaimKind, File, Restore, RestoreState, Transfer, TransferState

_GIVEN_UP_NAMED = 3


@dataclass(frozen=True)
class Progress:
    """What a restore has reached: files and bytes, and what was given up."""

    files_total: int
    files_ready: int
    bytes_total: int
    bytes_ready: int
    given_up: list[tuple[str, str]]  # (path, reason)
    recalling: bool
    copying: bool


def request(
    archive: Archive,
    user: str,
    reference: str,
    files_glob: str | None,
    keep_days: int | None,
    projects: Sequence[str] | None,
    *,
    priority: int = 0,
    admin: bool = False,
) -> Restore:
    """Ask for a dataset (or the files in it that match `files_glob`) to be in hot for `keep_days` from ready.

    `projects`: those the user may see (None: all). An equal restore that is still under way is joined, not doubled.
    Raises `WrongUse`, `NotFound`, `Ambiguous`, `Conflict`, `OverQuota`, `NoRoom`; then nothing has changed.
    """
    return request_all(archive, user, [reference], files_glob, keep_days, projects, priority=priority, admin=admin)[0]


def request_all(
    archive: Archive,
    user: str,
    references: Sequence[str],
    files_glob: str | None,
    keep_days: int | None,
    projects: Sequence[str] | None,
    *,
    priority: int = 0,
    admin: bool = False,
) -> list[Restore]:
    """The same for several datasets: one restore for each, all or none. `admin`: needs no approval, and may ask for any priority."""
    settings = archive.settings
    days = asking.days_asked(settings, keep_days)
    asking.priority_asked(priority, admin=admin)
    with archive.ledger.begin(user) as tx:
        chosen = asking.choose_all(tx, settings, references, files_glob, projects)
        return asking.write_down(tx, settings, user, chosen, days, priority=priority, admin=admin)


# what people do with a restore


def cancel(archive: Archive, user: str, restore_id: int, projects: Sequence[str] | None, *, admin: bool) -> Restore:
    """Take a restore back: its claim ends, and what has not begun and nobody else claims stops at once.

    What is being copied just now is dropped when it is proven. Only its user or an admin may; another project's is `NotFound`. Raises `Conflict`.
    """
    with archive.ledger.begin(user) as tx:
        restore = _own(tx, user, restore_id, projects, admin=admin)
        tx.change("restore", restore, RestoreState.CANCELLED, ended_at=tx.at)
        _end(tx, archive.settings, restore)
        return tx.restore(restore_id)


def extend(archive: Archive, user: str, restore_id: int, days: int, projects: Sequence[str] | None, *, admin: bool) -> Restore:
    """Keep a restore `days` longer, at most until `restore_days_max` from now. Raises `WrongUse`, `NotFound`, `Conflict`, `OverQuota`."""
    settings = archive.settings
    most = settings.policy.restore_days_max
    if not 1 <= days <= most:
        raise WrongUse(f"{days} days cannot be asked for.", f"Ask for 1 to {most} days.")
    with archive.ledger.begin(user) as tx:
        tx.lock_quotas()
        restore = _own(tx, user, restore_id, projects, admin=admin)
        asking.see_still_allowed(tx, settings, restore)
        keep_days = restore.keep_days + days
        if restore.expires_at is None:
            if keep_days > most:
                raise WrongUse(f"{keep_days} days in all are too many.", f"A restore stays {most} days at most; extend it when it is ready.")
            return tx.alter_restore(restore, "extended", keep_days=keep_days)
        expires = restore.expires_at + timedelta(days=days)
        if expires > tx.at + timedelta(days=most):
            raise WrongUse(f"It would stay until {expires:%Y-%m-%d}, more than {most} days from now.", "Ask for fewer days; extend it again later.")
        tx.claim_until(restore.id, expires)
        tx.look(restore.dataset_id)
        return tx.alter_restore(restore, "extended", keep_days=keep_days, expires_at=expires)


def approve(archive: Archive, admin: str, restore_id: int) -> Restore:
    """An admin's yes: from now on the restore claims its files, as soon as there is room; its promise counts from now. Raises `Conflict`."""
    with archive.ledger.begin(admin) as tx:
        tx.lock_quotas()
        restore = _awaiting(tx, restore_id)
        promised = tx.at + policy.promise(restore.from_tier, archive.settings)
        tx.change("restore", restore, RestoreState.QUEUED, approved_by=admin, promised_by=promised, error=asking.WAITS_FOR_ROOM)
        asking.admit(tx, archive.settings)
        return tx.restore(restore_id)


def deny(archive: Archive, admin: str, restore_id: int, reason: str) -> Restore:
    """An admin's no, with its reason. Raises `Conflict`, `WrongUse`."""
    reason = asking.reason_given(" ".join(reason.split()), "Say to who asked why they cannot have it, and what they can do.")
    with archive.ledger.begin(admin) as tx:
        restore = _awaiting(tx, restore_id)
        tx.change("restore", restore, RestoreState.DENIED, ended_at=tx.at, error=reason)
        tx.end_holds(restore.id)
        return tx.restore(restore_id)


def retry(archive: Archive, user: str, restore_id: int, files_glob: str | None, projects: Sequence[str] | None, *, admin: bool) -> int:
    """Have files tried again that were given up (those that match `files_glob`; None: all); returns how many. Raises `WrongUse`, `Conflict`."""
    with archive.ledger.begin(user) as tx:
        restore = _own(tx, user, restore_id, projects, admin=admin)
        given_up = {tr.object_id: tr for tr in tx.transfers(restore.dataset_id) if tr.tier == policy.HOT and tr.state is TransferState.QUARANTINED}
        failed = [f for f in tx.files(restore.dataset_id) if f.object_id in given_up and policy.matches(f.path, restore.files_glob)]
        if not failed:
            raise Conflict(f"No file of restore {restore_id} was given up.", "Nothing has to be tried again.")
        again = [f for f in failed if policy.matches(f.path, files_glob)]
        if not again:
            raise WrongUse(f"No file that was given up matches {files_glob!r}.", "GET the restore: `errors` lists them.")
        for file in again:
            tx.try_again(given_up[file.object_id])
        return len(again)


def retry_transfer(archive: Archive, admin: str, transfer_id: int) -> Transfer:
    """Have one transfer tried again that was given up, whatever it is for. Raises `NotFound`, `Conflict`."""
    with archive.ledger.begin(admin) as tx:
        transfer = tx.transfer(transfer_id)
        if transfer.state is not TransferState.QUARANTINED:
            raise Conflict(f"Transfer {transfer_id} is {transfer.state}: it was not given up.", "Nothing has to be done.")
        tx.try_again(transfer)
        return tx.transfer(transfer_id)


def _own(tx: Transaction, user: str, restore_id: int, projects: Sequence[str] | None, *, admin: bool) -> Restore:
    """A restore that has not ended and that `user` may change; another project's answers as if it were not."""
    restore = tx.restore(restore_id)
    if projects is not None and tx.dataset(restore.dataset_id).project not in projects:
        raise NotFound(f"There is no restore number {restore_id}.", "Your restores are listed on the catalog page.")
    if restore.user != user and not admin:
        raise Conflict(f"Restore {restore_id} was asked for by {restore.user}.", "Ask them, or an admin; you can ask for the same data yourself.")
    if restore.ended_at is not None:
        raise Conflict(f"Restore {restore_id} is {restore.state} already.", "Nothing has to be done; ask for the data again if you need it.")
    return restore


def _awaiting(tx: Transaction, restore_id: int) -> Restore:
    restore = tx.restore(restore_id)
    if restore.state is not RestoreState.AWAITING_APPROVAL:
        raise Conflict(f"Restore {restore_id} is {restore.state}: it waits for nobody's approval.", "Nothing has to be done.")
    return restore


def _end(tx: Transaction, settings: Settings, restore: Restore) -> None:
    """A restore has ended: its claim goes, holds that waited for it go, and so does what is planned and nobody else wants."""
    tx.end_claim(restore)
    if restore.ready_at is None:
        tx.end_holds(restore.id)
    for needless in policy.decide(view(tx, restore.dataset_id), settings, tx.at).cancel:
        tx.cancel_transfer(needless)


# what the worker does


def admit(archive: Archive) -> bool:
    """Let restores go on that waited for room in hot; returns whether one did."""
    with archive.ledger.read() as tx:
        if not tx.waiting_for_room():
            return False
    with archive.ledger.begin() as tx:
        tx.lock_quotas()
        return bool(asking.admit(tx, archive.settings))


def progress(restore: Restore, files: list[File], in_hot: set[int], transfers: list[Transfer]) -> Progress:
    """What a restore has reached. `in_hot`: object ids with a counted copy there; `transfers`: the dataset's that have not ended."""
    chosen = [f for f in files if policy.matches(f.path, restore.files_glob)]
    into_hot = {t.object_id: t for t in transfers if t.tier == policy.HOT}
    missing = [into_hot.get(f.object_id) for f in chosen if f.object_id not in in_hot]
    states = {t.state for t in missing if t is not None}
    return Progress(
        files_total=len(chosen),
        files_ready=sum(f.object_id in in_hot for f in chosen),
        bytes_total=sum(f.size_bytes for f in chosen),
        bytes_ready=sum(f.size_bytes for f in chosen if f.object_id in in_hot),
        given_up=[
            (f.path, into_hot[f.object_id].error or "unknown")
            for f in chosen
            if f.object_id not in in_hot and f.object_id in into_hot and into_hot[f.object_id].state is TransferState.QUARANTINED
        ],
        recalling=TransferState.RECALLING in states,
        copying=bool(states & {TransferState.COPYING, TransferState.VERIFYING}),
    )


def advance(archive: Archive, restore: Restore) -> RestoreState:
    """Bring a restore's state up to what is true of its files; returns it. Raises `Moved`."""
    still = restore.state in {RestoreState.READY, RestoreState.AWAITING_APPROVAL}
    if still and (restore.expires_at is None or archive.clock() < restore.expires_at):
        return restore.state  # time alone, or a person, changes it
    with archive.ledger.begin() as tx:
        restore = tx.restore(restore.id)  # extended meanwhile, it does not end
        if restore.expires_at is not None and tx.at >= restore.expires_at:
            partly = "Not every file came back." if restore.state is RestoreState.PARTLY_READY else restore.error
            tx.change("restore", restore, RestoreState.EXPIRED, ended_at=tx.at, error=partly)
            _end(tx, archive.settings, restore)
            return RestoreState.EXPIRED
        seen = view(tx, restore.dataset_id)
        if not any(c.restore_id == restore.id and c.kind is ClaimKind.RESTORE for c in seen.claims):
            return restore.state  # it waits for an admin, or for room
        going = {d.copy_id for d in seen.drops}
        in_hot = {c.object_id for c in seen.copies if c.tier == policy.HOT and c.id not in going}
        reached = progress(restore, seen.files, in_hot, seen.transfers)
        to = _state(restore, reached)
        if restore.state is RestoreState.REQUESTED and to in {RestoreState.RECALLING, RestoreState.COPYING, RestoreState.PARTLY_READY}:
            to = RestoreState.QUEUED  # one step at a time; the next turn goes on
        if to is restore.state:
            return to
        if to in {RestoreState.READY, RestoreState.PARTLY_READY} and restore.ready_at is None:
            expires = tx.at + timedelta(days=restore.keep_days)
            tx.change("restore", restore, to, ready_at=tx.at, expires_at=expires)
            tx.claim_until(restore.id, expires)
            tx.activate_holds(restore.id)
            tx.look(restore.dataset_id)
        elif to is RestoreState.READY:
            # The last files came late: the days count from the first, the promise is measured by these.
            tx.change("restore", restore, to, ready_at=tx.at)
        elif to is RestoreState.FAILED:
            why = "; ".join(f"{path}: {reason}" for path, reason in reached.given_up[:_GIVEN_UP_NAMED])
            tx.change("restore", restore, to, ended_at=tx.at, error=why)
            _end(tx, archive.settings, restore)
        else:
            tx.change("restore", restore, to)
        return to


def _state(restore: Restore, reached: Progress) -> RestoreState:
    missing = reached.files_total - reached.files_ready
    if missing == 0:
        return RestoreState.READY
    if restore.state is RestoreState.READY:
        return restore.state  # a copy was lost meanwhile and is being made anew
    if len(reached.given_up) == missing:
        return RestoreState.PARTLY_READY if reached.files_ready else RestoreState.FAILED
    if restore.state is RestoreState.PARTLY_READY:
        return restore.state
    if reached.recalling and not reached.copying:
        return RestoreState.RECALLING
    if reached.copying or reached.files_ready:
        return RestoreState.COPYING
    return RestoreState.QUEUED if restore.state is RestoreState.REQUESTED else restore.state
