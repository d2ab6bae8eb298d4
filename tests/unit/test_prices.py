"""Prices: what is unknown stays unknown in every sum, and each formula counts what a store bills."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import prices
from archiver.config import Settings
from archiver.prices import Money
from archiver.sections import PriceSettings, TierSettings

ALL = {
    "storage_gb_month": 0.02,
    "write_per_1000": 0.5,
    "read_per_1000": 0.25,
    "recall_per_1000": 10,
    "retrieval_gb": 0.03,
    "transfer_out_gb": 0.09,
}
GB = 10**9


def settings(*, elsewhere: str = "", **tables: dict) -> Settings:
    """Default tiers with these prices by tier; `elsewhere` names a tier with an endpoint of its own."""
    tiers = {}
    for name, tier in Settings().tiers.items():
        endpoint = "https://s3.example.org" if name == elsewhere else None
        tiers[name] = TierSettings(
            **{**tier.model_dump(exclude={"prices", "endpoint_url"}), "endpoint_url": endpoint, "prices": PriceSettings(**tables.get(name, {}))}
        )
    return Settings(tiers=tiers)


KNOWN = settings(hot=ALL, archive=ALL, deep=ALL)


def missing(tier: str, price: str) -> str:
    return f"tiers.{tier}.prices.{price}"


def test_shipped_prices_are_unknown_and_say_which_setting_they_lack():
    cost = prices.storage(Settings(), "deep", 5 * GB)
    assert cost.amount is None
    assert cost.unknown == {missing("deep", "storage_gb_month")}
    assert str(cost) == "unknown (storage in deep)"
    assert cost.as_json() == {"amount": None, "at_least": 0.0, "currency": "EUR", "unknown": [missing("deep", "storage_gb_month")]}


def test_a_sum_with_an_unknown_part_is_a_lower_bound_never_a_total():
    some = settings(hot={"storage_gb_month": 0.02})
    cost = prices.storage(some, "hot", 100 * GB) + prices.storage(some, "deep", GB)
    assert (cost.amount, cost.known) == (None, Decimal("2.00"))
    assert str(cost) == "at least 2.00 EUR, storage in deep unknown"


def test_nothing_kept_costs_nothing_whatever_the_price():
    assert prices.storage(Settings(), "deep", 0).amount == 0
    assert prices.copy(Settings(), "hot", "deep", 0, 0).amount == 0


def test_a_difference_of_something_unknown_has_no_bound():
    some = settings(hot={"storage_gb_month": 0.02})
    change = prices.storage(some, "hot", 100 * GB) - prices.storage(some, "deep", GB)
    assert change.as_json()["at_least"] is None
    assert str(change) == "unknown (storage in deep)"
    assert str(prices.storage(some, "hot", 100 * GB) - prices.storage(some, "hot", 50 * GB)) == "1.00 EUR"


sums = st.builds(
    Money,
    currency=st.just("EUR"),
    known=st.decimals(min_value=0, max_value=10**6, places=4),
    unknown=st.frozensets(st.sampled_from([missing("hot", p) for p in ALL])),
)


@given(st.lists(sums, max_size=6), st.randoms())
def test_a_total_is_known_only_if_every_part_is_in_any_order(parts, random):
    whole = prices.total(KNOWN, parts)
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert whole == prices.total(KNOWN, shuffled)
    assert (whole.amount is None) == any(part.amount is None for part in parts)
    assert whole.known == sum(part.known for part in parts)


@given(st.sampled_from(sorted(ALL)), st.sampled_from(["hot", "archive", "deep"]))
def test_taking_a_price_away_never_makes_anything_cheaper_but_unknown(price, tier):
    """Each operation, with and without one price: either the price plays no part, or the sum becomes unknown."""
    without = {name: {k: v for k, v in ALL.items() if (name, k) != (tier, price)} for name in ("hot", "archive", "deep")}
    for elsewhere in ("", "deep"):
        full, less = settings(elsewhere=elsewhere, hot=ALL, archive=ALL, deep=ALL), settings(elsewhere=elsewhere, **without)
        for operation in (
            lambda s: prices.storage(s, tier, GB),
            lambda s: prices.copy(s, "hot", "deep", 3, GB),
            lambda s: prices.copy(s, None, "hot", 3, GB),
            lambda s: prices.restore(s, "deep", 3, GB, 5, GB),
            lambda s: prices.restore(s, "archive", 0, 0, 5, GB),
        ):
            before, after = operation(full), operation(less)
            assert after == before or after.unknown == {missing(tier, price)}
            assert after.known <= before.known


def test_storage_is_per_10_9_bytes_and_month_of_a_twelfth_of_365_days():
    assert prices.storage(KNOWN, "hot", 50 * GB).amount == 1
    year = prices.storage(KNOWN, "hot", 50 * GB, 365).amount
    assert round(year, 9) == 12
    assert prices.storage(KNOWN, "hot", 50 * GB) * prices.MONTHS_A_YEAR == Money("EUR", Decimal("12.00"))


def test_a_copy_inside_one_endpoint_is_one_request_each_and_its_proof():
    """hot → archive (read back at once): 1,000 writes, 1,000 GETs and 10 GB of retrieval for the proof, 10 GB read of hot."""
    cost = prices.copy(KNOWN, "hot", "archive", 1000, 10 * GB)
    assert cost.amount == Decimal("0.5") + Decimal("0.25") + Decimal("0.3") + Decimal("0.3")


def test_a_large_copy_is_read_back_in_parts_after_a_look_at_its_size():
    part = KNOWN.worker.part_bytes
    asked = [
        prices.prove(KNOWN, "archive", 2, 2 * size_bytes) - prices.read(KNOWN, "archive", 0, 2 * size_bytes)
        for size_bytes in (part, part + 1, 5 * part)
    ]
    assert [cost.amount * 1000 / Decimal("0.25") for cost in asked] == [2 * 1, 2 * (1 + 2), 2 * (1 + 5)]


def test_a_cold_copy_is_proven_by_the_stores_checksum_so_nothing_is_retrieved():
    cost = prices.copy(KNOWN, "hot", "deep", 1000, 10 * GB)
    assert cost.amount == Decimal("0.5") + 2 * Decimal("0.25") + Decimal("0.3")


def test_only_what_goes_from_one_endpoint_to_another_leaves_a_provider():
    apart = settings(elsewhere="deep", hot=ALL, archive=ALL, deep=ALL)
    leaves = settings(elsewhere="deep", hot=ALL | {"transfer_out_gb": 1.09}, archive=ALL, deep=ALL)
    assert prices.copy(leaves, "hot", "archive", 1, GB) == prices.copy(apart, "hot", "archive", 1, GB)
    assert prices.copy(leaves, "hot", "deep", 1, GB) - prices.copy(apart, "hot", "deep", 1, GB) == Money("EUR", Decimal("1.00"))
    back = settings(elsewhere="deep", hot=ALL, archive=ALL, deep=ALL | {"transfer_out_gb": 1.09})
    assert (prices.restore(back, "deep", 1, GB, 1, GB) - prices.restore(apart, "deep", 1, GB, 1, GB)).amount == 1


def test_requests_follow_the_part_sizes_that_storage_uses():
    part, whole = KNOWN.worker.part_bytes, KNOWN.worker.copy_in_parts_above_bytes
    assert [prices.write_requests(KNOWN, n, streamed=True) for n in (0, 1, part, part + 1)] == [1, 1, 1, 4]
    assert [prices.write_requests(KNOWN, n, streamed=False) for n in (part + 1, whole, whole + 1)] == [1, 1, 2 + whole // part + 1]
    assert prices.write_requests(KNOWN, 10**12, streamed=True) <= 2 + 9000


def test_a_recall_bills_whole_objects_and_the_readable_copies_but_nothing_in_a_class_that_is_read_at_once():
    cost = prices.recall(KNOWN, "deep", 2000, 50 * GB).amount
    kept = prices.storage(KNOWN, "hot", 50 * GB, 7).amount
    assert cost == 20 + Decimal("1.5") + kept
    assert prices.recall(KNOWN, "archive", 2000, 50 * GB).amount == 0


def test_ending_early_bills_the_days_that_are_left():
    least = settings(deep=ALL | {"minimum_days": 180})
    assert prices.early_end(least, "deep", GB, 180).amount == 0
    assert prices.early_end(least, "deep", GB, 100) == prices.storage(least, "deep", GB, 80)
    assert prices.early_end(settings(deep={"minimum_days": 180}), "deep", GB, 100).amount is None


def test_currencies_are_never_mixed():
    with pytest.raises(ValueError, match="cannot be added"):
        Money("EUR") + Money("USD")
