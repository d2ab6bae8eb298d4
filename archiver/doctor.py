"""`archiver doctor`: is what the settings describe there, and does it do what the archive relies on?"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from archiver import guards, markers, nights, policy
from archiver.archive import Archive, utc_now
from archiver.errors import PublicError
from archiver.guards import Guard
from archiver.identity import Identity, has_profile
from archiver.storage import AlreadyThere, Tier

_PROBE_KEY = ".neve/doctor"
_MAX_CLOCK_DIFFERENCE_S = 60
_LOCK = timedelta(minutes=10)  # of a probe


@dataclass(frozen=True)
class Finding:
    """One thing examined."""

    what: str
    ok: bool
    detail: str


def examine(archive: Archive) -> list[Finding]:
    """Examine ledger, folder and each tier's store. What is written (a probe object in a bucket) is removed again."""
    findings = [_try("ledger", lambda: _ledger(archive)), _try("home", lambda: _home(archive))]
    store = archive.settings.store
    has_reaper = has_profile(store, store.reaper_profile)
    if findings[0].ok:
        findings.append(_try("settings", lambda: _settings(archive)))
        findings.append(_try("drops", lambda: _drops(archive)))
    if archive.settings.backup.bucket is not None:
        findings.append(_try("backups of homes", lambda: _nights(archive)))
    for name, tier in archive.tiers.items():
        reached = _try(f"tier {name}", lambda tier=tier: _reach(tier))  # type: ignore[misc]
        findings.append(reached)
        if reached.ok:
            reaper = Tier(name, archive.settings, Identity.REAPER) if has_reaper else None
            hands = tier if name == policy.HOT else reaper
            findings.append(_try(f"tier {name}, writing", lambda tier=tier, hands=hands: _writes(tier, hands)))  # type: ignore[misc]
            if name == policy.HOT:
                findings.append(_try(f"tier {name}, browsers", lambda tier=tier: _browsers(tier)))  # type: ignore[misc]
            else:
                findings.append(_try(f"tier {name}, ending", lambda tier=tier, hands=hands: _ends(archive, tier, hands)))  # type: ignore[misc]
    return findings


def _try(what: str, test: Callable[[], str]) -> Finding:
    try:
        return Finding(what, ok=True, detail=test())
    except PublicError as error:
        return Finding(what, ok=False, detail=str(error))
    except OSError as error:
        return Finding(what, ok=False, detail=f"{error.strerror}: {error.filename}. Mend its rights or its disk.")


def _ledger(archive: Archive) -> str:
    archive.ledger.check_revision()
    return archive.ledger.url.render_as_string(hide_password=True)


def _settings(archive: Archive) -> str:
    markers.check_tiers(archive)
    return f"know every tier that holds copies: {', '.join(archive.settings.tiers)}"


def _home(archive: Archive) -> str:
    home = archive.settings.home.resolve()
    if not os.access(home, os.W_OK):
        raise PublicError(f"{home} cannot be written.", "Give it to the user that runs the archiver, or set `home`.")
    free = os.statvfs(home)
    return f"{home}, {free.f_bavail * free.f_frsize / 1e9:.1f} GB free"


def _nights(archive: Archive) -> str:
    night = nights.last(archive.settings, archive.wall())
    assert night is not None
    if night.why:
        raise PublicError(night.why, "`neve-run backup now` tries at once.")
    return f"{night.saved} folders, saved and checked {night.done_at}"


def _reach(tier: Tier) -> str:
    at = tier.ping()
    difference = abs((utc_now() - at).total_seconds()) if at else 0.0
    if difference > _MAX_CLOCK_DIFFERENCE_S:
        raise PublicError(f"This machine's clock and the store's differ by {difference:.0f} s.", "Start NTP; ages and proofs depend on the time.")
    markers.check_marker(tier)
    return f"{tier.bucket} at {tier.endpoint_url or 'AWS'}, class {tier.settings.storage_class}"


def _drops(archive: Archive) -> str:
    """Whether anything holds drops back, in every tier or in one."""
    with archive.ledger.read() as tx:
        why = [*guards.waits(tx, archive.settings).values()]
        clock = Guard(archive).clock(tx) or Guard(archive).outrun(tx)
    if clock is not None or why:
        raise PublicError("Drops wait: " + " ".join(filter(None, [clock, *why])), "")
    return "nothing holds them back"


def _writes(tier: Tier, hands: Tier | None) -> str:
    """Versions, and `If-None-Match: *` that is kept. `hands`: who may take the probe away; where nobody here may, one stays."""
    if hands is not None:
        hands.delete_all_versions(_PROBE_KEY)
    version = _probe(tier)
    try:
        if version == "null":
            raise PublicError(f"{tier.bucket} is not versioned.", "Run `archiver setup`, which turns versioning on.")
        try:
            tier.put(_PROBE_KEY, 5, iter([b"other"]), "STANDARD")
        except AlreadyThere:
            pass
        else:
            raise PublicError("The store ignores If-None-Match, so writers could overwrite each other.", "Use a store that keeps it.")
        if b"".join(tier.read(_PROBE_KEY, version)) != b"probe":
            raise PublicError("A version does not read back as it was written.", "Do not use this store.")
    finally:
        if hands is not None:
            hands.delete_all_versions(_PROBE_KEY)
    return "versioned, never overwrites, reads back what was written"


def _browsers(tier: Tier) -> str:
    """Whether the page on which people add data may send to the store."""
    if not tier.lets_browsers_send():
        raise PublicError(
            f"The store lets no browser send to {tier.bucket}, so that the page “Add data” cannot.",
            "Run `archiver setup`, whose identity needs s3:GetBucketCORS and s3:PutBucketCORS.",
        )
    return f"may send to {tier.outside_origin}"


def _probe(tier: Tier, lock_until: datetime | None = None) -> str:
    """A probe object's version: a new one, or the one that stands there."""
    try:
        return tier.put(_PROBE_KEY, 5, iter([b"probe"]), "STANDARD", lock_until)
    except AlreadyThere:
        head = tier.head(_PROBE_KEY)
        if head is None:
            raise PublicError(f"Something stands at {_PROBE_KEY} that cannot be seen.", "See what it is and move it away.") from None
        return head.version_id


def _ends(archive: Archive, tier: Tier, reaper: Tier | None) -> str:
    """Rule 6: the everyday identity ends nothing here; the reaper does, past locks where the tier has them."""
    locked = tier.settings.lock is not None
    if locked and not tier.can_lock():
        raise PublicError(
            f"tiers.{tier.name}.lock is set, but {tier.bucket} was made without Object Lock.", "Name a new bucket, then run `archiver setup`."
        )
    version = _probe(tier, archive.wall() + _LOCK if locked else None)
    try:
        if _may_end(tier, version, bypass=locked):
            raise PublicError(
                f"The everyday identity may delete in {tier.bucket}: a fault or a thief could end the last copy.",
                "Give it no s3:DeleteObject and s3:DeleteObjectVersion there; only the reaper's identity needs them.",
            )
        if reaper is None:
            return f"the everyday identity is refused; the reaper's is not on this machine, so it was not tried, and {_PROBE_KEY} stays"
        if locked and _may_end(reaper, version, bypass=False):
            raise PublicError(f"{tier.bucket} let a locked version go.", "Use a store that keeps Object Lock, or leave tiers.*.lock out.")
        reaper.delete_version(_PROBE_KEY, version)
    finally:
        if reaper is not None:
            reaper.delete_all_versions(_PROBE_KEY)
    return "the everyday identity is refused, the reaper's is not" + (", and only it passes by locks" if locked else "")


def _may_end(tier: Tier, version_id: str, *, bypass: bool) -> bool:
    """Whether this identity may end the probe; if so, it is gone."""
    return not tier.delete_versions([(_PROBE_KEY, version_id)], bypass=bypass)
