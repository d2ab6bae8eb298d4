"""Strays: what stands, or comes to stand, at keys in hot that were given up: of packs that were taken apart, of files that were forgotten.

Law: a sender may use a presigned request as long as it is valid, whatever the ledger says by then, and this process may end between giving a
key up and clearing it. So a key is written down in the step that gives it up; it is looked at within minutes, and once more when nothing can
come any more. What stands there is ended, unless the key is used again.
"""

from __future__ import annotations

from datetime import timedelta

from archiver import transfer
from archiver.archive import Archive

EVERY = timedelta(minutes=5)
_AT_ONCE = 1000


def run(archive: Archive) -> None:
    """The chore. Raises `StoreUnavailable`."""
    with archive.ledger.read() as tx:
        found, now = tx.strays(_AT_ONCE), tx.at
    for key, since in found:
        transfer.end_given_up(archive, key)
        over = since + archive.settings.reception.upload_valid
        with archive.ledger.begin() as tx:
            if now > over:  # nothing could come any more when it was looked at
                tx.end_stray(key)
            else:
                tx.look_at_stray_again(key, over + EVERY)
