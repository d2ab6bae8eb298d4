"""What people are told: data that leaves hot soon, what became of their restores, and to admins what needs one.

Law: it is written down first, in one transaction for all channels, and sent from there (outbox.py), so nothing is told twice and nothing
is lost. "Leaving hot soon" comes once a day at most, for all of a person's projects together; each dataset is told once at each of
`notices.before_days`, late rather than never. A hub that does not answer is asked at the next run, and nothing counts as told until then.
That new data wait is told once when it begins, and once when it is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from archiver import guards, obstacles, outbox, policy, silence
from archiver.archive import Archive
from archiver.config import Settings
from archiver.errors import PublicError
from archiver.ledger import Transaction
from archiver.ledger.messages import NOTEBOOK
from archiver.model import Claim, ClaimKind, Dataset, Event, Restore
from archiver.people import HubPeople, People

log = logging.getLogger(__name__)

LEAVING, TROUBLE, HELD, SILENT, WAITS = "leaving-hot", "trouble", "drops-held", "silent", "reception-waits"
_MOST_LISTED = 200
_WAITS_TOLD = "notices-reception"  # note: since when new data wait, as it was told, and why
_MOST_EVENTS = 1000
# Numbers of events are given before they are visible: one may appear behind a number that was seen already (PostgreSQL).
_OVERLAP = 200
_LATE = timedelta(hours=1)
_FIRST_LOOK_BACK = timedelta(days=1)
_USERS = ("restore.ready", "restore.partly_ready", "restore.failed", "restore.denied")
_ADMINS = ("restore.awaiting_approval", "erasure.requested")
_SHOUTED = ("copy.lost", "copy.quarantined", "transfer.quarantined", "drill.failed")


@dataclass(frozen=True)
class _Leaving:
    """A dataset that leaves hot, and the one of `before_days` that is told now."""

    dataset: Dataset
    at: datetime
    stage: int

    @property
    def key(self) -> tuple[int, str, int]:
        return self.dataset.id, f"{self.at:%Y-%m-%d}", self.stage


def run(archive: Archive) -> None:
    """The chore: write down what is to be told, and send what is due. Can be repeated at any time. Raises what kept it from telling everything."""
    with HubPeople(archive.settings.api) as people:
        tell(archive, people)


def tell(archive: Archive, people: People) -> None:
    """The same, with who is who from `people`."""
    failed: PublicError | None = None
    steps: tuple[Callable[[Archive, People], None], ...] = (_restores, _admins, _reception, _leaving)
    for step in steps:
        try:
            step(archive, people)
        except PublicError as error:  # the hub does not answer; what was told goes out all the same
            log.warning("not everybody could be told: %s", error)
            failed = error
    outbox.deliver(archive)
    if failed is not None:
        raise failed


# leaving hot soon


def _leaving(archive: Archive, people: People) -> None:
    days = sorted(archive.settings.notices.before_days)
    with archive.ledger.read() as tx:
        today = f"{tx.at:%Y-%m-%d}"
        if not days or tx.note("notices-leaving") == today:
            return
        found = _leaving_soon(tx, archive.settings, days)
    members = {project: people.members(project) for project in {one.dataset.project for one in found}}
    with archive.ledger.begin() as tx:
        told = _told(tx, days)
        for user in sorted(set().union(*members.values())):
            new = [one for one in found if user in members[one.dataset.project] and one.key not in told.get(user, ())]
            if new:
                _write(tx, archive.settings, user, LEAVING, today, *_leaving_text(archive.settings, user, new))
        tx.set_note("notices-leaving", today)


def _leaving_soon(tx: Transaction, settings: Settings, days: Sequence[int]) -> list[_Leaving]:
    """Datasets that leave hot within the longest of `days`, those that leave first before others."""
    found = []
    for page in tx.changing_before(tx.at + timedelta(days=days[-1] + 1)):
        ids = [d.id for d in page]
        globs = {r.id: r.files_glob for r in tx.open_restores(ids)}
        claims: dict[int, list[Claim]] = {i: [] for i in ids}
        for claim in tx.stored_claims(ids):
            claims[claim.dataset_id].append(claim)
        for dataset in page:
            at = leaves_at(dataset, claims[dataset.id], globs, settings, tx.at)
            left = None if at is None else (at.date() - tx.at.date()).days
            if at is not None and left is not None and left <= days[-1]:
                found.append(_Leaving(dataset, at, next(d for d in days if left <= d)))
    return sorted(found, key=lambda one: (one.at, one.dataset.full_name))


def leaves_at(
    dataset: Dataset, claims: Iterable[Claim], restore_globs: Mapping[int, str | None], settings: Settings, now: datetime
) -> datetime | None:
    """When a dataset leaves hot by time alone, or the part of it that a claim keeps there; None: it is not there, or no end is known."""
    whole = [c.until for c in policy.age_claims(dataset, settings, now) if c.tier == policy.HOT]
    part: list[datetime | None] = []
    for claim in claims:
        if claim.tier == policy.HOT and policy.counts(claim):
            restored = claim.kind is ClaimKind.RESTORE and claim.restore_id is not None
            glob = restore_globs.get(claim.restore_id or 0) if restored else claim.files_glob
            (whole if glob is None else part).append(claim.until)
    ends = whole or part
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def _told(tx: Transaction, days: Sequence[int]) -> dict[str, set[tuple[int, str, int]]]:
    """What each person was told of leaving: (dataset, the day it leaves, the stage)."""
    told: dict[str, set[tuple[int, str, int]]] = {}
    for notice in tx.notices_of(LEAVING, tx.at - timedelta(days=days[-1] + 2)):
        told.setdefault(notice.user, set()).update((i, day, stage) for i, day, stage in notice.body["told"])
    return told


def _leaving_text(settings: Settings, user: str, leaving: Sequence[_Leaving]) -> tuple[str, dict[str, Any]]:
    first = leaving[0]
    many = f"{first.dataset.full_name} leaves" if len(leaving) == 1 else f"{len(leaving)} datasets leave"
    until = f"{min(first.at + timedelta(days=60), first.at + timedelta(days=settings.policy.hold_days_max // 2)):%Y-%m-%d}"
    lines = [
        f"Hello {user},",
        "",
        "these datasets leave the fast storage soon. They stay safe, in the archive, and can be brought back at any time.",
        "",
    ]
    listed = []
    for one in leaving[:_MOST_LISTED]:
        size = _size(one.dataset.size_bytes)
        lines.append(f"  {one.at:%Y-%m-%d}  {one.dataset.full_name}  {size}  (project {one.dataset.project})")
        listed.append(
            {
                "id": one.dataset.id,
                "dataset": one.dataset.full_name,
                "project": one.dataset.project,
                "size_bytes": one.dataset.size_bytes,
                "leaves_at": _iso(one.at),
            }
        )
    if len(leaving) > _MOST_LISTED:
        lines.append(f"  … and {len(leaving) - _MOST_LISTED:,} more")
    lines += ["", "If you still need one at hand, this line in a notebook keeps it there:", ""]
    lines.append(f'  import neve; neve.hold("{first.dataset.full_name}", until="{until}", reason="…")')
    lines += _page(settings, "", "or the form on its page")
    body = {
        "text": "\n".join(lines) + "\n",
        "datasets": listed,
        "told": [list(one.key) for one in leaving],
        "good_until": _iso(leaving[-1].at),
    }
    return f"{many} the fast storage soon, first on {first.at:%Y-%m-%d}", body


# restores, to who asked


def _restores(archive: Archive, _people: People) -> None:
    with archive.ledger.read() as tx:
        if not _new_events(tx, "notices-restores", _USERS):
            return
    with archive.ledger.begin() as tx:
        for event in _new_events(tx, "notices-restores", _USERS):
            asked = tx.restore(int(event.detail["restore_id"]))
            dataset = tx.dataset(asked.dataset_id)
            subject, lines = _restore_text(tx, event.kind.partition(".")[2], asked, dataset)
            lines += _page(archive.settings, f"datasets/{dataset.id}", "See")
            _write(tx, archive.settings, asked.user, f"{event.kind}#{asked.id}", f"{event.at:%Y-%m-%d}", subject, {"text": "\n".join(lines) + "\n"})
        _move(tx, "notices-restores", _USERS)


def _restore_text(tx: Transaction, what: str, asked: Restore, dataset: Dataset) -> tuple[str, list[str]]:
    name, until = dataset.full_name, f"{asked.expires_at:%Y-%m-%d %H:%M} UTC" if asked.expires_at else "its time is over"
    part = f" (its files {asked.files_glob!r})" if asked.files_glob else ""
    if what == "ready":
        return f"{name} is restored", [f"{name}{part} is back, at its path /data/{dataset.prefix}, until {until}."]
    if what == "partly_ready":
        failed = [f"  {path}: {why}" for of, path, why in tx.given_up([dataset.id], policy.HOT) if of == dataset.id][:20]
        return f"{name} is partly restored", [f"{name}{part} is back until {until}, but for:", *failed]
    if what == "denied":
        return f"The restore of {name} was denied", [f"An admin denied the restore of {name}{part}: {asked.error}"]
    return f"The restore of {name} failed", [
        f"No file of {name}{part} could be brought back: {asked.error}",
        "",
        "The archive's admins are told too.",
    ]


# what needs an admin


def _admins(archive: Archive, people: People) -> None:
    with archive.ledger.read() as tx:
        if not any(_for_admins(tx)) and not _silent(tx, archive.settings):
            return
    admins = sorted(set(archive.settings.notices.admins) or people.admins())
    if not admins:
        log.error("nobody can be told what needs an admin: the hub names none, and notices.admins is empty")
    with archive.ledger.begin() as tx:
        asked, shouted, held = _for_admins(tx)
        today = f"{tx.at:%Y-%m-%d}"
        for name, lines in _silent(tx, archive.settings).items():
            _tell_admins(tx, archive, admins, f"{SILENT}#{name}", today, f"Nothing is heard of {name}", lines)
        for event in asked:
            _tell_admins(tx, archive, admins, f"{event.kind}#{event.id}", f"{event.at:%Y-%m-%d}", *_approval_text(tx, event))
        if held is not None:
            lines = [f"Nothing is dropped until an admin says so: {held}", "", "When that is as it should be: archiver release"]
            _tell_admins(tx, archive, admins, HELD, today, "Drops are held", lines)
        if shouted:
            subject, lines = _trouble_text(tx, shouted)
            _tell_admins(tx, archive, admins, f"{TROUBLE}#{tx.at:%H}", today, subject, lines, events=[e.id for e in shouted])
            _move(tx, "notices-trouble", _SHOUTED)
        _move(tx, "notices-approvals", _ADMINS)


def _reception(archive: Archive, people: People) -> None:
    """New data wait, or come in again: told once when it begins, and once when it has ended."""
    with archive.ledger.read() as tx:
        if _reception_changed(tx) is None:
            return
    admins = sorted(set(archive.settings.notices.admins) or people.admins())
    with archive.ledger.begin() as tx:
        changed = _reception_changed(tx)
        if changed is None:
            return
        ended, begun = changed
        day = f"{tx.at:%Y-%m-%d}"
        if ended is not None and begun is None:
            lines = [f"What was sent had to wait, because {ended[1]} since {_minute(ended[0])}. It is received again; senders go on by themselves."]
            _tell_admins(tx, archive, admins, f"{WAITS}#{ended[0]}#over", day, "New data are received again", lines)
        if begun is not None:
            says = obstacles.SAYS[begun.kind]
            lines = [
                f"Since {_minute(begun.since)} new data wait, because {says}: {begun.why}",
                "",
                "Nothing is lost: instruments keep what they have, and go on by themselves when there is room. You are told when it is over.",
            ]
            _tell_admins(tx, archive, admins, f"{WAITS}#{begun.since}", day, f"New data wait: {says}", lines)
        tx.set_note(_WAITS_TOLD, "" if begun is None else f"{begun.since} {obstacles.SAYS[begun.kind]}")


def _reception_changed(tx: Transaction) -> tuple[tuple[str, str] | None, obstacles.Obstacle | None] | None:
    """What was told to have begun (since when, and what) and has ended, and what has begun and is to be told; None: nothing of both."""
    since, _, says = (tx.note(_WAITS_TOLD) or "").partition(" ")
    now = obstacles.standing(tx)
    now = now if now is not None and now.sure else None
    if since == ("" if now is None else now.since):
        return None
    return ((since, says) if since else None), now


def _minute(iso: str) -> str:
    return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M} UTC"


def _for_admins(tx: Transaction) -> tuple[list[Event], list[Event], str | None]:
    """What waits for approval; what went wrong, at most once an hour; why drops are held, once a day."""
    today, hour = f"{tx.at:%Y-%m-%d}", f"{TROUBLE}#{tx.at:%H}"
    before = tx.notices_of(TROUBLE, tx.at - _FIRST_LOOK_BACK)
    told = {number for notice in before for number in notice.body["events"]}
    full = any((notice.kind, notice.day) == (hour, today) for notice in before)
    shouted = [] if full else [e for e in _new_events(tx, "notices-trouble", _SHOUTED) if e.id not in told]
    reminded = any(notice.day == today for notice in tx.notices_of(HELD, tx.at - _FIRST_LOOK_BACK))
    approved = {n.kind for kind in _ADMINS for n in tx.notices_of(kind, tx.at - _FIRST_LOOK_BACK)}
    asked = [e for e in _new_events(tx, "notices-approvals", _ADMINS) if f"{e.kind}#{e.id}" not in approved]
    return asked, shouted, None if reminded else tx.note(guards.HOLD)


def _silent(tx: Transaction, settings: Settings) -> dict[str, list[str]]:
    """Instruments that should measure and are silent, each told of once a day."""
    today = f"{tx.at:%Y-%m-%d}"
    return {
        instrument.name: [
            f"Nothing was heard of the instrument {instrument.name} for {span.total_seconds() / 3600:.1f} hours, while it should measure.",
            "",
            "See that `neve watch` runs there and reaches the network. Nothing is lost: what it has waits in its folder.",
        ]
        for instrument, span in silence.silent(tx, settings.reception)
        if not any(notice.day == today for notice in tx.notices_of(f"{SILENT}#{instrument.name}", tx.at - _FIRST_LOOK_BACK))
    }


def _tell_admins(
    tx: Transaction, archive: Archive, admins: Sequence[str], kind: str, day: str, subject: str, lines: Sequence[str], **more: Any
) -> None:
    text = "\n".join([*lines, *_page(archive.settings, "", "See")]) + "\n"
    for admin in admins:
        _write(tx, archive.settings, admin, kind, day, subject, {"text": text, **more})


def _approval_text(tx: Transaction, event: Event) -> tuple[str, list[str]]:
    dataset = tx.dataset(event.dataset_id)
    if event.kind.startswith("restore"):
        asked = tx.restore(int(event.detail["restore_id"]))
        what = f"{asked.user} asks for {dataset.full_name} ({_size(asked.size_bytes)}, {asked.keep_days} days): restore {asked.id}."
        return f"A restore of {dataset.full_name} waits for approval", [what]
    return f"An erasure in {dataset.full_name} waits for a second admin", [
        f"{event.actor} asks for files of {dataset.full_name} to be erased for ever."
    ]


def _trouble_text(tx: Transaction, events: Sequence[Event]) -> tuple[str, list[str]]:
    names = {i: d.full_name for i, d in tx.datasets_numbered({e.dataset_id for e in events}).items()}
    lines = [
        f"  {event.at:%Y-%m-%d %H:%M} UTC  {event.kind}  {names[event.dataset_id]}  {event.detail.get('tier', '')}  "
        f"{event.detail.get('why') or event.detail.get('error') or ''}".rstrip()
        for event in events[:20]
    ]
    more = [f"  … and {len(events) - 20:,} more"] if len(events) > 20 else []
    head = ["What is lost or damaged is made anew from another proven copy where there is one; `archiver ledger check` says what is not.", ""]
    return f"{len(events)} event(s) in the archive need a look", [*head, *lines, *more]


# how it is written down


def _new_events(tx: Transaction, cursor: str, kinds: Sequence[str]) -> list[Event]:
    """Events after the last one that was seen, and recent ones shortly before it: they may have appeared since. What is written is so once."""
    seen = tx.note(cursor)
    if seen is None:
        return tx.events_since(0, kinds, tx.at - _FIRST_LOOK_BACK, _MOST_EVENTS)
    found = tx.events_since(int(seen) - _OVERLAP, kinds, None, _MOST_EVENTS)
    return [event for event in found if event.id > int(seen) or event.at > tx.at - _LATE]


def _move(tx: Transaction, cursor: str, kinds: Sequence[str]) -> None:
    """These events count as seen."""
    found = _new_events(tx, cursor, kinds)
    if found:
        tx.set_note(cursor, str(max(int(tx.note(cursor) or 0), found[-1].id)))


def _write(tx: Transaction, settings: Settings, user: str, kind: str, day: str, subject: str, body: dict[str, Any]) -> None:
    """Write a message down for each channel of a person who wants messages, once."""
    address = tx.address(user)
    if address is not None and not address.wants:
        return
    for channel in [NOTEBOOK, *(outbox.channels(settings.notices, address) if address is not None else [])]:
        kept = body if channel == NOTEBOOK else {name: value for name, value in body.items() if name not in {"told", "events"}}
        tx.add_notice(user, kind, day, channel, subject, kept)


def _page(settings: Settings, path: str, word: str) -> list[str]:
    url = settings.notices.public_url
    return ["", f"{word}: {url.rstrip('/')}/{path}"] if url else []


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _size(size_bytes: int) -> str:
    number = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 99.5 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
