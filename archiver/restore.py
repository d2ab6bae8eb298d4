"""Restores: a person's claim on hot. `requested → queued → [recalling] → copying → ready → expired`.

Law: a restore only claims; the worker makes the copies, as for every other claim. Its state is read off its files, so it
cannot be stuck beside them: each file is in hot, under way, or given up with a reason. Days count from ready.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from archiver import policy
from archiver.archive import Archive, view
from archiver.errors import Conflict, NotFound, WrongUse
from archiver.ledger import Transaction
from archiver.model import DatasetState, File, Restore, RestoreState, Transfer, TransferState


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


def request(archive: Archive, user: str, reference: str, files_glob: str | None, keep_days: int | None, projects: Sequence[str] | None) -> Restore:
    """Ask for a dataset (or the files in it that match `files_glob`) to be in hot for `keep_days` from ready.

    `projects`: those the user may see (None: all). An equal restore that is still under way is joined, not doubled.
    Raises `WrongUse`, `NotFound`, `Ambiguous`, `Conflict`; then nothing has changed.
    """
    rules = archive.settings.policy
    days = rules.restore_days_default if keep_days is None else keep_days
    if not 1 <= days <= rules.restore_days_max:
        raise WrongUse(f"{days} days cannot be asked for.", f"Ask for 1 to {rules.restore_days_max} days.")
    with archive.ledger.begin(user) as tx:
        dataset = tx.find_dataset(reference, projects)
        if dataset.state is not DatasetState.CLOSED:
            raise Conflict(f"{dataset.full_name} is still open: its files are in hot.", "Read it at its path; it can be restored after it has left.")
        chosen = [f for f in tx.files(dataset.id) if policy.matches(f.path, files_glob)]
        if not chosen:
            raise WrongUse(
                f"No file of {dataset.full_name} matches {files_glob!r}.", "`archiver status DATASET` and the catalog page list its files."
            )
        for other in tx.restores_of(dataset.id):
            if (other.user, other.files_glob, other.keep_days) == (user, files_glob, days) and other.ended_at is None and other.ready_at is None:
                return other
        return tx.add_restore(dataset, user, files_glob, days, policy.promise(_furthest(tx, dataset.id, archive), archive.settings))


def _furthest(tx: Transaction, dataset_id: int, archive: Archive) -> str | None:
    """The nearest tier that holds all files: where the restore will read from."""
    files = len(tx.files(dataset_id))
    full = {c.tier for c in tx.coverage([dataset_id]) if c.files == files}
    return next((name for name in archive.settings.tiers if name in full), None)


def cancel(archive: Archive, user: str, restore_id: int, projects: Sequence[str] | None, *, admin: bool) -> Restore:
    """Take a restore back: its claim ends, what is not begun stops. Only its user or an admin may; others' answer is `NotFound`."""
    with archive.ledger.begin(user) as tx:
        restore = tx.restore(restore_id)
        dataset = tx.dataset(restore.dataset_id)
        if projects is not None and dataset.project not in projects:
            raise NotFound(f"There is no restore number {restore_id}.", "Your restores are listed on the catalog page.")
        if restore.user != user and not admin:
            raise Conflict(f"Restore {restore_id} was asked for by {restore.user}.", "Ask them, or an admin, to cancel it.")
        if restore.ended_at is not None:
            raise Conflict(f"Restore {restore_id} is {restore.state} already.", "Nothing has to be done.")
        tx.change("restore", restore, RestoreState.CANCELLED, ended_at=tx.at)
        tx.end_claim(restore)
        return tx.restore(restore_id)


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
    with archive.ledger.begin() as tx:
        if restore.expires_at is not None and tx.at >= restore.expires_at:
            tx.change("restore", restore, RestoreState.EXPIRED, ended_at=tx.at)
            tx.end_claim(restore)
            return RestoreState.EXPIRED
        seen = view(tx, restore.dataset_id)
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
            tx.look(restore.dataset_id)
        elif to is RestoreState.FAILED:
            tx.change("restore", restore, to, ended_at=tx.at, error="; ".join(f"{path}: {why}" for path, why in reached.given_up[:3]))
            tx.end_claim(restore)
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
