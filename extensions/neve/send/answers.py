"""What the archiver answers to a sender, as records: the shapes of the protocol in one place.

Law: a shape that is not understood raises KeyError, TypeError or ValueError here and is told as such; nothing is guessed.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from neve.wording import utc_json


@dataclass(frozen=True, slots=True)
class Instrument:
    """Who a key is. `projects`: globs that it may send to; `file_max_bytes`: the largest file taken (None: no limit said)."""

    name: str
    projects: tuple[str, ...]
    file_max_bytes: int | None
    part_bytes: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that is sent into. `state`: open, closing, closed."""

    id: int
    name: str
    full_name: str
    project: str
    instrument: str
    state: str


@dataclass(frozen=True, slots=True)
class Put:
    """Where and how bytes go to the store. The address is a secret, so no repr shows it."""

    url: str
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return "<Put>"


@dataclass(frozen=True, slots=True)
class Item:
    """The archiver's answer about a file. `state`: known, received, verifying, put, parts or pack, see `Reception.ask`.

    `file_id`: 0 while it is only known; `part_bytes`: of each part but the last; `done`: number → size of the parts that are there; `pack_id`: the
    pack that it is a member of (0: none).
    """

    file_id: int
    dataset_id: int
    path: str
    state: str
    put: Put | None
    part_bytes: int
    done: Mapping[int, int]
    pack_id: int = 0


@dataclass(frozen=True, slots=True)
class PackMember:
    """A file in a pack. `name`: what stands in its header, raw bytes; `mtime_s`: the time that does; `offset_bytes`: where its bytes begin."""

    file_id: int
    name: bytes
    size_bytes: int
    mtime_s: int
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class Pack:
    """Small files that are sent together, as one tar of exactly `size_bytes`. `members`: in the order in which they stand in it."""

    pack_id: int
    dataset_id: int
    size_bytes: int
    put: Put
    members: tuple[PackMember, ...]


@dataclass(frozen=True, slots=True)
class SnapshotItem:
    """The archiver's answer about a snapshot. `state`: put, parts, shown or busy, see `Reception.announce`; `path`: where it will be shown."""

    snapshot_id: int
    dataset_id: int
    path: str
    state: str
    put: Put | None
    part_bytes: int
    done: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Done:
    """A file whose bytes all stand in the store."""

    file_id: int
    sha256: str
    version_id: str | None


@dataclass(frozen=True, slots=True)
class DoneItem:
    """`state`: verifying, received, or missing (nothing whole stands there: ask again); `error`: why."""

    file_id: int
    state: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Pending:
    """A file that is not received yet. `state`: sending, verifying, failed; `error`: why it failed."""

    file_id: int
    dataset_id: int
    name: bytes
    state: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a dataset, and those that continue it, have: files received, being proven, being sent. `items`: a page of those not received."""

    received: int
    verifying: int
    sending: int
    items: tuple[Pending, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ProvenCopy:
    """A copy in a receipt. `proof`: how it was proven; `proven_at`: when, ISO 8601 (None: it is not)."""

    tier: str
    place: str
    proof: str
    proven_at: str | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the archiver says of a received file: nothing else is a reason to delete its source."""

    name: bytes
    size_bytes: int
    sha256: str
    copies: tuple[ProvenCopy, ...]


def parse_instrument(answer: Mapping[str, Any]) -> Instrument:
    largest = answer.get("file_max_bytes")
    return Instrument(str(answer["name"]), tuple(answer["projects"]), None if largest is None else int(largest), int(answer["part_bytes"]))


def iso(mtime_ns: int) -> str | None:
    """A file's time in ISO 8601, None where a file system holds one that no calendar has."""
    try:
        return utc_json(datetime.fromtimestamp(mtime_ns / 1e9, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def _name(item: Mapping[str, Any]) -> bytes:
    return base64.b64decode(item["path_base64"], validate=True) if item.get("path_base64") is not None else str(item["path"]).encode()


def parse_dataset(item: Mapping[str, Any]) -> Dataset:
    return Dataset(int(item["id"]), str(item["name"]), str(item["full_name"]), str(item["project"]), str(item["instrument"]), str(item["state"]))


def parse_put(item: Mapping[str, Any]) -> Put:
    return Put(str(item["url"]), {str(key): str(value) for key, value in item["headers"].items()})


def parse_item(item: Mapping[str, Any]) -> Item:
    state = str(item["state"])
    if state not in {"known", "received", "verifying", "put", "parts", "pack"}:
        raise ValueError(f"state {state}")
    return Item(
        file_id=int(item["file_id"] or 0),
        dataset_id=int(item["dataset_id"]),
        path=str(item["path"]),
        state=state,
        put=parse_put(item["put"]) if state == "put" else None,
        part_bytes=int(item["part_bytes"]) if state == "parts" else 0,
        done={int(part["number"]): int(part["size_bytes"]) for part in item["done"]} if state == "parts" else {},
        pack_id=int(item["pack_id"]) if state == "pack" else 0,
    )


def parse_pack(item: Mapping[str, Any]) -> Pack:
    members = tuple(
        PackMember(int(one["file_id"]), _name(one), int(one["size_bytes"]), int(one["mtime_s"]), int(one["offset_bytes"])) for one in item["members"]
    )
    return Pack(int(item["pack_id"]), int(item["dataset_id"]), int(item["size_bytes"]), parse_put(item["put"]), members)


def parse_asked(answer: Mapping[str, Any], count: int) -> tuple[list[Item], list[Pack]]:
    """What is answered of `count` files: an item for each, and the packs of those that go together, all of whose members are among them."""
    items = [parse_item(item) for item in answer["items"]]
    packs = [parse_pack(item) for item in answer.get("packs") or ()]
    if len(items) != count:
        raise ValueError(f"{len(items)} answers for {count} files")
    if not all(pack.members for pack in packs):
        raise ValueError("a pack of nothing")
    asked = sorted((item.pack_id, item.file_id) for item in items if item.state == "pack")
    if asked != sorted((pack.pack_id, member.file_id) for pack in packs for member in pack.members):
        raise ValueError("packs of other files than those that go in packs")
    return items, packs


def parse_snapshot(item: Mapping[str, Any]) -> SnapshotItem:
    state = str(item["state"])
    if state not in {"put", "parts", "shown", "busy"}:
        raise ValueError(f"state {state}")
    return SnapshotItem(
        snapshot_id=int(item["snapshot_id"] or 0),
        dataset_id=int(item["dataset_id"]),
        path=str(item["path"] or ""),
        state=state,
        put=parse_put(item["put"]) if state == "put" else None,
        part_bytes=int(item["part_bytes"]) if state == "parts" else 0,
        done={int(part["number"]): int(part["size_bytes"]) for part in item["done"]} if state == "parts" else {},
    )


def parse_arrivals(answer: Mapping[str, Any]) -> Arrivals:
    items = tuple(
        Pending(int(item["file_id"]), int(item["dataset_id"]), _name(item), str(item["state"]), item.get("error")) for item in answer["items"]
    )
    return Arrivals(int(answer["received"]), int(answer["verifying"]), int(answer["sending"]), items, answer["next_cursor"])


def parse_receipt(item: Mapping[str, Any]) -> Receipt:
    copies = tuple(ProvenCopy(str(copy["tier"]), str(copy["place"]), str(copy["proof"]), copy["proven_at"]) for copy in item["copies"])
    return Receipt(_name(item), int(item["size_bytes"]), str(item["sha256"]), copies)
