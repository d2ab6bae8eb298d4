"""Closing datasets; and those that their senders left open: closed after a quiet time, or when they were open for too long.

Law: what is received stays. Of a dataset that is closed for its age, files that never came whole are forgotten, with a line in its
history; while it is merely quiet they are waited for. So is a snapshot that became a file and was not found whole in the store: at once.
"""

from __future__ import annotations

from datetime import timedelta

from archiver import reception, transfer
from archiver.archive import Archive
from archiver.model import Transfer, TransferState

EVERY = timedelta(minutes=5)


def close(archive: Archive, dataset_id: int) -> Transfer | None:
    """Write a dataset's manifest, have it proven, and close it; cut short anywhere, the same again does the rest.

    Returns None when it is closed, else the manifest's transfer, which says why not yet. Raises `Conflict` while files are missing.
    """
    manifest = reception.prepare_close(archive, dataset_id)
    if manifest is not None:
        with archive.ledger.read() as tx:
            arrival = tx.transfer(manifest)
        arrival = transfer.run(archive, arrival)
        if arrival.state is not TransferState.PROVEN:
            return arrival
    reception.close(archive, dataset_id)
    return None


def run(archive: Archive) -> None:
    """The chore. Raises `StoreUnavailable`."""
    reception = archive.settings.reception
    with archive.ledger.read() as tx:
        old = tx.left_open(opened_before=tx.at - reception.max_open)
        quiet = [dataset for dataset in tx.left_open(quiet_since=tx.at - reception.quiet) if dataset not in old]
        spoilt = tx.spoilt_promotions()
    for dataset_id, file_ids in spoilt.items():  # its sender has nothing of a snapshot any more that it could send again
        transfer.forget(archive, dataset_id, file_ids)
    for dataset in old:
        transfer.forget(archive, dataset.id)
    for dataset in [*old, *quiet]:
        with archive.ledger.begin() as tx:
            received, verifying, sending = tx.on_their_way([dataset.id])
            if (received + verifying or tx.shows_snapshots(dataset.id)) and not sending:
                tx.ask_to_close(tx.dataset(dataset.id))
