"""What will happen by itself, and what it costs: the worker's and the reaper's own decisions, taken on paper.

Law: nothing is computed in another way than it is done. Each dataset is followed through `policy.decide` until nothing is left to do, as if
every transfer, recall and drop went well and took no time; so the run does exactly that. Nothing is written.

Prices are prices.py's; the manifests, a few kB each, are counted with their tier's price. What waits is not counted as done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from archiver import changeover, guards, markers, policy, prices
from archiver.archive import Archive, view
from archiver.config import Settings
from archiver.ledger import Transaction
from archiver.ledger.planning import Alike
from archiver.model import (
    Copy,
    Dataset,
    DatasetState,
    File,
    FileState,
    Member,
    MetadataState,
    Object,
    ObjectKind,
    Proof,
    RestoreState,
    TransferState,
)
from archiver.policy import HOT, View
from archiver.prices import Money
from archiver.sections import COLD_CLASSES

_PAGE = 200
_MOST_STEPS = 1000  # of one dataset; policy comes to rest after a few
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Step:
    """One copy made or ended in `tier`, at `at`. `source`: the copy it is made from (None: built from the members in hot)."""

    makes: bool
    obj: Object
    tier: str
    at: datetime
    source: Copy | None = None
    waits_for_grace: bool = False  # the stub is laid before the end of the plan, the drop comes after


@dataclass
class Amount:
    """Objects and bytes, and the requests that write and read them."""

    objects: int = 0
    size_bytes: int = 0
    writes: int = 0
    reads: int = 0

    def add(self, objects: int, size_bytes: int, writes: int = 0, reads: int = 0) -> None:
        self.objects += objects
        self.size_bytes += size_bytes
        self.writes += writes
        self.reads += reads


def foresee(seen: View, settings: Settings, at: datetime, until: datetime) -> list[Step]:
    """What is done with one dataset from `at` to `until`, in order; drops that only wait for the grace of their stub by then come last, marked."""
    steps: list[Step] = []
    now, fresh = at, -1
    stub_at = seen.dataset.stub_at
    ends = until + settings.policy.grace
    for _ in range(_MOST_STEPS):
        decision = policy.decide(seen, settings, now)
        revoked, cancelled = {d.id for d in decision.revoke}, {t.id for t in decision.cancel}
        transfers = [t for t in seen.transfers if t.id not in cancelled]
        carried = [t for t in transfers if t.state is not TransferState.QUARANTINED and t.source_uri is None]
        objects, copies = {o.id: o for o in seen.objects}, {c.id: c for c in seen.copies}
        made = [(objects[t.object_id], t.tier, copies.get(t.source_copy_id or 0)) for t in carried] + decision.transfers
        ended = [copies[d.copy_id] for d in seen.drops if d.id not in revoked] + decision.drops
        if not (made or ended or revoked or cancelled or decision.stub or decision.unstub):
            claimed = _restores_ready(seen, now)
            if claimed is not None:
                seen = claimed
                continue
            if decision.look_at is None or not now < decision.look_at <= ends:
                break
            now = decision.look_at
            continue
        late = now > until
        if late and not (ended and stub_at is not None and stub_at <= until):
            break
        steps += [Step(makes=True, obj=obj, tier=tier, at=now, source=source) for obj, tier, source in made]
        steps += [Step(makes=False, obj=objects[c.object_id], tier=c.tier, at=now, waits_for_grace=late) for c in ended]
        gone = {c.id for c in ended}
        kept = [c for c in seen.copies if c.id not in gone]
        for obj, tier, _source in made:
            kept.append(Copy(fresh, obj.id, tier, obj.key, "", "", Proof.READ_BACK, now, None))
            fresh -= 1
        if decision.stub or decision.unstub:
            stub_at = now if decision.stub else None
        done = {t.id for t in carried}
        seen = replace(
            seen,
            dataset=replace(seen.dataset, stub_at=stub_at),
            copies=kept,
            transfers=[t for t in transfers if t.id not in done],
            drops=[],
        )
    return steps


def _restores_ready(seen: View, now: datetime) -> View | None:
    """The same with the claims of restores whose files are all back: their days count from now. None when there are none such."""
    hot = {c.object_id for c in seen.copies if c.tier == HOT}
    ready = {
        r.id: now + timedelta(days=r.keep_days)
        for r in seen.restores
        if r.ready_at is None
        and r.state is not RestoreState.AWAITING_APPROVAL
        and all(f.object_id in hot for f in seen.files if policy.matches(f.path, r.files_glob))
    }
    if not ready:
        return None
    claims = []
    for claim in seen.claims:
        end = ready.get(claim.restore_id) if claim.restore_id is not None else None
        if end is None:
            claims.append(claim)
        elif policy.counts(claim):
            claims.append(replace(claim, until=end))
        else:
            claims.append(replace(claim, restore_id=None))  # a hold that waited for its restore
    restores = [replace(r, ready_at=now, expires_at=ready[r.id]) if r.id in ready else r for r in seen.restores]
    return replace(seen, claims=claims, restores=restores)


@dataclass
class Plan:
    """Sums over all datasets; see `as_json`."""

    at: datetime
    until: datetime
    settings: Settings
    datasets: int = 0  # that something is done with
    projects: set[str] = field(default_factory=set)
    copies: dict[tuple[str, str], dict[tuple[str, bool], Amount]] = field(default_factory=dict)  # (project, tier): (source, streamed)
    drops: dict[str, Amount] = field(default_factory=dict)
    days: dict[tuple[str, str], Amount] = field(default_factory=dict)  # (day, tier) of drops
    recalls: dict[str, Amount] = field(default_factory=dict)
    grace: dict[str, Amount] = field(default_factory=dict)
    before: dict[str, Amount] = field(default_factory=dict)
    early: Money | None = None  # billed for copies that end before their least days
    held: str | None = None
    room: tuple[int, int] = (0, 0)
    awaiting: tuple[int, int] = (0, 0)

    def take(self, seen: View, steps: Iterable[Step], weights: dict[int, tuple[int, int]]) -> None:
        """Add a dataset's steps. `weights`: (objects, bytes) that stand for an object where those alike are counted together."""
        dataset, any_step = seen.dataset, False
        recalled: set[int] = set()
        for step in steps:
            any_step = True
            objects, size = weights.get(step.obj.id, (1, step.obj.size_bytes))
            if step.makes:
                self._copy(dataset.project, step, objects, size, seen, recalled)
            elif step.waits_for_grace:
                self.grace.setdefault(step.tier, Amount()).add(objects, size)
            else:
                self.drops.setdefault(step.tier, Amount()).add(objects, size)
                self.days.setdefault((f"{step.at:%Y-%m-%d}", step.tier), Amount()).add(objects, size)
                if self.settings.tiers[step.tier].prices.minimum_days:
                    age = Decimal((step.at - (dataset.closed_at or dataset.received_at)).total_seconds()) / 86_400
                    cost = prices.early_end(self.settings, step.tier, size, age)
                    self.early = cost if self.early is None else self.early + cost
        if any_step:
            self.datasets += 1
            self.projects.add(dataset.project)

    def _copy(self, project: str, step: Step, objects: int, size: int, seen: View, recalled: set[int]) -> None:
        source = step.source.tier if step.source else HOT
        bundled = step.source is None or step.source.object_id != step.obj.id  # built of its members, or read out of a bundle
        streamed = bundled or not prices.server_side(self.settings, source, step.tier)
        each = -(-size // objects)
        reads = len(seen.members_of.get(step.obj.id, ())) if step.source is None else objects * prices.parts(self.settings, each)
        writes = objects * prices.write_requests(self.settings, each, streamed=streamed)
        by_source = self.copies.setdefault((project, step.tier), {})
        by_source.setdefault((source, streamed), Amount()).add(objects, size, writes, reads if streamed else 0)
        if step.source and step.source.id not in recalled and self.settings.tiers[source].storage_class in COLD_CLASSES:
            recalled.add(step.source.id)
            whole = next(o.size_bytes for o in seen.objects if o.id == step.source.object_id)
            self.recalls.setdefault(source, Amount()).add(1, whole)

    def cost_of_copies(self, project: str, tier: str) -> Money:
        """Making them now, without recalls."""
        return prices.total(
            self.settings,
            (
                prices.copy(self.settings, source, tier, a.objects, a.size_bytes, writes=a.writes, reads=a.reads if streamed else None)
                for (source, streamed), a in self.copies[project, tier].items()
            ),
        )

    def cost_now(self) -> Money:
        """What is billed once: copies, recalls, and copies that end before the days that are billed at least."""
        return prices.total(
            self.settings,
            (
                *(self.cost_of_copies(*key) for key in self.copies),
                *(prices.recall(self.settings, tier, a.objects, a.size_bytes) for tier, a in self.recalls.items()),
                *(() if self.held or self.early is None else (self.early,)),
            ),
        )

    def after(self) -> dict[str, Amount]:
        """What each tier holds when all this is done (drops that are held are not)."""
        found = {tier: Amount(a.objects, a.size_bytes) for tier, a in self.before.items()}
        for (_project, tier), by_source in self.copies.items():
            for amount in by_source.values():
                found.setdefault(tier, Amount()).add(amount.objects, amount.size_bytes)
        for tier, amount in {} if self.held else self.drops.items():
            found.setdefault(tier, Amount()).add(-amount.objects, -amount.size_bytes)
        return found

    def month(self, holdings: dict[str, Amount]) -> Money:
        """Storage of this much in a month."""
        return prices.total(self.settings, (prices.storage(self.settings, tier, a.size_bytes) for tier, a in holdings.items()))

    def as_json(self) -> dict[str, Any]:
        """The whole plan; sums of money as `Money.as_json`."""
        copies = []
        for (project, tier), by_source in sorted(self.copies.items()):
            objects, size = (sum(getattr(a, name) for a in by_source.values()) for name in ("objects", "size_bytes"))
            copies.append(
                {"project": project, "tier": tier, "objects": objects, "size_bytes": size, "cost": self.cost_of_copies(project, tier).as_json()}
            )
        return {
            "at": time(self.at),
            "until": time(self.until),
            "datasets": self.datasets,
            "projects": sorted(self.projects),
            "copies": copies,
            "drops": [] if self.held else _by_tier(self.drops),
            "drops_by_day": [] if self.held else [{"day": day, **_amount(tier, a)} for (day, tier), a in sorted(self.days.items())],
            "recalls": _by_tier(self.recalls),
            "cost_now": self.cost_now().as_json(),
            "storage": {"before": self._storage(self.before), "after": self._storage(self.after())},
            "waits": self._waits(),
            "prices": [
                {"tier": name, "source": tier.prices.source or None, "date": tier.prices.date or None} for name, tier in self.settings.tiers.items()
            ],
        }

    def _storage(self, holdings: dict[str, Amount]) -> dict[str, Any]:
        month = self.month(holdings)
        return {"tiers": _by_tier(holdings), "month": month.as_json(), "year": (month * prices.MONTHS_A_YEAR).as_json()}

    def _waits(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for tier, amount in self.grace.items():
            found.append({"why": "grace", "detail": "the stub is laid first, then policy.grace passes", **_amount(tier, amount)})
        if self.awaiting[0]:
            restores, size = self.awaiting
            found.append({"why": "approval", "detail": f"{restores} restore(s) wait for an admin", "tier": HOT, "objects": None, "size_bytes": size})
        if self.held is not None:
            found += [{"why": "held", "detail": self.held, **_amount(tier, amount)} for tier, amount in self.drops.items()]
        elif self.drops:
            objects, size = (sum(getattr(a, name) for a in self.drops.values()) for name in ("objects", "size_bytes"))
            days = max(1, -(-(self.until - self.at) // _DAY))
            over = objects - self.room[0] - (days - 1) * self.settings.policy.drops_per_day
            over_bytes = size - self.room[1] - (days - 1) * self.settings.policy.drop_bytes_per_day
            if over > 0 or over_bytes > 0:
                detail = "more than policy.drops_per_day or policy.drop_bytes_per_day allow: the rest is dropped on the days that follow"
                found.append({"why": "caps", "detail": detail, "tier": None, "objects": max(over, 0), "size_bytes": max(over_bytes, 0)})
        return found


def plan(archive: Archive, at: datetime | None = None, until: datetime | None = None, settings: Settings | None = None) -> Plan:
    """What is done from `at` (default: now) to `until` (default: `at`, so what is due), under `settings` (default: the archive's).

    Raises `WrongSetting` when the settings lack a tier that holds copies.
    """
    by = settings or archive.settings
    markers.check_tiers(archive)
    with archive.ledger.read() as tx:
        made = begin(tx, by, at or tx.at, until)
        all_of_them = settings is not None or changeover.differs(tx, by)
        for seen, weights in views(tx, [by], made.at, None if all_of_them else made.until):
            made.take(seen, foresee(seen, by, made.at, made.until), weights)
    return made


def begin(tx: Transaction, settings: Settings, at: datetime, until: datetime | None) -> Plan:
    """A plan in which nothing is done yet, with what there is and what holds it."""
    return Plan(
        at,
        max(at, until or at),
        settings,
        before={name: Amount() for name in settings.tiers} | {tier: Amount(copies, size) for tier, copies, size in tx.totals()},
        held=tx.note(guards.HOLD),
        room=guards.room(tx, settings),
        awaiting=tx.awaiting_approval(),
    )


def views(
    tx: Transaction, settings: Sequence[Settings], at: datetime, due_until: datetime | None
) -> Iterator[tuple[View, dict[int, tuple[int, int]]]]:
    """Each dataset (those due by `due_until`, if given), in memory for as long as it is looked at, with the weights of its objects.

    Where nothing is under way, and nothing is to be copied under any of these `settings`, objects that are alike are one: its weight is their
    number and their bytes. Elsewhere each object stands for itself, and has no weight.
    """
    last = 0
    tiers = list(dict.fromkeys(name for one in settings for name in one.tiers))
    while page := tx.datasets_after(last, _PAGE, due_until):
        last = page[-1].id
        busy = tx.busy([d.id for d in page])
        alike = tx.alike([d.id for d in page if d.id not in busy and d.closed_at is not None], tiers)
        for dataset in page:
            if dataset.id in alike:
                seen, weights = _summary(dataset, alike[dataset.id])
                if not any(policy.decide(seen, one, at).transfers for one in settings):
                    yield seen, weights
                    continue
            yield view(tx, dataset.id), {}


def at_rest(tx: Transaction, settings: Settings, dataset_ids: Iterable[int]) -> dict[int, tuple[datetime | None, str | None]]:
    """Those of these datasets with which nothing is to be done now: when each must be looked at again, and its nearest tier.

    Its files are not read one by one.
    """
    ids = list(dataset_ids)
    quiet = set(ids) - tx.busy(ids)
    closed = {i: d for i, d in tx.datasets_numbered(quiet).items() if d.state is DatasetState.CLOSED}
    found = {}
    for number, groups in tx.alike(closed, list(settings.tiers)).items():
        seen = _summary(closed[number], groups)[0]
        decision = policy.decide(seen, settings, tx.at)
        if not (decision.transfers or decision.drops or decision.stub or decision.unstub):
            found[number] = decision.look_at, policy.nearest(seen, settings)
    return found


def _summary(dataset: Dataset, groups: list[Alike]) -> tuple[View, dict[int, tuple[int, int]]]:
    objects: list[Object] = []
    files: list[File] = []
    copies: list[Copy] = []
    members: list[Member] = []
    weights = {}
    for group in groups:
        number = group.object_id
        objects.append(Object(number, dataset.id, group.kind, "", group.size_bytes, None, None))
        weights[number] = (group.objects, group.size_bytes)
        if group.kind is ObjectKind.FILE:
            files.append(
                File(number, dataset.id, "", b"", FileState.RECEIVED, 0, None, None, number, 0, None, None, None, MetadataState.NONE, None, {})
            )
            if group.bundle_id is not None:
                members.append(Member(group.bundle_id, number, 0))
        copies += [
            Copy(len(copies) + n + 1, number, tier, "", "", "", Proof.READ_BACK, dataset.received_at, None) for n, tier in enumerate(group.tiers)
        ]
    return View(dataset, files, objects, copies, [], [], [], [], members), weights


def _by_tier(amounts: dict[str, Amount]) -> list[dict[str, Any]]:
    return [_amount(tier, amount) for tier, amount in amounts.items()]


def _amount(tier: str, amount: Amount) -> dict[str, Any]:
    return {"tier": tier, "objects": amount.objects, "size_bytes": amount.size_bytes}


def time(at: datetime) -> str:
    """ISO 8601 in UTC, with Z."""
    return at.isoformat().replace("+00:00", "Z")
