"""Holds: a person's claim that data stays in hot until a day, for a reason.

Law: what is in hot is held at once. What is not passes a restore's quota and approval first: a restore is asked for, and the hold waits
for it (rule 9). A hold always has an end. Whoever may restore a project's data may hold it; only its user or an admin ends it sooner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from archiver import asking, policy
from archiver.archive import Archive
from archiver.errors import Conflict, NotFound, WrongUse
from archiver.ledger import Transaction
from archiver.model import Claim, Dataset, DatasetState, File

_DAY = re.compile(r"\d{4}-\d\d-\d\d([T ][0-9:.]+(?:Z|[+-][0-9:]+)?)?", re.ASCII)


def end_of(text: str) -> datetime:
    """The end that a person wrote: a day means until that day is over (UTC), a time means itself. Raises `WrongUse`."""
    found = _DAY.fullmatch(text.strip())
    try:
        at = datetime.fromisoformat(found[0]) if found else None
        if found and not found[1]:
            at = datetime.combine(date.fromisoformat(found[0]), time(23, 59, 59), UTC)
        at = at.replace(tzinfo=UTC) if at and at.tzinfo is None else at and at.astimezone(UTC)
    except (ValueError, OverflowError):
        at = None
    if at is None:
        raise WrongUse("`until` is not a day.", "Write it as 2026-09-01, or with a time as 2026-09-01T12:00:00Z.")
    return at


def request(
    archive: Archive,
    user: str,
    reference: str,
    until: datetime,
    reason: str,
    files_glob: str | None,
    projects: Sequence[str] | None,
    *,
    admin: bool = False,
) -> Claim:
    """Hold a dataset (or its files that match `files_glob`) in hot until `until`. Asked again, it changes end and reason of the same hold.

    `projects`: those the user may see (None: all). `admin`: a restore that it needs is approved. Raises `WrongUse`, `NotFound`, `Ambiguous`,
    `Conflict`, `OverQuota`, `NoRoom`; then nothing has changed.
    """
    settings = archive.settings
    with archive.ledger.begin(user) as tx:
        reason = _checked(archive, until, reason, tx.at)
        dataset = tx.find_dataset(reference, projects)
        tx.lock_quotas()
        tx.hold_still(dataset.id)
        dataset = tx.dataset(dataset.id)
        if dataset.state is DatasetState.ERASED:
            raise Conflict(f"{dataset.full_name} was erased.", "There is nothing left to hold.")
        chosen = [f for f in tx.files(dataset.id) if policy.matches(f.path, files_glob)]
        if not chosen:
            raise WrongUse(f"No file of {dataset.full_name} matches {files_glob!r}.", "The catalog page lists its files.")
        known = tx.hold_like(dataset.id, user, files_glob)
        if known is not None:
            return tx.change_hold(known, until, reason)
        if _in_hot(archive, tx, dataset, chosen):
            before = [asking.usage(tx, settings, "user", user), asking.usage(tx, settings, "project", dataset.project)]
            held = tx.add_hold(dataset.id, user, reason, until, files_glob)
            asking.see_quotas(tx, settings, before, ())
            return held
        waiting = next((r for r in tx.restores_of(dataset.id) if (r.user, r.files_glob, r.ready_at) == (user, files_glob, None)), None)
        if waiting is None:
            days = min(settings.policy.restore_days_default, settings.policy.restore_days_max, max(1, (until - tx.at).days))
            wish = asking.choose(tx, settings, dataset.full_name, files_glob, projects)
            waiting = asking.write_down(tx, settings, user, [wish], days, admin=admin)[0]
        return tx.add_hold(dataset.id, user, reason, until, files_glob, waiting.id)


def change(archive: Archive, user: str, hold_id: int, until: datetime, reason: str | None, projects: Sequence[str] | None, *, admin: bool) -> Claim:
    """Give a hold another end, and another reason unless that is None. Raises `WrongUse`, `NotFound`, `Conflict`."""
    with archive.ledger.begin(user) as tx:
        hold = _own(tx, user, hold_id, projects, admin=admin)
        return tx.change_hold(hold, until, _checked(archive, until, hold.reason if reason is None else reason, tx.at))


def end(archive: Archive, user: str, hold_id: int, projects: Sequence[str] | None, *, admin: bool) -> Claim:
    """End a hold before its time; a restore that it waits for goes on. Raises `NotFound`, `Conflict`."""
    with archive.ledger.begin(user) as tx:
        return tx.end_hold(_own(tx, user, hold_id, projects, admin=admin), f"ended by {user}")


def _own(tx: Transaction, user: str, hold_id: int, projects: Sequence[str] | None, *, admin: bool) -> Claim:
    """A hold that has not ended and that `user` may change; another project's answers as if it were not."""
    hold = tx.hold(hold_id)
    if projects is not None and tx.dataset(hold.dataset_id).project not in projects:
        raise NotFound(f"There is no hold number {hold_id}.", "Look it up in the list of holds.")
    if hold.user != user and not admin:
        raise Conflict(f"Hold {hold_id} is {hold.user}'s.", "Ask them, or an admin; you can hold the same data yourself.")
    if hold.ended_at is not None or (hold.until is not None and hold.until <= tx.at):
        raise Conflict(f"Hold {hold_id} has ended already.", "Hold the data anew if it shall stay.")
    return hold


def _checked(archive: Archive, until: datetime, reason: str, now: datetime) -> str:
    most = archive.settings.policy.hold_days_max
    if until <= now:
        raise WrongUse("`until` lies in the past.", "Name a day to come.")
    if until > now + timedelta(days=most):
        raise WrongUse(f"`until` is too far away: a hold lasts {most} days at most.", f"Name a day before {now + timedelta(days=most):%Y-%m-%d}.")
    return asking.reason_given(reason.strip(), "Say in a few words what the data is needed for.")


def _in_hot(archive: Archive, tx: Transaction, dataset: Dataset, chosen: Sequence[File]) -> bool:
    """Whether nothing has to be brought back: age keeps it there, or every file has a copy (a drop that is under way is revoked or made good)."""
    if dataset.state is DatasetState.OPEN or any(c.tier == policy.HOT for c in policy.age_claims(dataset, archive.settings, tx.at)):
        return True
    held = {c.object_id for c in tx.copies(dataset.id, policy.HOT)}
    return all(f.object_id in held for f in chosen)
