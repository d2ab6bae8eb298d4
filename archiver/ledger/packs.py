"""Packs in the ledger: bundles that come from outside, each with the small files that travel in it.

Law: a pack has a transfer of its own, which brings it; its members' transfers stay `planned` meanwhile. Once it is proven its members are
received, and their transfers make their copies in hot from it. One that is taken apart keeps its key, and has no members any more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from archiver import model
from archiver.ledger import tables as t
from archiver.ledger.base import batches
from archiver.ledger.strays import Strays
from archiver.ledger.work import Work
from archiver.model import FileState, ObjectKind, TransferState

_NUMBER = re.compile(r"NEVE-BUNDLE-(\d+)\.tar\Z")
UPLOADS = t.transfer.c.source_uri.startswith(model.UPLOAD_URI, autoescape=True)
"""Transfers whose bytes come from outside."""
_COMING = (
    t.transfer.c.tier == "hot",
    UPLOADS,
    t.transfer.c.state.not_in([TransferState.PROVEN, TransferState.CANCELLED]),
)


class Packs(Work, Strays):
    """Writing packs down, and what became of them."""

    def next_bundle(self, dataset_id: int) -> int:
        """A number that no bundle of the dataset has, or had while it was open: what was to be sent to one's key may come late."""
        o = t.object_.c
        keys = self.connection.execute(sa.select(o.key).where(o.dataset_id == dataset_id, o.kind == ObjectKind.BUNDLE)).scalars()
        return 1 + max((int(found[1]) for key in keys if (found := _NUMBER.search(key))), default=0)

    def add_members(self, bundle_id: int, members: Sequence[tuple[int, int]]) -> None:
        """What stands in a bundle: (object, where its bytes begin)."""
        rows = [{"bundle_id": bundle_id, "object_id": object_id, "offset_bytes": offset} for object_id, offset in members]
        if rows:
            self.connection.execute(sa.insert(t.member), rows)

    def packs_with(self, object_ids: Collection[int]) -> dict[int, model.Transfer]:
        """For each of these files' objects that travels in a pack the transfer that brings it; those that travel by themselves are left out."""
        m, found = t.member.c, list[tuple[int, int]]()
        for part in batches(list(object_ids)):
            rows = self.connection.execute(sa.select(m.object_id, m.bundle_id).where(m.object_id.in_(part)))
            found += [(row[0], row[1]) for row in rows]
        coming = sa.select(t.transfer).where(t.transfer.c.object_id.in_({bundle_id for _, bundle_id in found}), *_COMING)
        packs = {one.object_id: one for one in self._all(model.Transfer, coming)}
        return {object_id: packs[bundle_id] for object_id, bundle_id in found if bundle_id in packs}

    def pack(self, object_id: int) -> model.Transfer | None:
        """The last transfer that brought, or brings, a pack; None where this is none."""
        c = t.transfer.c
        select = sa.select(t.transfer).join(t.object_).where(t.object_.c.id == object_id, t.object_.c.kind == ObjectKind.BUNDLE, c.tier == "hot")
        return self._one(model.Transfer, select.where(UPLOADS).order_by(c.id.desc()).limit(1))

    def packs_standing(self, dataset_id: int) -> tuple[list[model.Object], list[model.Copy], list[model.Transfer]]:
        """A dataset's packs that stand in hot; their live copies, and their transfers that have not ended."""
        o, c, w = t.object_.c, t.copy.c, t.transfer.c
        stands = sa.exists().where(c.object_id == o.id, c.tier == "hot", c.dropped_at.is_(None))
        found = self._all(model.Object, sa.select(t.object_).where(o.dataset_id == dataset_id, o.kind == ObjectKind.BUNDLE, stands).order_by(o.id))
        copies: list[model.Copy] = []
        coming: list[model.Transfer] = []
        for part in batches([pack.id for pack in found]):
            copies += self._all(model.Copy, sa.select(t.copy).where(c.object_id.in_(part), c.dropped_at.is_(None)).order_by(c.id))
            active = w.state.in_(model.active(model.TRANSFER_CHANGES))
            coming += self._all(model.Transfer, sa.select(t.transfer).where(w.object_id.in_(part), active).order_by(w.id))
        return found, copies, coming

    def laid_out_of(self, pack_ids: Collection[int]) -> tuple[list[model.Member], list[model.Copy]]:
        """What stands in these packs, and the live copies of it that lie at files' own keys in hot."""
        m, c = t.member.c, t.copy.c
        members: list[model.Member] = []
        copies: list[model.Copy] = []
        for part in batches(list(pack_ids)):
            members += self._all(model.Member, sa.select(t.member).where(m.bundle_id.in_(part)).order_by(m.bundle_id, m.offset_bytes))
            own = sa.select(t.copy).join(t.member, m.object_id == c.object_id).where(m.bundle_id.in_(part), c.tier == "hot", c.dropped_at.is_(None))
            copies += self._all(model.Copy, own)
        return members, copies

    def standing_in(self, bundle_id: int) -> list[tuple[model.File, int, str | None]]:
        """The files that stand in a bundle, in order: where each begins, and the SHA-256 that is told of it."""
        f, m, o = t.file.c, t.member.c, t.object_.c
        joined = (
            sa.select(m.offset_bytes.label("begins"), o.sha256.label("told"), *f)
            .join_from(t.member, t.file, f.object_id == m.object_id)
            .join(t.object_, o.id == m.object_id)
        )
        rows = self.connection.execute(joined.where(m.bundle_id == bundle_id).order_by(m.offset_bytes))
        _, _, *names = rows.keys()
        return [(model.File(**dict(zip(names, values, strict=True))), offset, told) for offset, told, *values in rows]

    def members_verifying(self, dataset_ids: Collection[int]) -> int:
        """How many files of these datasets stand in packs that are being proven."""
        c = t.transfer.c
        select = sa.select(sa.func.count()).join_from(t.member, t.transfer, c.object_id == t.member.c.bundle_id)
        return int(self.connection.execute(select.where(c.dataset_id.in_(dataset_ids), c.state == TransferState.VERIFYING, *_COMING)).scalar() or 0)

    def take_pack_apart(self, pack: model.Transfer) -> list[str]:
        """Its members travel otherwise from now on. Whoever proves it just now will find that it moved; what was sent of it is a stray.

        Returns its key, where something of it may stand.
        """
        self.hold_still(pack.dataset_id)
        left = [pack.key] if pack.attempts else []
        self.give_up(left)
        self.connection.execute(sa.delete(t.member).where(t.member.c.bundle_id == pack.object_id))
        if pack.state is TransferState.VERIFYING:
            self.change("transfer", pack, TransferState.FAILED, error="The sender began anew.")
            pack = self.transfer(pack.id)
        self.change("transfer", pack, TransferState.CANCELLED, error="The pack was taken apart.")
        return left

    def receive_pack(self, pack: model.Transfer, storage_class: str, sums: Mapping[str, Any], members: Sequence[tuple[model.File, str, str]]) -> None:
        """A pack is proven, and so are its members: (file, SHA-256, CRC64NVME). They are received, and their copies in hot are made from it."""
        assert pack.version_id is not None
        self.connection.execute(sa.update(t.object_).where(t.object_.c.id == pack.object_id).values(**sums))
        self.finish_transfer(pack, storage_class, pack.version_id, model.Proof.READ_BACK)
        copy_id = self.connection.execute(sa.select(t.copy.c.id).where(t.copy.c.object_id == pack.object_id, t.copy.c.tier == "hot")).scalar_one()
        self._update_each(t.object_, t.object_.c.id, [{"of": file.object_id, "sha256": sha, "crc64nvme": crc} for file, sha, crc in members])
        received = [
            {"of": file.id, "state": FileState.RECEIVED, "received_at": self.at, "sha256": sha, "crc64nvme": crc} for file, sha, crc in members
        ]
        self._update_each(t.file, t.file.c.id, received)
        c = t.transfer.c
        for part in batches([file.object_id for file, *_ in members]):
            waiting = sa.and_(c.object_id.in_(part), c.tier == "hot", c.state == TransferState.PLANNED)
            self.connection.execute(sa.update(t.transfer).where(waiting).values(source_uri=None, source_copy_id=copy_id, next_try_at=self.at))
