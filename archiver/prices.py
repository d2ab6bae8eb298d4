"""What copies cost: storage, requests, recalls, reading and what leaves a provider. Pure: settings in, `Money` out.

Law: a price that is not set is unknown, and so is every sum it enters: such a sum is "at least X" and names the settings it lacks.
Only what is not used costs nothing. Prices are `tiers.*.prices`, per 10^9 bytes, per 1,000 requests, per month of 365/12 days.

The formulas are those of S3's price lists (aws.amazon.com/s3/pricing): a copy is billed as requests of the class it is written to, a recall
by object and by bytes, reading by request and, in classes for rare reading, by bytes; what a server copies inside one endpoint leaves no
provider. The archiver is taken to stand beside hot. What some classes add for each object (index, least billed size) is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from archiver.config import Settings
from archiver.sections import COLD_CLASSES, MAX_PARTS

GB = 10**9
DAYS_A_MONTH = Decimal(365) / 12
MONTHS_A_YEAR = 12
HOT = "hot"

_WORDS = {
    "storage_gb_month": "storage in",
    "write_per_1000": "writing to",
    "read_per_1000": "requests to",
    "recall_per_1000": "recalls from",
    "retrieval_gb": "retrieval from",
    "transfer_out_gb": "transfer out of",
}
"""Each price in words, as it stands before the name of its tier."""


@dataclass(frozen=True)
class Money:
    """A sum of which `known` is what could be computed, and `unknown` the settings (`tiers.deep.prices.storage_gb_month`) that the rest lacks.

    `bound`: `known` is a lower bound of the whole; not so for a difference of which a part is unknown.
    """

    currency: str
    known: Decimal = Decimal(0)
    unknown: frozenset[str] = frozenset()
    bound: bool = field(default=True)

    @property
    def amount(self) -> Decimal | None:
        """The sum, or None when a part of it is unknown."""
        return None if self.unknown else self.known

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.currency, self.known + other.known, self.unknown | other.unknown, self.bound and other.bound)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        unknown = self.unknown | other.unknown
        return Money(self.currency, self.known - other.known, unknown, not unknown)

    def __mul__(self, times: int) -> Money:
        """`times` ≥ 0 of it."""
        return Money(self.currency, self.known * times, self.unknown, self.bound) if times else Money(self.currency)

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} cannot be added")

    def __str__(self) -> str:
        """`12.34 EUR`, or `at least 12.34 EUR, storage in deep unknown`."""
        shown = f"{self.known.quantize(Decimal('0.01'), ROUND_HALF_UP):,} {self.currency}"
        if not self.unknown:
            return shown
        lacks = ", ".join(_in_words(name) for name in sorted(self.unknown))
        return f"at least {shown}, {lacks} unknown" if self.bound and self.known else f"unknown ({lacks})"

    def as_json(self) -> dict[str, Any]:
        """`amount` is null when a part is unknown; `at_least` is null where no bound can be given."""
        known = float(round(self.known, 6))
        return {
            "amount": None if self.unknown else known,
            "at_least": known if self.bound else None,
            "currency": self.currency,
            "unknown": sorted(self.unknown),
        }


def _in_words(setting: str) -> str:
    _, tier, _, price = setting.split(".")
    return f"{_WORDS[price]} {tier}"


def nothing(settings: Settings) -> Money:
    """Zero, in the currency of the price tables."""
    return Money(settings.tiers[HOT].prices.currency)


def total(settings: Settings, sums: Iterable[Money]) -> Money:
    """All of them together; zero when there are none."""
    return sum(sums, nothing(settings))


def _cost(settings: Settings, tier: str, price: str, amount: Decimal | int) -> Money:
    """`amount` times a price of a tier: zero of it cost nothing, whatever the price."""
    prices = settings.tiers[tier].prices
    value = getattr(prices, price)
    if not amount:
        return Money(prices.currency)
    if value is None:
        return Money(prices.currency, unknown=frozenset({f"tiers.{tier}.prices.{price}"}))
    return Money(prices.currency, Decimal(str(value)) * amount)


def _bytes(settings: Settings, tier: str, price: str, size_bytes: int) -> Money:
    return _cost(settings, tier, price, Decimal(size_bytes) / GB)


def _requests(settings: Settings, tier: str, price: str, count: int) -> Money:
    return _cost(settings, tier, price, Decimal(count) / 1000)


def storage(settings: Settings, tier: str, size_bytes: int, days: int | Decimal = DAYS_A_MONTH) -> Money:
    """Keeping `size_bytes` in a tier for `days` (default: a month, 365/12 of them)."""
    return _cost(settings, tier, "storage_gb_month", Decimal(size_bytes) / GB * Decimal(days) / DAYS_A_MONTH)


def server_side(settings: Settings, source: str, target: str) -> bool:
    """Whether a copy is made by the store itself: both tiers at one endpoint. Else it streams through the archiver."""
    return settings.tier_endpoint(source) == settings.tier_endpoint(target)


def parts(settings: Settings, size_bytes: int) -> int:
    """Parts in which an object is sent or read (storage.py's own rule)."""
    return max(1, -(-size_bytes // max(settings.worker.part_bytes, -(-size_bytes // MAX_PARTS))))


def write_requests(settings: Settings, size_bytes: int, *, streamed: bool) -> int:
    """PUT, COPY and multipart requests that write one object: one, or in parts begin, each part and completion."""
    number = parts(settings, size_bytes)
    return 1 if number == 1 or not (streamed or size_bytes > settings.worker.copy_in_parts_above_bytes) else 2 + number


def read(settings: Settings, tier: str, requests: int, size_bytes: int) -> Money:
    """Reading bytes from a tier into the archiver. Of what must be recalled first, the recall pays for the bytes."""
    cost = _requests(settings, tier, "read_per_1000", requests)
    if settings.tiers[tier].storage_class not in COLD_CLASSES:
        cost += _bytes(settings, tier, "retrieval_gb", size_bytes)
    if settings.tier_endpoint(tier) != settings.tier_endpoint(HOT):
        cost += _bytes(settings, tier, "transfer_out_gb", size_bytes)
    return cost


def recall(settings: Settings, tier: str, objects: int, size_bytes: int) -> Money:
    """Recalling objects whole: by object and by bytes, and the readable copies for `recall_keep`, billed as hot is.

    Zero in a tier whose class needs no recall (docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects.html).
    """
    if settings.tiers[tier].storage_class not in COLD_CLASSES:
        return nothing(settings)
    days = Decimal(settings.tiers[tier].recall_keep.total_seconds()) / 86_400
    cost = _requests(settings, tier, "recall_per_1000", objects) + _bytes(settings, tier, "retrieval_gb", size_bytes)
    return cost + storage(settings, HOT, size_bytes, days)


def prove(settings: Settings, tier: str, objects: int, size_bytes: int) -> Money:
    """Proving new copies: read back whole, a large one after a HEAD in parts (storage.py's own rule; objects of average size); or where the class
    cannot be read at once, one HEAD each."""
    if settings.tiers[tier].storage_class in COLD_CLASSES:
        return read(settings, tier, objects * 2, 0)
    number = parts(settings, -(-size_bytes // objects)) if objects else 0
    return read(settings, tier, objects * (number if number == 1 else 1 + number), size_bytes)


def copy(
    settings: Settings, source: str | None, target: str, objects: int, size_bytes: int, *, writes: int | None = None, reads: int | None = None
) -> Money:
    """Making and proving copies of `objects` with `size_bytes` together in `target`, from copies in `source` (None: from outside, an arrival).

    `writes`: requests that write them (default: as for objects of average size). `reads`: requests that read the source when it is
    streamed, as it is between two endpoints and for a bundle, which is built from its members (default: one per part of objects of average size).
    A recall that the source needs is not in it: see `recall`.
    """
    streamed = source is None or reads is not None or not server_side(settings, source, target)
    average = -(-size_bytes // objects) if objects else 0
    if writes is None:
        writes = objects * write_requests(settings, average, streamed=streamed)
    cost = _requests(settings, target, "write_per_1000", writes) + prove(settings, target, objects, size_bytes)
    if source is None:
        return cost
    if not streamed:
        cold = settings.tiers[source].storage_class in COLD_CLASSES
        return cost + (nothing(settings) if cold else _bytes(settings, source, "retrieval_gb", size_bytes))
    cost += read(settings, source, objects * parts(settings, average) if reads is None else reads, size_bytes)
    if settings.tier_endpoint(target) != settings.tier_endpoint(HOT):
        cost += _bytes(settings, HOT, "transfer_out_gb", size_bytes)  # from the archiver's side to the target's
    return cost


def restore(settings: Settings, source: str, recalled: int, recalled_bytes: int, objects: int, size_bytes: int) -> Money:
    """Bringing `objects` with `size_bytes` together from `source` into hot, of which `recalled` objects (whole bundles) must be recalled.

    What they then cost in hot is `storage(settings, "hot", size_bytes, days)`.
    """
    return recall(settings, source, recalled, recalled_bytes) + copy(settings, source, HOT, objects, size_bytes)


def early_end(settings: Settings, tier: str, size_bytes: int, age_days: int | Decimal) -> Money:
    """What is billed for copies that end at `age_days`, younger than the tier's `minimum_days`: the days that are left of these."""
    left = Decimal(settings.tiers[tier].prices.minimum_days) - Decimal(age_days)
    return storage(settings, tier, size_bytes, left) if left > 0 else nothing(settings)
