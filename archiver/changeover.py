"""What a change of settings ends sooner, and that much of it waits for an admin (rule 7).

Law: the settings under which the last decisions were made are kept in the ledger. When others are found at a start, every dataset is looked
at again; if they end claims sooner on more than `policy.early_end_percent` of the data, nothing is dropped before `archiver release`.
Settings that keep longer never wait, and settings that cannot be compared always do.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from archiver import guards, policy
from archiver.archive import Archive
from archiver.config import POLICY_TABLES, Settings, exactly
from archiver.errors import WrongSetting
from archiver.ledger import Transaction

log = logging.getLogger(__name__)

Keep = Mapping[str, timedelta | None]

NOTE = "policy"
"""Note: the settings under which the last decisions were made."""


def take_up(archive: Archive) -> str | None:
    """Decide by this archive's settings from now on; returns why drops wait for an admin because of it, if they do. Can be repeated."""
    settings = archive.settings
    now = settings.model_dump_json(include=set(POLICY_TABLES))
    with archive.ledger.read() as tx:
        before = tx.note(NOTE)
        if before == now:
            return None
        why = None if before is None else _why(tx, before, settings)
    with archive.ledger.begin() as tx:
        if tx.note(NOTE) != before:  # another worker was quicker: compare with what it took up
            again = True
        else:
            again = False
            held = tx.note(guards.HOLD)
            if why is not None:
                log.warning("nothing is dropped until `archiver release`: %s", why)
                tx.set_note(guards.HOLD, why if held is None else f"{held.rstrip('.')}; {why}")
            tx.look_at_all()
            tx.set_note(NOTE, now)
            tx.set_note("tiers", " ".join(settings.tiers))
    return take_up(archive) if again else why


def differs(tx: Transaction, settings: Settings) -> bool:
    """Whether these settings are not those under which the last decisions were made."""
    return tx.note(NOTE) != settings.model_dump_json(include=set(POLICY_TABLES))


def _why(tx: Transaction, before: str, settings: Settings) -> str | None:
    try:
        old = exactly(json.loads(before), "the ledger's note of the settings before")
    except (WrongSetting, TypeError, ValueError) as error:
        return f"the settings before cannot be compared with these: {error}"
    percent = ended_sooner_percent(tx, old, settings, tx.at)
    if percent <= settings.policy.early_end_percent:
        return None
    return (
        f"the settings were changed so that claims on {percent:.3g} % of the data end sooner (policy.early_end_percent is "
        f"{settings.policy.early_end_percent:g}); `archiver simulate` shows what would go"
    )


def ended_sooner_percent(tx: Transaction, before: Settings, after: Settings, now: datetime) -> float:
    """On how much of the data (percent of the bytes of closed datasets) age's claims that last still would end sooner, in any tier."""
    whole = sooner = 0
    keeps: dict[tuple[str, str], tuple[Keep, Keep]] = {}
    for group in tx.same_age():
        size = max(group.size_bytes, group.datasets)  # data without bytes are data, too
        whole += size
        who = (group.project, group.instrument)
        if who not in keeps:
            keeps[who] = before.rules_for(*who).keep, after.rules_for(*who).keep
        old, new = keeps[who]
        ends = policy.age_ends(group, new, after)
        for tier, until in policy.age_ends(group, old, before).items():
            end = ends.get(tier, now)
            if end is not None and (until is None or max(end, now) < until):
                sooner += size
                break
    return 100 * sooner / whole if whole else 0.0
