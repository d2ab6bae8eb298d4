"""Recalls: asking a cold store to make a copy readable. `asked → running → readable → lapsed`, shared by all that wait.

Law: asking twice is no error (RestoreAlreadyInProgress joins the running one); only HEAD tells whether a copy is readable, never
the storage class in a listing; nothing is reported readable before the store says so.
"""

from __future__ import annotations

from archiver.archive import Archive
from archiver.model import Copy, Recall, RecallState
from archiver.storage import Tier, Vanished
from archiver.turns import in_turn


def held_back(archive: Archive) -> set[int]:
    """The recalls that the store is not asked for yet, as so many of their tier are under way (`recalls_max`): the others go first, in turn."""
    held: set[int] = set()
    with archive.ledger.read() as tx:
        for name, tier in archive.settings.tiers.items():
            if tier.recalls_max is not None:
                running = tx.recalls_running(name)
                free = max(0, tier.recalls_max - sum(running.values()))
                held.update(one.id for one in list(in_turn(tx.recalls_asked(name), running))[free:])
    return held


def advance(archive: Archive, recall: Recall) -> RecallState:
    """Take a recall one step further, if it can go; returns its state then. Raises `StoreUnavailable`, `Moved`."""
    with archive.ledger.read() as tx:
        copy = tx.copy(recall.copy_id)
    tier = archive.tiers[copy.tier]
    now = archive.clock()
    match recall.state:
        case RecallState.ASKED:
            try:
                known = tier.ask_recall(copy.key, copy.version_id)
            except Vanished:
                return _lost(archive, recall, copy)
            # A tier that always recalls, on a store that knows none, waits for its stand-in of a robot.
            to = RecallState.RUNNING if known or tier.settings.recall == "always" else RecallState.READABLE
            until = now + tier.settings.recall_keep if to is RecallState.READABLE else None
        case RecallState.RUNNING:
            head = tier.head(copy.key, copy.version_id)
            if head is None:
                return _lost(archive, recall, copy)
            if head.readable_until is not None:
                to, until = RecallState.READABLE, head.readable_until
            elif head.recalling:
                return recall.state
            elif tier.settings.recall == "always" and not _knows_recalls(tier, head.storage_class):
                if now < recall.asked_at + tier.settings.recall_wait:
                    return recall.state
                to, until = RecallState.READABLE, now + tier.settings.recall_keep
            else:
                to, until = RecallState.LAPSED, None  # the store forgot it; whoever waits asks anew
        case RecallState.READABLE:
            if recall.readable_until is None or now < recall.readable_until:
                return recall.state
            to, until = RecallState.LAPSED, recall.readable_until
        case RecallState.LAPSED:
            return recall.state
    with archive.ledger.begin() as tx:
        tx.change("recall", recall, to, readable_until=until)
    return to


def _lost(archive: Archive, recall: Recall, copy: Copy) -> RecallState:
    """The copy is gone: it no longer counts, and whoever waits looks for another."""
    with archive.ledger.begin() as tx:
        tx.change("recall", recall, RecallState.LAPSED)
        if copy.dropped_at is None:
            tx.lose_copy(copy, recall.dataset_id, "it is not in the store")
    return RecallState.LAPSED


def _knows_recalls(tier: Tier, storage_class: str) -> bool:
    """Whether a recall of this class would have left a trace on HEAD: only AWS's own cold classes on AWS do."""
    return tier.endpoint_url is None and storage_class in {"GLACIER", "DEEP_ARCHIVE"}
