"""Uploads that nobody goes on with: parts without an object, which are billed and shown in no listing of objects.

A transfer that begins anew ends what it left at its key. One that was cancelled, or given up, does not come back; nor does a sender
that has gone. So once a day whatever was begun a week ago is ended, in every tier.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from archiver.archive import Archive
from archiver.storage import Upload

log = logging.getLogger(__name__)

EVERY = timedelta(days=1)
ABANDONED_AFTER = timedelta(days=7)
"""No single object takes so long."""


def run(archive: Archive) -> None:
    """The chore. Raises `StoreUnavailable`."""
    sweep(archive, ABANDONED_AFTER)


def sweep(archive: Archive, older_than: timedelta) -> int:
    """End uploads that were begun so long ago, by their store's own time; returns how many. Raises `StoreUnavailable`."""
    ended: set[tuple[str, Upload]] = set()
    for tier in archive.tiers.values():
        now = tier.ping() or archive.wall()
        while True:  # SeaweedFS (4.48) leaves uploads out where a page of its listing ends
            old = {(tier.name, upload) for upload in tier.uploads() if now - upload.begun_at >= older_than} - ended
            for _, upload in old:
                log.warning("ending an upload of %s to %s that was begun at %s", upload.key, tier.name, upload.begun_at)
                tier.abort(upload)
            ended |= old
            if not old:
                break
    return len(ended)
