"""Files are read again when the program's readers have improved (formats.VERSION), so that what is old is found as well as what is new.

Law: only what can be read without a recall; what is cold keeps what is known of it, and its turn comes with its next copy that can be
read: a restore's. What fails this time, or is erased meanwhile, loses nothing that was known. Each copy is looked at once per version, in order of
number (note `rereading`: version and number), at no more than `reception.reread_per_day_bytes`. A dataset's manifest stays as it was
written at close; the ledger's own line of the dataset is derived anew from its files, as at close.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from archiver import contents, formats, manifest
from archiver.archive import Archive
from archiver.ledger import Transaction
from archiver.ledger.many import Lies
from archiver.model import DatasetState, File, MetadataState

log = logging.getLogger(__name__)

EVERY = timedelta(minutes=5)
"""How often `run` shall come."""
_RUN_S = 60.0  # other chores wait so long; what is left then waits for the next
_DAY = timedelta(days=1)
_COPIES = 500  # and datasets, at a time
_TOGETHER = 50
_SEEN, _PAID = "rereading", "rereading-paid"
# Numbers of copies are given before they are visible: one may appear behind a number that was seen already (PostgreSQL).
_OVERLAP = 1_000


@dataclass
class Report:
    """What came of reading again. `failed`: what was known of them stays. `left`: cold, erased meanwhile, or too large; as they were."""

    read: int = 0
    failed: int = 0
    left: int = 0
    size_bytes: int = 0

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "reader_version": formats.VERSION}


def run(archive: Archive) -> None:
    """The chore. Raises `StoreUnavailable`; repeated, it goes on."""
    per_day = archive.settings.reception.reread_per_day_bytes
    _derive(archive)
    if per_day:
        _go_on(archive, per_day, time.monotonic() + _RUN_S)
        _derive(archive)


def _go_on(archive: Archive, per_day: int, until: float) -> None:
    tiers = _readable(archive)
    with archive.ledger.read() as tx:
        seen, paid, now = _seen(tx.note(_SEEN)), tx.note(_PAID), tx.at
    at = max(seen - _OVERLAP, 0)
    paid_to = max(datetime.fromisoformat(paid), now - EVERY) if paid else now - EVERY  # what was not used is not saved up
    while True:
        with archive.ledger.read() as tx:
            copies = tx.copies_after(at, tiers, _COPIES)
            older = tx.older_in([copy.object_id for copy in copies], formats.VERSION)
        for start in range(0, len(older), _TOGETHER):
            if paid_to > now or time.monotonic() >= until:
                return
            report = again(archive, older[start : start + _TOGETHER])
            paid_to += report.size_bytes / per_day * _DAY
            with archive.ledger.begin() as tx:
                tx.set_note(_PAID, paid_to.isoformat())
        if not copies:
            return
        at = copies[-1].id
        if at > seen:
            with archive.ledger.begin() as tx:
                tx.set_note(_SEEN, f"{formats.VERSION} {at}")


def _seen(note: str | None) -> int:
    """The copy up to which this version has looked; another version begins anew."""
    version, _, number = (note or "0 0").partition(" ")
    return int(number) if int(version) == formats.VERSION else 0


def by_hand(archive: Archive, reference: str | None, *, everything: bool, progress: Callable[[int], None] = lambda _files: None) -> Report:
    """Read again now: the files of one dataset, or all, that were read with an older version; `everything`: with this one too.

    Raises `NotFound`, `Ambiguous`, `StoreUnavailable`; repeated, it goes on.
    """
    with archive.ledger.read() as tx:
        dataset_id = None if reference is None else tx.find_dataset(reference).id
    report, after = Report(), 0
    while True:
        with archive.ledger.read() as tx:
            files = tx.looked_into(dataset_id, None if everything else formats.VERSION, after, _TOGETHER)
        if not files:
            break
        done = again(archive, files)
        for name, number in asdict(done).items():
            setattr(report, name, getattr(report, name) + number)
        after = files[-1].id
        progress(len(files))
    _derive(archive)
    return report


def again(archive: Archive, files: Sequence[File]) -> Report:
    """Read these files anew where that needs no recall, and write down what they say now. Raises `StoreUnavailable`."""
    order = {name: number for number, name in enumerate(archive.settings.tiers)}
    readable = _readable(archive)
    with archive.ledger.read() as tx:
        lie = tx.lie([file.object_id for file in files])
    where: list[tuple[File, Lies]] = []
    for file in files:
        near = sorted((lies for lies in lie[file.object_id] if lies.copy.tier in readable), key=lambda lies: order[lies.copy.tier])
        where += [(file, near[0])] if near else []
    said = contents.look(archive, where)
    report = Report(left=len(files) - len(where), size_bytes=sum(file.size_bytes for file, _ in where))
    for dataset_id, group in groupby(sorted(files, key=lambda file: file.dataset_id), key=lambda file: file.dataset_id):
        of = {file.id: file for file in group if file.id in said}
        rows = {number: row for number, file in of.items() if (row := _merged(file, said[number])) is not None}
        report.left += len(of) - len(rows)
        _write(archive, dataset_id, of, said, rows)
        report.read += sum(row["metadata_error"] is None for row in rows.values())
        report.failed += sum(row["metadata_error"] is not None for row in rows.values())
    return report


def _merged(file: File, said: contents.Said) -> dict[str, Any] | None:
    """What the ledger says of a file from now on; None: it was not looked into, and stays as it is."""
    row = said.row
    if not row["reader_version"]:
        log.warning("file %s could not be read again: %s", file.id, row["metadata_error"])
        return None
    if row["metadata_state"] is not MetadataState.FAILED:
        return {**row, "has_preview": row["has_preview"] or file.has_preview}
    if file.metadata_state is not MetadataState.OK:
        return {**row, "metadata": row["metadata"] or file.metadata, "has_preview": row["has_preview"] or file.has_preview}
    known = {name: getattr(file, name) for name in row}
    why = f"It was read again with version {formats.VERSION} of the readers, in vain; what is shown was read before. {row['metadata_error']}"
    return {**known, "metadata_error": why, "reader_version": formats.VERSION}


def _write(archive: Archive, dataset_id: int, of: dict[int, File], said: dict[int, contents.Said], rows: dict[int, dict[str, Any]]) -> None:
    """Previews first, then the ledger's lines of a dataset's files; what was erased meanwhile leaves neither."""
    shown = [number for number, row in rows.items() if said[number].preview and said[number].columns["metadata_error"] == row["metadata_error"]]
    for number in shown:
        contents.keep_preview(archive, dataset_id, of[number].path_raw, said[number])
    if not rows:
        return
    with archive.ledger.begin() as tx:
        written = tx.reread(dataset_id, [{"of": number, **row} for number, row in rows.items()])
    for number in shown:
        if number not in written:
            contents.forget_preview(archive, dataset_id, of[number].path_raw)


def _derive(archive: Archive) -> None:
    """Derive datasets' own metadata anew from their files, as at close."""
    while True:
        with archive.ledger.read() as tx:
            stale = tx.stale(_COPIES)
        for dataset_id in stale:
            with archive.ledger.begin() as tx:
                _derive_one(tx, dataset_id)
        if not stale:
            return


def _derive_one(tx: Transaction, dataset_id: int) -> None:
    tx.hold_still(dataset_id)
    dataset = tx.dataset(dataset_id)
    if dataset.state is not DatasetState.CLOSED:  # an open one is described when it closes
        tx.update_dataset(dataset_id, stale_at=None)
        return
    derived = manifest.summary(tx.files(dataset_id), dataset.called)
    if tx.erased_files(dataset_id):
        derived["acquired_at"] = dataset.acquired_at  # its age stays what it was
    tx.update_dataset(dataset_id, **derived, stale_at=None, look_at=tx.at)  # its age may be another
    tx.event(dataset_id, "dataset.reread", {"reader_version": formats.VERSION})


def _readable(archive: Archive) -> set[str]:
    """The tiers that are read without a recall."""
    return {name for name, tier in archive.settings.tiers.items() if tier.recall == "never"}
