"""`archiver ledger rebuild`: the ledger made again from what lies in the stores, and nothing else (Law 6).

Manifests say what each closed dataset is, location records which versions were its proven copies. Each version is looked up in the store;
one that no record tells of is proven anew before it counts. Chains go on from the last anchor. What the stores cannot know is listed, and
nothing is dropped until a full two-way listing has ended and an admin says so (`archiver release`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from archiver import anchors, guards, names, policy, tombstones
from archiver.archive import STUB_NAME, Archive, view
from archiver.errors import Conflict, ProofFailed
from archiver.ledger import Transaction
from archiver.model import Anchor, FileState, MetadataState, Object, ObjectKind, Proof
from archiver.proof import prove
from archiver.storage import NotReadable, Tier, Vanished

log = logging.getLogger(__name__)

REBUILT = "rebuilt-at"
"""Note: when the ledger was made again (ISO 8601)."""
CANNOT_KNOW = (
    "erasures that waited for a second admin: ask for them again",
    "holds and pending restores: ask their users; what is in hot stays there until drops are released",
    "facts of projects (title, investigator, dates, embargo, quota): no project's data are public until its facts are said again",
    "titles of instruments, limits of restores, and who wants notices",
    "tags and comments of the last minutes before the loss, and of datasets that were still open; who removed or changed a comment",
    "datasets that were still open: their files are reported as foreign objects; receive them again",
    "events after the last anchor: chains go on from there, and say so",
    "metadata that were read again after a dataset closed: they are as its manifest has them, and are read again in their turn",
)


@dataclass
class Report:
    """What was made, what was not found, and what could not be known."""

    datasets: int = 0
    files: int = 0
    copies: int = 0
    proven_anew: int = 0
    erasures: int = 0  # that are carried out again
    problems: list[str] = field(default_factory=list)
    cannot_know: tuple[str, ...] = CANNOT_KNOW


@dataclass(frozen=True)
class _Head:
    """Where a chain stood when it was last anchored."""

    seq: int
    hash: str
    day: str
    anchor_sha256: str


def rebuild(archive: Archive, progress: Callable[[str], None] = lambda _name: None) -> Report:
    """Fill an empty ledger. Can be repeated after a crash: datasets that are there already are passed over.

    Raises `Conflict` when the ledger was filled by other work, `StoreUnavailable`.
    """
    with archive.ledger.begin() as tx:
        if tx.note(REBUILT) is None:
            if not tx.is_empty():
                raise Conflict(
                    "The ledger is not empty.", "Rebuild into a new one: set ledger.url, or move the old file away, then `archiver setup`."
                )
            tx.set_note(REBUILT, tx.at.isoformat())
            tx.set_note(guards.HOLD, f"The ledger was made again from the stores on {tx.at:%Y-%m-%d}")
            tx.set_note("tiers", " ".join(archive.settings.tiers))
    report = Report()
    heads = _heads(archive, report)
    follows: dict[str, str] = {}
    made_of: dict[str, list[str]] = {}
    stones = tombstones.read(archive, report.problems.append)
    for prefix, revisions in _prefixes(archive).items():
        manifest, body = _manifest(archive, prefix, revisions, report)
        if manifest is None:
            continue
        described = manifest["dataset"]
        name = f"{described['instrument']}/{described['name']}"
        progress(name)
        if described.get("follows"):
            follows[name] = described["follows"]
        if described.get("derived_from"):
            made_of[name] = described["derived_from"]
        _dataset(archive, manifest, body, heads.get(name), stones.get(prefix, []), report)
    _link(archive, follows, made_of, report)
    return report


def refusal(archive: Archive) -> Conflict | None:
    """After a rebuild: why drops may not be released yet; None: they may."""
    with archive.ledger.read() as tx:
        rebuilt = tx.note(REBUILT)
        if rebuilt is None:
            return None
        listed = {name: json.loads(tx.note(f"listing.{name}") or "null") for name in archive.tiers}
    lacking = [name for name, said in listed.items() if said is None or datetime.fromisoformat(said["began_at"]) < datetime.fromisoformat(rebuilt)]
    if not lacking:
        return None
    return Conflict(
        f"The ledger was made again from the stores, and no full listing of {', '.join(lacking)} has ended since.",
        "Run `archiver inventory --full`, see what it finds, then `archiver release`.",
    )


def _prefixes(archive: Archive) -> dict[str, list[int]]:
    """The prefixes of all datasets that have a manifest in some tier, oldest month first, each with the manifests' revisions, newest first."""
    found: dict[str, set[int]] = {}
    for tier in archive.tiers.values():
        for said in (names.manifest_of(entry.key) for entry in tier.listed(names.MANIFESTS)):
            if said is not None:
                found.setdefault(said[0], set()).add(said[1])
    return {prefix: sorted(found[prefix], reverse=True) for prefix in sorted(found, key=lambda prefix: (prefix.split("/")[2:4], prefix))}


def _manifest(archive: Archive, prefix: str, revisions: list[int], report: Report) -> tuple[dict[str, Any] | None, bytes]:
    """The newest manifest that can be read, from the nearest tier whose copy is sound by itself; differing ones are reported."""
    for revision in revisions:
        said, body = _at(archive, prefix, names.manifest_key(prefix, revision), report)
        if said is not None:
            return {**said, "revision": revision}, body
    return None, b""


def _at(archive: Archive, prefix: str, key: str, report: Report) -> tuple[dict[str, Any] | None, bytes]:
    bodies = {name: body for name, tier in archive.tiers.items() if (body := tier.newest(key)) is not None}
    if len(set(bodies.values())) > 1:
        report.problems.append(f"{prefix}: its manifests differ between {', '.join(bodies)}; the one that its own location record names is taken")
    for name, body in sorted(bodies.items(), key=lambda item: not _is_recorded(archive, item[0], prefix, key, item[1])):
        try:
            said = json.loads(body)
        except ValueError:
            report.problems.append(f"{prefix}: its manifest in {name} is no JSON")
            continue
        if isinstance(said, dict) and said.get("neve_manifest") == 1 and said["dataset"]["prefix"] == prefix:
            return said, body
        report.problems.append(f"{prefix}: what lies in {name} is not its manifest")
    return None, b""


def _is_recorded(archive: Archive, tier: str, prefix: str, key: str, body: bytes) -> bool:
    record = _record(archive.tiers[tier], prefix)
    return record.get(key, {}).get("sha256") == hashlib.sha256(body).hexdigest()


def _record(tier: Tier, prefix: str) -> dict[str, dict[str, Any]]:
    """A dataset's location record in a tier, by key; empty when there is none that can be read."""
    return {copy["key"]: copy for copy in _record_of(tier, prefix).get("copies", ())}


def _record_of(tier: Tier, prefix: str) -> dict[str, Any]:
    try:
        said = json.loads(tier.newest(names.location_key(prefix)) or b"")
    except ValueError:
        return {}
    if said.get("neve_location") != 1 or (said.get("prefix"), said.get("tier")) != (prefix, tier.name):
        return {}
    return dict(said)


def _dataset(
    archive: Archive, manifest: Mapping[str, Any], body: bytes, head: _Head | None, stones: Sequence[dict[str, Any]], report: Report
) -> None:
    described = manifest["dataset"]
    prefix = described["prefix"]
    records = {name: _record(tier, prefix) for name, tier in archive.tiers.items()}
    with archive.ledger.begin("rebuild") as tx:
        if tx.dataset_named(described["instrument"], described["name"]) is not None:
            return
        objects = _rows(tx, manifest, body, records, stones)
        dataset_id = objects[0].dataset_id
        if head is not None:
            tx.continue_chain(dataset_id, head.seq, head.hash, head.day, head.anchor_sha256)
        _remarks(tx, archive, prefix, dataset_id)
        tx.event(dataset_id, "dataset.rebuilt", {"manifest_sha256": hashlib.sha256(body).hexdigest()})
        for stone in stones:
            tombstones.replay(tx, dataset_id, stone)
        condemned = view(tx, dataset_id).condemned
    report.datasets += 1
    report.files += len(manifest["files"])
    report.erasures += len(stones)
    for obj in objects:
        if obj.id in condemned:
            continue  # what stands there ends when the erasure is carried out again
        for name, tier in archive.tiers.items():
            _copy(archive, tier, obj, records[name].get(obj.key), report)
    hot = archive.tiers[policy.HOT]
    stub = hot.head(f"{prefix}/{STUB_NAME}")
    with archive.ledger.begin("rebuild") as tx:
        tx.update_dataset(dataset_id, stub_at=tx.at if stub is not None else None)
        report.problems += [
            f"{tx.dataset(dataset_id).full_name}: no copy of {obj.key} was found"
            for obj in objects
            if obj.id not in condemned and not tx.copies_with(obj.id)
        ]


def _remarks(tx: Transaction, archive: Archive, prefix: str, dataset_id: int) -> None:
    """Tags and comments, from the newest location record that tells of them."""
    told = [said for tier in archive.tiers.values() if (said := _record_of(tier, prefix).get("remarks")) is not None]
    if told:
        newest = max(told, key=lambda said: str(said["at"]))
        comments = [(c["user"], c["text"], datetime.fromisoformat(c["created_at"]), _time(c.get("changed_at"))) for c in newest["comments"]]
        tx.again_remarks(dataset_id, newest["tags"], comments)


def _rows(
    tx: Transaction, manifest: Mapping[str, Any], body: bytes, records: Mapping[str, Mapping[str, Any]], stones: Sequence[Mapping[str, Any]]
) -> list[Object]:
    """The dataset with its files and objects; returns the objects, the dataset's own files first, the manifest last."""
    described, files = manifest["dataset"], manifest["files"]
    if described["project"] not in {p.name for p in tx.projects()}:
        tx.add_project(described["project"], described["project"])
    if described["instrument"] not in {i.name for i in tx.instruments()}:
        tx.add_instrument(described["instrument"], described["instrument"])
    formats = [f["format"] for f in files if f.get("format")]
    dataset_id = tx.again_dataset(
        project=described["project"],
        instrument=described["instrument"],
        name=described["name"],
        prefix=described["prefix"],
        received_at=_time(described["received_at"]),
        acquired_at=_time(described.get("acquired_at")),
        closed_at=max((at for f in files if (at := _time(f.get("received_at"))) is not None), default=_time(described["received_at"])),
        size_bytes=sum(f["size_bytes"] for f in files),
        file_count=len(files),
        title=described.get("title"),
        called=described.get("called"),
        format=described.get("format") or (formats[0] if formats else None),
        metadata=described["metadata"],
    )
    by_key: dict[str, int] = {}
    for file in files:
        by_key[file["key"]] = tx.again_object(dataset_id, ObjectKind.FILE, file)
        tx.again_file(
            dataset_id=dataset_id,
            path=file["path"],
            path_raw=bytes.fromhex(file["path_hex"]),
            size_bytes=file["size_bytes"],
            sha256=file["sha256"],
            crc64nvme=file["crc64nvme"],
            object_id=by_key[file["key"]],
            offset_bytes=file["offset_bytes"],
            mtime=_time(file.get("mtime")),
            received_at=_time(file.get("received_at")),
            format=file.get("format"),
            metadata_state=MetadataState(file["metadata_state"]),
            metadata_error=file.get("metadata_error"),
            metadata=file["metadata"],
            has_preview=file.get("has_preview", False),
            reader_version=file.get("reader_version", 0),
        )
    for file in manifest.get("erased", ()):
        tx.again_file(
            dataset_id=dataset_id,
            path=file["path"],
            path_raw=bytes.fromhex(file["path_hex"]),
            state=FileState.ERASED,
            size_bytes=file["size_bytes"],
            sha256=file["sha256"],
            crc64nvme=file["crc64nvme"],
            object_id=tx.again_object(dataset_id, ObjectKind.FILE, file),
            offset_bytes=0,
            received_at=_time(file.get("received_at")),
            metadata_state=MetadataState.NONE,
            metadata={},
        )
    for bundle in manifest.get("bundles", ()):
        sums = bundle if "sha256" in bundle else _sums(records, bundle["key"])
        bundle_id = tx.again_object(dataset_id, ObjectKind.BUNDLE, {**bundle, "sha256": sums.get("sha256"), "crc64nvme": sums.get("crc64nvme")})
        tx.add_members(bundle_id, [(by_key[m["key"]], m["offset_bytes"]) for m in bundle["members"]])
    key = names.manifest_key(described["prefix"], manifest["revision"])
    known = {key, *(o.key for o in tx.objects(dataset_id))}
    for ended in (o for stone in stones for o in stone["objects"] if o["key"] not in known):  # of an erasure that had begun
        known.add(ended["key"])
        tx.again_object(dataset_id, ObjectKind(ended["kind"]), ended)
    sums = _sums(records, key)
    own = {"key": key, "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), "crc64nvme": sums.get("crc64nvme")}
    tx.again_object(dataset_id, ObjectKind.MANIFEST, own)
    return tx.objects(dataset_id)


def _sums(records: Mapping[str, Mapping[str, Any]], key: str) -> Mapping[str, Any]:
    """What location records say of an object that no manifest knows by its sums."""
    return next((record[key] for record in records.values() if key in record), {})


def _copy(archive: Archive, tier: Tier, obj: Object, recorded: Mapping[str, Any] | None, report: Report) -> None:
    """Find a copy in the store: the version that the record names, else whatever stands at the key, if it can be proven."""
    with archive.ledger.read() as tx:
        if any(c.tier == tier.name for c in tx.copies_of(obj.id)):
            return
    if recorded is not None and (recorded["sha256"], recorded["size_bytes"]) == (obj.sha256, obj.size_bytes):
        head = tier.head(obj.key, recorded["version_id"])
        if head is not None and head.size_bytes == obj.size_bytes:
            with archive.ledger.begin("rebuild") as tx:
                proven_at = datetime.fromisoformat(recorded["proven_at"])
                tx.again_copy(obj, tier.name, recorded["version_id"], recorded["storage_class"], Proof(recorded["proof"]), proven_at)
            report.copies += 1
            return
        report.problems.append(f"{obj.key} in {tier.name}: version {recorded['version_id']} is not there as it was recorded")
    head = tier.head(obj.key)
    if head is None or obj.sha256 is None:
        return  # a bundle of which nothing is recorded is built again from its members
    try:
        proof = prove(tier, obj, head.version_id)
    except (ProofFailed, Vanished) as error:
        report.problems.append(f"{obj.key} in {tier.name}: {error}")
        return
    with archive.ledger.begin("rebuild") as tx:
        tx.again_copy(obj, tier.name, head.version_id, head.storage_class, proof, tx.at)
    report.copies += 1
    report.proven_anew += 1


def _heads(archive: Archive, report: Report) -> dict[str, _Head]:
    """Each chain's last anchored head; the anchors themselves are known again."""
    tier = archive.tiers[anchors.tier_of(archive)]
    heads: dict[str, _Head] = {}
    for day in anchors.days(tier):
        key = f"{anchors.PREFIX}{day}.json"
        try:
            found = anchors.read(tier, key, None)
            lines = list(found.lines)
        except (anchors.Unreadable, Vanished, NotReadable) as error:
            report.problems.append(f"the anchor of {day}: {error}")
            continue
        for line in lines:
            heads[line["dataset"]] = _Head(line["seq"], line["hash"], day, found.sha256())
        with archive.ledger.begin("rebuild") as tx:
            if tx.anchor(day) is None:
                at = datetime.fromisoformat(found.header["at"])
                tx.add_anchor(Anchor(day, at, len(lines), tier.name, key, found.version_id, found.sha256()))
    return heads


def _link(archive: Archive, follows: Mapping[str, str], made_of: Mapping[str, Sequence[str]], report: Report) -> None:
    """Say again which dataset continues which, and which was made of which."""
    with archive.ledger.begin("rebuild") as tx:
        for name, before in follows.items():
            first, second = (tx.dataset_named(*full.split("/", 1)) for full in (before, name))
            if first is not None and second is not None:
                tx.update_dataset(second.id, follows_id=first.id)
        for name, parents in made_of.items():
            made = tx.dataset_named(*name.split("/", 1))
            found = {parent: tx.dataset_named(*parent.split("/", 1)) for parent in parents}
            report.problems += [f"{name}: it was made of {parent}, which is not there" for parent, there in found.items() if there is None]
            if made is not None and not tx.parents([made.id]):
                tx.derive(made.id, [there.id for there in found.values() if there is not None])


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
