"""Proof (Law 1): SHA-256 over bytes read back from the copy.

Where they can't be read at once, it is the store's own full-object checksum, equal to ours.
"""

from __future__ import annotations

from collections.abc import Callable

from archiver.errors import ProofFailed
from archiver.model import Object, Proof
from archiver.storage import NotReadable, Tier, Vanished


def prove(tier: Tier, obj: Object, version_id: str, begun: Callable[[], bytes] | None = None) -> Proof:
    """Prove that `version_id` of `obj` in `tier` holds the bytes that were recorded on arrival, and say how.

    `begun`: where `begin_read` has begun to read it back. Raises `ProofFailed` (other bytes, or no proof can be had), `Vanished`, `StoreUnavailable`.
    """
    if obj.sha256 is None:
        raise ProofFailed(f"Nothing was recorded of {obj.key} yet.", "Receive it again.")
    try:
        found = tier.digest(obj.key, version_id, obj.size_bytes, begun)
    except NotReadable:
        return _by_the_store(tier, obj, version_id)
    if (found.size_bytes, found.sha256) != (obj.size_bytes, obj.sha256):
        raise ProofFailed(
            f"{obj.key} in {tier.name} reads back as {found.size_bytes} bytes with SHA-256 {found.sha256}, "
            f"recorded were {obj.size_bytes} and {obj.sha256}.",
            "It is copied again from a proven copy.",
        )
    return Proof.READ_BACK


def arrived(tier: Tier, obj: Object, version_id: str, begun: Callable[[], bytes] | None = None) -> str:
    """Prove that `version_id` holds the bytes that its sender told the SHA-256 of; returns their CRC64NVME, which is recorded from now on.

    `begun` and errors: as `prove`.
    """
    found = tier.digest(obj.key, version_id, obj.size_bytes, begun)
    if (found.size_bytes, found.sha256) != (obj.size_bytes, obj.sha256):
        raise ProofFailed(
            f"{found.size_bytes} bytes with SHA-256 {found.sha256} arrived, the sender told of {obj.size_bytes} and {obj.sha256}.",
            "Nothing of it is received: send the file again.",
        )
    return found.crc64nvme


def _by_the_store(tier: Tier, obj: Object, version_id: str) -> Proof:
    head = tier.head(obj.key, version_id)
    if head is None:
        raise Vanished(f"{obj.key} in {tier.name}")
    if head.size_bytes == obj.size_bytes:
        if head.sha256 is not None and head.sha256 == obj.sha256:
            return Proof.STORE_SHA256
        if head.sha256 is None and head.crc64nvme is not None and head.crc64nvme == obj.crc64nvme:
            return Proof.STORE_CRC64NVME
    raise ProofFailed(
        f"{obj.key} in {tier.name} is cold, and the store's own size and checksums ({head.size_bytes}, SHA-256 {head.sha256}, "
        f"CRC64NVME {head.crc64nvme}) are not ours.",
        "It is copied again from a proven copy; `archiver doctor` shows whether the store computes checksums.",
    )
