"""Asking for data: what a selection means, and what stands between a wish and its claim: quota, approval, room.

Law: a wish is written down whole or not at all, in one transaction, under a lock that all who ask share. What waits for an admin or for
room claims nothing yet, so nothing is recalled or copied for it; the claim is written in the same transaction as the approval or the room.
A restore goes on as a whole: two that each hold half of hot would wait for each other for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from archiver import policy
from archiver.archive import view
from archiver.config import Settings
from archiver.errors import Conflict, NoRoom, OverQuota, WrongUse
from archiver.ledger import Transaction
from archiver.ledger.queues import Wish
from archiver.model import DatasetState, File, Restore, RestoreState
from archiver.policy import View
from archiver.turns import PRIORITY_MAX_ADMIN, PRIORITY_MAX_USER, Waiting, in_turn

_PACE = timedelta(days=30)
_REASON_MOST = 500
_NAMED = 5  # restores that an error names
WAITS_FOR_ROOM = "Waits for room in fast storage; it goes on by itself."


@dataclass(frozen=True)
class Chosen:
    """Some files of one dataset, or all (`files_glob` None), as they lie now."""

    seen: View
    files_glob: str | None
    files: Sequence[File]
    absent: Sequence[File]  # those without a counted copy in hot
    size_bytes: int
    from_tier: str | None  # hot when nothing is absent, else the farthest tier that has to be read; None: a file has no copy

    @property
    def absent_bytes(self) -> int:
        return sum(f.size_bytes for f in self.absent)


@dataclass(frozen=True)
class Usage:
    """What a user or project has restored or held. `limit_bytes` None: no limit."""

    kind: str
    name: str
    used_bytes: int
    limit_bytes: int | None

    @property
    def left_bytes(self) -> int | None:
        return None if self.limit_bytes is None else max(0, self.limit_bytes - self.used_bytes)


def days_asked(settings: Settings, days: int | None) -> int:
    """Raises `WrongUse`."""
    rules = settings.policy
    days = rules.restore_days_default if days is None else days
    if not 1 <= days <= rules.restore_days_max:
        raise WrongUse(f"{days} days cannot be asked for.", f"Ask for 1 to {rules.restore_days_max} days.")
    return days


def priority_asked(priority: int, *, admin: bool) -> int:
    """Raises `WrongUse`."""
    most = PRIORITY_MAX_ADMIN if admin else PRIORITY_MAX_USER
    if not 0 <= priority <= most:
        raise WrongUse(f"`priority` {priority} cannot be asked for.", f"Ask for 0 to {most}; higher goes first.")
    return priority


def reason_given(reason: str, next_step: str) -> str:
    """A person's reason for what touches others. Raises `WrongUse` with `next_step`."""
    if not reason or len(reason) > _REASON_MOST or not reason.isprintable():
        raise WrongUse(f"`reason` has to be 1 to {_REASON_MOST} printable characters.", next_step)
    return reason


def glob_of(files: str | Sequence[str] | None) -> str | None:
    """One glob for a glob, a list of paths, or nothing (all files)."""
    return files if files is None or isinstance(files, str) else policy.one_of(files)


def choose(tx: Transaction, settings: Settings, reference: str, files_glob: str | None, projects: Sequence[str] | None) -> Chosen:
    """What a reference and a glob mean. `projects`: those the asker may see (None: all). Raises `NotFound`, `Ambiguous`, `Conflict`, `WrongUse`."""
    dataset = tx.find_dataset(reference, projects)
    if dataset.state is DatasetState.ERASED:
        raise Conflict(f"{dataset.full_name} was erased: no copy of it is left.", "Its receipt in the catalog says when and why.")
    if dataset.state is not DatasetState.CLOSED:
        raise Conflict(f"{dataset.full_name} is still open: its files are in hot.", "Read it at its path; it can be restored after it has left.")
    seen = view(tx, dataset.id)
    files = [f for f in seen.files if policy.matches(f.path, files_glob)]
    if not files:
        raise WrongUse(f"No file of {dataset.full_name} matches {files_glob!r}.", "`archiver status DATASET` and the catalog page list its files.")
    for path in (files_glob or "").split("\n") if "\n" in (files_glob or "") else ():
        if not any(policy.matches(f.path, path) for f in files):
            raise WrongUse(f"No file of {dataset.full_name} matches {path!r}.", "Leave it out, or mend its path.")
    absent, tiers = [], set()
    going = {d.copy_id for d in seen.drops}
    for file in files:
        copies = [c for c in seen.copies_with(file.object_id) if c.id not in going]
        if not any(c.tier == policy.HOT and c.object_id == file.object_id for c in copies):
            absent.append(file)
            origin = policy.source(copies, settings)
            tiers.add(origin.tier if origin else None)
    order = list(settings.tiers)
    farthest = None if None in tiers else max((t for t in tiers if t is not None), key=order.index, default=policy.HOT)
    return Chosen(seen, files_glob, files, absent, sum(f.size_bytes for f in files), farthest)


def choose_all(
    tx: Transaction, settings: Settings, references: Sequence[str], files_glob: str | None, projects: Sequence[str] | None
) -> list[Chosen]:
    """The same for several datasets, each once. Raises what `choose` raises."""
    if not references:
        raise WrongUse("No dataset is named.", "Name at least one.")
    chosen = {c.seen.dataset.id: c for c in (choose(tx, settings, reference, files_glob, projects) for reference in references)}
    return list(chosen.values())


# quotas


def limit(tx: Transaction, settings: Settings, kind: str, name: str) -> int | None:
    """The limit that counts: an admin's own for this name, else the settings'."""
    own = tx.quota(kind, name)
    if own is not None:
        return own.limit_bytes
    return settings.policy.quota_user_bytes if kind == "user" else settings.policy.quota_project_bytes


def usage(tx: Transaction, settings: Settings, kind: str, name: str) -> Usage:
    """Bytes of live restores and holds, cold or hot, each file once."""
    restored = _bytes(tx, [(r.dataset_id, r.files_glob) for r in tx.live_restores(kind, name)])
    held = tx.held_bytes(user=name) if kind == "user" else tx.held_bytes(project=name)
    return Usage(kind, name, restored + held, limit(tx, settings, kind, name))


def usages(tx: Transaction, settings: Settings, user: str, chosen: Iterable[Chosen]) -> list[Usage]:
    """That of the user and of each project that is touched."""
    projects = sorted({c.seen.dataset.project for c in chosen})
    return [usage(tx, settings, "user", user), *(usage(tx, settings, "project", name) for name in projects)]


def _bytes(tx: Transaction, wishes: Iterable[Wish]) -> int:
    """Bytes of what is wished for, each file once."""
    globs: dict[int, set[str | None]] = {}
    for dataset_id, glob in wishes:
        globs.setdefault(dataset_id, set()).add(glob)
    known = tx.datasets_numbered(globs)
    return sum(
        known[dataset_id].size_bytes
        if None in wanted
        else sum(f.size_bytes for f in tx.files(dataset_id) if any(policy.matches(f.path, glob) for glob in wanted))
        for dataset_id, wanted in globs.items()
    )


def see_quotas(tx: Transaction, settings: Settings, before: Sequence[Usage], made: Iterable[Restore]) -> None:
    """Raise `OverQuota` where what was just `made` has grown beyond a limit; the transaction ends with it, and nothing is written."""
    for old in before:
        if old.limit_bytes is None:
            continue
        now = usage(tx, settings, old.kind, old.name)
        if now.used_bytes > old.limit_bytes and now.used_bytes > old.used_bytes:
            raise _over_quota(tx, old, now.used_bytes - old.used_bytes, {r.id for r in made})


def see_still_allowed(tx: Transaction, settings: Settings, restore: Restore) -> None:
    """Raise `OverQuota` when its user or project has more than it may by now (an admin lowered the quota): nothing is kept longer then."""
    for kind, name in (("user", restore.user), ("project", tx.dataset(restore.dataset_id).project)):
        now = usage(tx, settings, kind, name)
        if now.limit_bytes is not None and now.used_bytes > now.limit_bytes:
            raise _over_quota(tx, now, 0, ())


def _over_quota(tx: Transaction, usage: Usage, asked_bytes: int, made: Collection[int]) -> OverQuota:
    """The error that names what could be ended."""
    older = [r for r in tx.live_restores(usage.kind, usage.name) if r.id not in made][:_NAMED]
    known = tx.datasets_numbered({r.dataset_id for r in older})
    named = ", ".join(f"restore {r.id} of {known[r.dataset_id].full_name}" for r in older)
    whose = "you have" if usage.kind == "user" else f"the project {usage.name} has"
    return OverQuota(
        f"With this, {whose} {usage.used_bytes + asked_bytes:,} bytes restored or held at once; the limit is {usage.limit_bytes:,}.",
        f"End something first ({named}), or ask an admin for a larger quota." if named else "Ask for less, or ask an admin for a larger quota.",
        quota={"kind": usage.kind, "name": usage.name, "used_bytes": usage.used_bytes, "limit_bytes": usage.limit_bytes, "asked_bytes": asked_bytes},
        end=[{"restore_id": r.id, "dataset": known[r.dataset_id].full_name, "size_bytes": r.size_bytes, "state": r.state} for r in older],
    )


# room in hot


def capacity(tx: Transaction, settings: Settings) -> int | None:
    """What hot may hold beside the reserve for what arrives (pace of the last 30 days); None: any amount."""
    whole = settings.policy.hot_capacity_bytes
    if whole is None:
        return None
    return whole - int(tx.received_since(tx.at - _PACE) * (settings.policy.hot_reserve / _PACE))


def room(tx: Transaction, settings: Settings) -> int | None:
    """Bytes that may still be brought back: capacity, less what lies in hot and what claimed restores will bring. None: any amount."""
    most = capacity(tx, settings)
    if most is None:
        return None
    coming: dict[int, set[str | None]] = {}
    for dataset_id, glob in tx.coming_back():
        coming.setdefault(dataset_id, set()).add(glob)
    absent = sum(
        size
        for dataset_id, globs in coming.items()
        for path, size in tx.absent_from(policy.HOT, dataset_id)
        if any(policy.matches(path, glob) for glob in globs)
    )
    return most - tx.bytes_in(policy.HOT) - absent


def admit(tx: Transaction, settings: Settings) -> list[Restore]:
    """Let restores that wait for room go on, in turn, as long as the next one fits. Returns those that were let through."""
    waiting = {r.id: r for r in tx.waiting_for_room()}
    through: list[Restore] = []
    if not waiting:
        return through
    left, blocked = room(tx, settings), False
    for turn in in_turn([Waiting(r.id, r.user, r.priority, r.requested_at) for r in waiting.values()], tx.restores_running()):
        restore = waiting[turn.id]
        need = sum(size for path, size in tx.absent_from(policy.HOT, restore.dataset_id) if policy.matches(path, restore.files_glob))
        if left is not None and need:
            if blocked or need > left:
                blocked = True  # nobody smaller slips by: the large ones would never have their turn
                continue
            left -= need
        tx.claim_for(tx.alter_restore(restore, "admitted", error=None))
        through.append(restore)
    return through


# writing down


def write_down(
    tx: Transaction,
    settings: Settings,
    user: str,
    chosen: Sequence[Chosen],
    keep_days: int,
    *,
    priority: int = 0,
    admin: bool = False,
    quote_id: str | None = None,
) -> list[Restore]:
    """One restore for each dataset, all or none. An equal one of this user that is under way is joined, and made as urgent as is asked now.

    Raises `OverQuota`, `NoRoom`, `WrongUse`.
    """
    tx.lock_quotas()
    priority_asked(priority, admin=admin)
    days_asked(settings, keep_days)
    before = usages(tx, settings, user, chosen)
    most, left = capacity(tx, settings), room(tx, settings)
    queue = bool(tx.waiting_for_room())
    approve = needs_approval(settings, chosen, admin=admin)
    made = []
    for one in chosen:
        dataset = one.seen.dataset
        wish = (user, one.files_glob, keep_days, None)
        equal = next((r for r in tx.restores_of(dataset.id) if (r.user, r.files_glob, r.keep_days, r.ready_at) == wish), None)
        if equal is not None:
            if priority > equal.priority:
                equal = tx.alter_restore(equal, "urged", priority=priority)
                tx.look(dataset.id)
            made.append(equal)
            continue
        need = one.absent_bytes
        if most is not None and need > max(most, 0):
            raise NoRoom(
                f"{dataset.full_name} needs {need:,} bytes; fast storage has {max(most, 0):,} beside its reserve, were it empty.",
                "Ask for some of its files (`files`), or read it where it is.",
            )
        fits = left is None or need == 0 or (need <= left and not queue)
        restore = tx.add_restore(
            dataset,
            user,
            one.files_glob,
            keep_days,
            policy.promise(one.from_tier, settings),
            priority=priority,
            size_bytes=one.size_bytes,
            from_tier=one.from_tier,
            quote_id=quote_id,
            claim=fits and not approve,
        )
        if approve:
            tx.change("restore", restore, RestoreState.AWAITING_APPROVAL)
        elif not fits:
            tx.change("restore", restore, RestoreState.QUEUED, error=WAITS_FOR_ROOM)
            queue = True
        elif left is not None:
            left -= need
        made.append(tx.restore(restore.id))
    see_quotas(tx, settings, before, made)
    return made


def needs_approval(settings: Settings, chosen: Sequence[Chosen], *, admin: bool) -> bool:
    """Whether an admin is asked first; what an admin asks for is approved."""
    return not admin and sum(c.size_bytes for c in chosen) > settings.policy.approval_above_bytes
