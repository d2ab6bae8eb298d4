"""What must be so before anything is ended at all (rule 7), however right each single drop would be.

Law: a guard holds, it never revokes: what is planned waits, and the reason stands where people look (`archiver status`, /health,
doctor). Time is what age is made of, so a clock that nobody can vouch for stops every drop:
- this machine's clock against the store's, and against the newest event of the ledger (which another machine may have written);
- against itself: it is noted once a minute; one that was later before, that was set while we ran, or that comes back after a long
  silence (a store on this same disk would tell the same wrong time) is not believed before `archiver release`, or before it is right again.
A time that an admin or a test acts at (`--now`) is a wish, no fault: the real clock is looked at, whatever is acted at.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from archiver.archive import Archive
from archiver.config import Settings
from archiver.errors import StoreUnavailable
from archiver.ledger import Transaction
from archiver.storage import Tier

HOLD = "hold-drops"
"""Note: why nothing is dropped until an admin says so."""
SEEN = "clock-seen"
"""Note: this installation's clock when it was last believed."""
_WAITS = "drops-wait-"
_BEAT = timedelta(minutes=1)
_DAY = timedelta(days=1)


class Guard:
    """One process' eyes: what it knew of its own clock when it last looked."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._believed: tuple[datetime, timedelta] | None = None  # this clock, and the time since the machine started
        self._looked: timedelta | None = None

    def beat(self) -> None:
        """Note, once a minute, that the clock goes on as it should; call it at every turn. A clock that does not is not noted."""
        if self._looked is not None and _since_boot() - self._looked < _BEAT:
            return
        self._looked = _since_boot()
        stores = store_clocks(self._archive)
        if not stores or any(stores.values()):
            return
        with self._archive.ledger.begin() as tx:
            if self.clock(tx) is None:
                wall = self._archive.wall()
                tx.set_note(SEEN, max(wall, _seen(tx) or wall).isoformat())
                self._believed = wall, _since_boot()

    def hold(self, tier: Tier) -> str | None:
        """Why nothing may be ended in this tier now; None: go on. Raises `StoreUnavailable`."""
        with self._archive.ledger.read() as tx:
            why = _held(tx) or self.clock(tx) or self.outrun(tx)
        return why or store_clock(self._archive, tier)

    def clock(self, tx: Transaction) -> str | None:
        """Why this machine's clock is not believed before an admin says so, or it is right again."""
        policy, wall = self._archive.settings.policy, self._archive.wall()
        seen = _seen(tx)
        if seen is not None and wall - seen < -policy.clock_tolerance:
            return f"This machine's clock was at {seen:%Y-%m-%d %H:%M} UTC before, and is at {wall:%Y-%m-%d %H:%M} now. See that its time is right."
        if seen is not None and wall - seen > policy.clock_silence:
            return (
                f"The archive was last at work on {seen:%Y-%m-%d %H:%M} UTC, longer ago than policy.clock_silence. See that the time is right, "
                "then run `archiver release`."
            )
        vouched = seen is not None and abs(wall - seen) < policy.clock_tolerance  # by `release`, or by a process that was started since
        if self._believed is not None and not vouched:
            step = (wall - self._believed[0]) - (_since_boot() - self._believed[1])
            if abs(step) > policy.clock_tolerance:
                return f"This machine's clock was set by {_shown(step)} while we ran. See that its time is right, then run `archiver release`."
        return None

    def outrun(self, tx: Transaction) -> str | None:
        """Whether the newest event, which another machine may have written, is later than this one's clock; the sentence if so."""
        newest, wall = tx.newest_event_at(), self._archive.wall()
        if self._archive.clock is not self._archive.wall or newest is None or newest - wall <= self._archive.settings.policy.clock_tolerance:
            return None
        return f"The newest event is of {newest:%Y-%m-%d %H:%M} UTC, later than this machine's clock. See that its time is right."


def store_clock(archive: Archive, tier: Tier) -> str | None:
    """Whether this machine's clock and a store's differ by more than may be; the sentence if so. Raises `StoreUnavailable`."""
    at = tier.ping()
    difference = archive.wall() - at if at else timedelta(0)
    if abs(difference) > archive.settings.policy.clock_tolerance:
        return f"This machine's clock and the store's of tier {tier.name} differ by {_shown(difference)}. See that both have the right time (NTP)."
    return None


def room(tx: Transaction, settings: Settings) -> tuple[int, int]:
    """How many copies, and how many bytes, may still be dropped within these 24 hours."""
    count, size = tx.dropped_since(tx.at - _DAY)
    return settings.policy.drops_per_day - count, settings.policy.drop_bytes_per_day - size


def note_waits(archive: Archive, tier: str, why: str | None) -> None:
    """Write down why a tier's drops wait, for people to see; None: they go on."""
    name = _WAITS + tier
    with archive.ledger.read() as tx:
        if tx.note(name) == why:
            return
    with archive.ledger.begin() as tx:
        if why is None:
            tx.forget_note(name)
        else:
            tx.set_note(name, why)


def waits(tx: Transaction, settings: Settings) -> dict[str, str]:
    """Why drops wait, by tier, where some do; `*` where none may be carried out at all."""
    found = {}
    held = _held(tx)
    if held is not None:
        found["*"] = held
    for tier in tx.drops_waiting():
        why = tx.note(_WAITS + tier)
        if tier not in settings.tiers:
            found[tier] = "This tier is not in the settings."
        elif why is not None:
            found[tier] = why
    return found


def believe(tx: Transaction, wall: datetime) -> None:
    """An admin says that this machine's clock is right."""
    tx.set_note(SEEN, wall.isoformat())


def store_clocks(archive: Archive) -> dict[str, str | None]:
    """For each tier whose store answers: what is wrong with the clock by it, or None."""
    found = {}
    for name, tier in archive.tiers.items():
        try:
            found[name] = store_clock(archive, tier)
        except StoreUnavailable:
            continue  # whoever needs it says so
    return found


def _held(tx: Transaction) -> str | None:
    reason = tx.note(HOLD)
    return None if reason is None else f"{reason.rstrip('.')}. `archiver release` lets drops go on."


def _seen(tx: Transaction) -> datetime | None:
    text = tx.note(SEEN)
    return None if text is None else datetime.fromisoformat(text)


def _since_boot() -> timedelta:
    return timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))


def _shown(step: timedelta) -> str:
    return f"{abs(step.total_seconds()):,.0f} s"
