"""What all that comes from outside shares, files and snapshots: whose dataset it is, what a path may be, and parts that become one object.

Law: a sender reaches its own open datasets and nothing else; another's answers as one that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from archiver import names, policy
from archiver.archive import Archive
from archiver.errors import NotFound, ReceptionFull, TooLarge, WrongUse
from archiver.keys import Sender
from archiver.ledger import Transaction
from archiver.model import Dataset, Project
from archiver.storage import AlreadyThere, Part, Tier, Vanished

_PATH_BYTES = 4096


class NotAll(Exception):
    """Parts of an upload are lacking."""


def own(dataset: Dataset, sender: Sender) -> Dataset:
    """The dataset, if it is the sender's. Raises `NotFound`: another's answers as one that is not there."""
    mine = dataset.opened_by == sender.name or (dataset.opened_by is None and sender.instrument == dataset.instrument)
    if not mine or (sender.instrument is not None and sender.instrument != dataset.instrument) or not sender.may_send_to(dataset.project):
        raise NotFound(f"There is no dataset number {dataset.id} that {sender.name} may send to.", "Open one of its own: POST datasets.")
    return dataset


def chain(tx: Transaction, sender: Sender, dataset_id: int) -> list[Dataset]:
    """The sender's dataset and those that continue it. Raises `NotFound`."""
    try:
        first = tx.dataset(dataset_id)
    except NotFound:
        raise NotFound(f"There is no dataset number {dataset_id} that {sender.name} may send to.", "Open one of its own: POST datasets.") from None
    return tx.chain(own(first, sender))


def check(archive: Archive, wanted: Iterable[tuple[bytes, int]]) -> None:
    """See that each (path, bytes) can be a file of a dataset. Raises `WrongUse`, `TooLarge`."""
    limit = archive.settings.reception.file_max_bytes
    seen: set[bytes] = set()
    for path_raw, size_bytes in wanted:
        shown = names.text(path_raw)
        parts = path_raw.split(b"/")
        if len(path_raw) > _PATH_BYTES or b"\0" in path_raw or any(part in {b"", b".", b".."} for part in parts):
            raise WrongUse(f"{shown[:200]!r} cannot be the path of a file in a dataset.", "Give a path below the dataset, without '.' and '..'.")
        if path_raw in seen:
            raise WrongUse(f"The path {shown!r} is named twice.", "Send each path once.")
        seen.add(path_raw)
        if size_bytes > limit:
            raise TooLarge(f"{shown} has {size_bytes} bytes, the limit is {limit}.", "Split it, or ask an admin to raise reception.file_max_bytes.")


def room(archive: Archive, tx: Transaction, more_bytes: int, besides_bytes: int = 0) -> None:
    """See that fast storage has room for more. `besides_bytes`: what is taken there beside copies. Raises `ReceptionFull`."""
    most = archive.settings.policy.hot_capacity_bytes
    if most is not None and (held := tx.bytes_in(policy.HOT) + besides_bytes) + more_bytes > most:
        raise ReceptionFull(
            f"Fast storage holds {held} of {most} bytes: there is no room for {more_bytes} more.",
            "Wait: it is asked for again by itself. An admin can make room, or raise policy.hot_capacity_bytes.",
        )


def most_of(archive: Archive, project: Project) -> int | None:
    """What a project may hold: its own quota, else the settings'. None: any amount."""
    if project.quota_bytes is not None:
        return project.quota_bytes
    return next((most for glob, most in archive.settings.reception.project_max_bytes.items() if policy.matches(project.name, glob)), None)


def quota(archive: Archive, tx: Transaction, project: str, more_bytes: int) -> None:
    """See that a project may hold more. Raises `ReceptionFull`."""
    most = most_of(archive, tx.project(project))
    if most is not None and (held := tx.project_bytes(project)) + more_bytes > most:
        raise ReceptionFull(
            f"Project {project} holds {held} of the {most} bytes that it may: {more_bytes} more are not received.",
            "Wait: it is asked for again by itself. An admin can raise the project's quota, or reception.project_max_bytes.",
        )


def in_parts(archive: Archive, size_bytes: int) -> bool:
    """Whether so much is sent in parts."""
    return size_bytes > archive.settings.reception.parts_above_bytes


def part_sizes(tier: Tier, size_bytes: int) -> dict[int, int]:
    """Parts 1…N: number to size."""
    step = tier.part_bytes(size_bytes)
    return {number: min(step, size_bytes - start) for number, start in enumerate(range(0, size_bytes, step), start=1)}


def wanted_parts(tier: Tier, size_bytes: int, numbers: Iterable[int], what: str) -> Mapping[int, int]:
    """The sizes of these parts. Raises `WrongUse` where one is none of `what`'s."""
    sizes = part_sizes(tier, size_bytes)
    wrong = [number for number in numbers if number not in sizes]
    if wrong:
        raise WrongUse(f"{what} has no part {wrong[0]}: it has {len(sizes)}.", "Number the parts from 1.")
    return sizes


def parts_there(tier: Tier, key: str, upload_id: str, size_bytes: int) -> dict[int, Part] | None:
    """The parts of an upload that are there; None when it has ended, and another must begin."""
    with suppress(Vanished):
        return tier.parts_sent(key, upload_id)
    there = tier.begin_look(key)()
    if there is not None and there.size_bytes == size_bytes:  # made one object by a request whose answer was lost
        return {number: Part(size, "") for number, size in part_sizes(tier, size_bytes).items()}
    return None


def completed(tier: Tier, key: str, upload_id: str, size_bytes: int) -> str | None:
    """Make one object of an upload's parts; returns its version, or None: something stands at the key already, which is to be looked at.

    Raises `NotAll`, `StoreUnavailable`.
    """
    try:
        found = tier.parts_sent(key, upload_id)
        if {number: part.size_bytes for number, part in found.items()} != part_sizes(tier, size_bytes):
            raise NotAll(key)
        return tier.complete_upload(key, upload_id, found)
    except AlreadyThere:
        tier.abort_uploads(key, {key})  # by which it got there
    except Vanished:
        pass  # it was completed before, by a request whose answer was lost
    return None


def remove(tier: Tier, key: str) -> None:
    """End all that stands at a snapshot's key, and what is on its way there. Can be repeated."""
    tier.abort_uploads(key, {key})
    tier.delete_all_versions(key)
