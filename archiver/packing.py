"""Packs: small files that are sent together, in one tar that is byte for byte the bundle which archive and deep shall hold.

Law: which files, in which order, and where each begins is said here before the first byte is sent; a pack that does not come out just so is
received in no part. What of a pack is asked for otherwise than before (a file is left out, or is another) is taken apart, never patched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from archiver import bundle, names, policy
from archiver.archive import Archive
from archiver.bundle import Place
from archiver.errors import ProofFailed
from archiver.ledger import Transaction
from archiver.model import Dataset, File, Object, ObjectKind, Transfer, TransferState
from archiver.storage import Digest, Digester, Tier

LEAST = 16
"""Fewer small files go one by one, and are bundled when their dataset closes: archive and deep shall hold few objects."""
_MAX_BYTES = 64 * 2**20
"""What is lost of a pack when the network goes is sent again."""


@dataclass(frozen=True)
class Packed:
    """A pack on its way: the transfer that brings it, and what stands in it."""

    transfer: Transfer
    size_bytes: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Travelling:
    """A file that is on its way. `anew`: its source is another than before; `fresh`: nothing of it was ever to be sent."""

    file: File
    anew: bool
    fresh: bool


def arrange(tx: Transaction, archive: Archive, files: Sequence[Travelling], uri: str, *, together: bool) -> tuple[dict[int, Packed], list[str]]:
    """Which of these files, by number, travel in which pack, new ones included (`together`: the sender can send them); and keys of packs that were
    taken apart, at which something of theirs may stand."""
    by_object = {one.file.object_id: one for one in files}
    packed: dict[int, Packed] = {}
    left: list[str] = []
    for pack in {one.id: one for one in tx.packs_with(list(by_object)).values()}.values():
        places = tuple(Place(file, offset) for file, offset, _ in tx.standing_in(pack.object_id))
        known = [by_object[place.file.object_id] for place in places if place.file.object_id in by_object]
        same, whole = not any(one.anew for one in known), len(known) == len(places)
        if same and (pack.state is TransferState.VERIFYING or (together and whole and pack.state in {TransferState.PLANNED, TransferState.COPYING})):
            layout = Packed(pack, tx.object(pack.object_id).size_bytes, places)
            packed |= {one.file.id: layout for one in known}
        else:
            left += tx.take_pack_apart(pack)
    if together:
        for dataset in tx.datasets_numbered({one.file.dataset_id for one in files}).values():
            mine = [one.file for one in files if one.file.dataset_id == dataset.id and one.fresh and not one.anew and one.file.id not in packed]
            for new in _new(tx, archive, dataset, mine, uri):
                packed |= {place.file.id: new for place in new.places}
    return packed, left


def _new(tx: Transaction, archive: Archive, dataset: Dataset, files: Sequence[File], uri: str) -> Iterator[Packed]:
    if not any(tier.bundles for tier in archive.settings.tiers.values()):
        return
    rules = archive.settings.rules_for(dataset.project, dataset.instrument)
    most = min(rules.bundle_max_bytes, _MAX_BYTES, archive.settings.reception.parts_above_bytes)
    for layout in bundle.layouts(files, rules.bundle_below_bytes, most):
        if len(layout.places) < LEAST:
            continue
        key = names.bundle_key(dataset.prefix, tx.next_bundle(dataset.id))
        pack = tx.object(tx.add_object(dataset.id, ObjectKind.BUNDLE, key, layout.size_bytes))
        tx.add_members(pack.id, [(place.file.object_id, place.offset_bytes) for place in layout.places])
        yield Packed(tx.transfer(tx.plan_transfer(pack, policy.HOT, source_uri=uri)), layout.size_bytes, layout.places)


def read_back(tier: Tier, pack: Object, version_id: str, files: Sequence[tuple[File, str | None]]) -> tuple[Digest, list[tuple[File, str, str]]]:
    """Prove that a version holds just these files, each with the SHA-256 that its sender told of: what the whole is, and (file, SHA-256, CRC64NVME).

    Raises `ProofFailed`, `Vanished`, `StoreUnavailable`.
    """
    whole = Digester()
    told = {file.id: sha256 for file, sha256 in files}
    found = []
    for file, digest in bundle.read([file for file, _ in files], tier.read_back(pack.key, version_id, pack.size_bytes), whole):
        if digest.sha256 != told[file.id]:
            raise ProofFailed(
                f"{file.path} arrived with SHA-256 {digest.sha256}, the sender told of {told[file.id]}.",
                "Nothing of what was sent with it is received: send these files again.",
            )
        found.append((file, digest.sha256, digest.crc64nvme))
    return whole.digest(), found


def unique(packs: Iterable[Packed]) -> list[Packed]:
    """Each pack once, in order."""
    return list({pack.transfer.id: pack for pack in packs}.values())
