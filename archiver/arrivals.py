"""Where a file that comes belongs: which dataset, which version of its path, and whether this very content is here already.

Law: never overwritten, never the same twice. Other content under a known path becomes `path@v2` while the dataset is open; what comes
after it closes, or began to, goes to `name+1`. The same for local files (reception.py) and for what is sent from outside (upload.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from archiver import names
from archiver.archive import Archive
from archiver.errors import Conflict, SnapshotInTheWay
from archiver.ledger import Transaction
from archiver.model import Dataset, DatasetState, File, FileState, Snapshot, SnapshotState


def versions(path_raw: bytes) -> Iterator[bytes]:
    """`path`, `path@v2`, `path@v3`, …"""
    yield path_raw
    for version in itertools.count(2):
        yield path_raw + f"@v{version}".encode()


def known(tx: Transaction, chain: Sequence[Dataset], path_raw: bytes, size_bytes: int) -> list[File]:
    """Received or erased files of these datasets with this path (any version) and size."""
    same = []
    for link in chain:
        for path in versions(path_raw):
            file = tx.file_at(link.id, path)
            if file is None:
                break
            if file.state is not FileState.ARRIVING and file.size_bytes == size_bytes:
                same.append(file)
    return same


def same_content(found: Sequence[File], sha256: str, dataset: str) -> File | None:
    """Which of these files has this content. Raises `Conflict` when it was erased from `dataset` (`instrument/name`)."""
    file = next((file for file in found if file.sha256 == sha256), None)
    if file is not None and file.state is FileState.ERASED:
        raise Conflict(
            f"{file.path} was erased from {dataset} for ever, and is not received again.",
            "Take it out of what you send; an admin can tell when and why it was erased.",
        )
    return file


def free_path(tx: Transaction, dataset_id: int, path_raw: bytes, given: Collection[bytes]) -> tuple[bytes, File | None]:
    """The first version of a path that holds nothing yet and was not given to another file just now; and the file that is on its way there, if one
    is."""
    for path in versions(path_raw):
        if path in given:
            continue
        found = tx.file_at(dataset_id, path)
        if found is None or found.state is FileState.ARRIVING:
            return path, found
    raise AssertionError("unreachable")


def tail(tx: Transaction, project: str, instrument: str, name: str, opened_by: str | None = None) -> Dataset:
    """The open dataset that a new file of `name` goes to; opened, for `opened_by`, when there is none."""
    dataset = tx.dataset_named(instrument, name)
    if dataset is None:
        return tx.open_dataset(project, instrument, name, names.prefix(project, instrument, name, tx.at), None, opened_by)
    number = 0
    while dataset.state is not DatasetState.OPEN or dataset.closing_at is not None or described(tx, dataset):
        if dataset.state is DatasetState.OPEN and described(tx, dataset):
            tx.close_dataset(dataset.id)  # its manifest is proven: a close was cut short before its last step, and no file may come after it
        number += 1
        following = tx.followers(dataset.id)
        if following:
            dataset = following[0]
        else:
            while tx.dataset_named(instrument, new := f"{name}+{number}") is not None:  # somebody has a dataset of that very name
                number += 1
            dataset = tx.open_dataset(project, instrument, new, names.prefix(project, instrument, new, tx.at), dataset.id, opened_by)
    return dataset


class _Taken(Exception):
    """Snapshots stand where files shall be."""

    def __init__(self, snapshots: Sequence[Snapshot]) -> None:
        super().__init__()
        self.snapshots = snapshots


def see_free(tx: Transaction, dataset_id: int, paths_raw: Collection[bytes]) -> None:
    """See that no snapshot stands at these paths; within `making_way` only."""
    taken = tx.snapshots_shown_at([dataset_id], paths_raw)
    if taken:
        raise _Taken(taken)


@contextmanager
def making_way(archive: Archive) -> Iterator[None]:
    """A file comes before a snapshot that has taken its name: that ends, and the file is asked about again. Raises `SnapshotInTheWay`."""
    try:
        yield
    except _Taken as taken:
        with archive.ledger.begin() as tx:
            for one in taken.snapshots:
                if one.state in {SnapshotState.SENDING, SnapshotState.SHOWN}:  # what is in hand is so for moments
                    tx.move_snapshot(one, SnapshotState.ENDING, error="a file of its name is sent")
        shown = names.text(taken.snapshots[0].shown_raw)
        raise SnapshotInTheWay(f"A snapshot of a growing file stands at {shown}, and makes way.", "Ask again in a moment.") from None


def described(tx: Transaction, dataset: Dataset) -> bool:
    """Whether a dataset's manifest is proven."""
    found = tx.object_with_key(names.manifest_key(dataset.prefix))
    return found is not None and bool(tx.copies_of(found.id))
