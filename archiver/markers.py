"""Whose a bucket is, and whether the settings still know every tier that holds copies (rule 8).

Law: nothing long-running starts with settings that lose a tier, or that name another tier's bucket; a bucket's marker (`.neve/tier`) says
whose it is, and one is never written for a tier that holds copies already: these lie elsewhere.
"""

from __future__ import annotations

import logging

from archiver.archive import Archive
from archiver.errors import StoreUnavailable, WrongSetting
from archiver.storage import Tier

log = logging.getLogger(__name__)

MARKER_KEY = ".neve/tier"


def check_settings(archive: Archive, *, wait_for_stores: bool = True) -> None:
    """See that these settings are this ledger's and these buckets'. Raises `WrongSetting`, `StoreUnavailable`.

    Without `wait_for_stores` one that does not answer ends the check: what writes nothing there may start without it.
    """
    check_tiers(archive)
    for tier in archive.tiers.values():
        try:
            check_marker(tier)
        except StoreUnavailable as error:
            if wait_for_stores:
                raise
            log.warning("%s", error)
            return  # each that does not answer takes its time


def check_tiers(archive: Archive) -> None:
    """See that every tier that holds copies is in the settings. Raises `WrongSetting`."""
    with archive.ledger.read() as tx:
        lost = [name for name in tx.tiers_in_use() if name not in archive.settings.tiers]
    if lost:
        raise WrongSetting(
            f"The settings lack [tiers.{lost[0]}], which still holds copies.",
            f"Put [tiers.{lost[0]}] back. To empty a tier, give it a `keep` that has passed; take it out when `archiver status` shows none there.",
        )


def check_marker(tier: Tier) -> None:
    """See that the bucket is this tier's. Raises `WrongSetting` (another's marker, or none)."""
    found = _marker(tier)
    if found != tier.name:
        raise WrongSetting(
            f"The bucket {tier.bucket} of tier {tier.name} carries {'no marker' if found is None else f'the marker of tier {found!r}'}.",
            f"Mend tiers.{tier.name}.bucket; nothing is touched in a bucket of another tier. A new bucket gets its marker by `archiver setup`.",
        )


def mark(tier: Tier, *, holds: bool) -> bool:
    """Give a bucket its marker, unless it has one; returns whether it was written. `holds`: the ledger knows copies in this tier.

    Raises `WrongSetting` for another's marker, and for a bucket without one where copies should lie.
    """
    if _marker(tier) is None:
        if holds:
            raise WrongSetting(
                f"The bucket {tier.bucket} of tier {tier.name} carries no marker, though the ledger knows copies in this tier.",
                f"Mend tiers.{tier.name}.bucket. If the bucket was lost, write {tier.name!r} into {MARKER_KEY} of the new one: what is missing is "
                "then found and made anew.",
            )
        tier.put_text(MARKER_KEY, tier.name)
        return True
    check_marker(tier)
    return False


def _marker(tier: Tier) -> str | None:
    head = tier.head(MARKER_KEY)
    return b"".join(tier.read(MARKER_KEY, head.version_id)).decode("utf-8", "replace") if head else None
