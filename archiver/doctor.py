"""`archiver doctor`: is what the settings describe there, and does it do what the archive relies on?"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from archiver.archive import Archive, utc_now
from archiver.errors import PublicError
from archiver.storage import AlreadyThere, Tier

_PROBE_KEY = ".neve/doctor"
_MAX_CLOCK_DIFFERENCE_S = 60


@dataclass(frozen=True)
class Finding:
    """One thing examined."""

    what: str
    ok: bool
    detail: str


def examine(archive: Archive) -> list[Finding]:
    """Examine ledger, folder and each tier's store. What is written (a probe object in a bucket) is removed again."""
    findings = [_try("ledger", lambda: _ledger(archive)), _try("home", lambda: _home(archive))]
    for name, tier in archive.tiers.items():
        reached = _try(f"tier {name}", lambda tier=tier: _reach(tier))  # type: ignore[misc]
        findings.append(reached)
        if reached.ok:
            findings.append(_try(f"tier {name}, writing", lambda tier=tier: _writes(tier)))  # type: ignore[misc]
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


def _home(archive: Archive) -> str:
    home = archive.settings.home.resolve()
    if not os.access(home, os.W_OK):
        raise PublicError(f"{home} cannot be written.", "Give it to the user that runs the archiver, or set `home`.")
    free = os.statvfs(home)
    return f"{home}, {free.f_bavail * free.f_frsize / 1e9:.1f} GB free"


def _reach(tier: Tier) -> str:
    at = tier.ping()
    difference = abs((utc_now() - at).total_seconds()) if at else 0.0
    if difference > _MAX_CLOCK_DIFFERENCE_S:
        raise PublicError(f"This machine's clock and the store's differ by {difference:.0f} s.", "Start NTP; ages and proofs depend on the time.")
    return f"{tier.bucket} at {tier.endpoint_url or 'AWS'}, class {tier.settings.storage_class}"


def _writes(tier: Tier) -> str:
    """Versions, and `If-None-Match: *` that is kept."""
    tier.delete_all_versions(_PROBE_KEY)
    version = tier.put(_PROBE_KEY, 5, iter([b"probe"]), "STANDARD")
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
        tier.delete_all_versions(_PROBE_KEY)
    return "versioned, never overwrites, reads back what was written"
