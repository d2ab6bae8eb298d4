"""Reading a version back to prove it: whole where it is small, in parts where it is large, and what it says is what is there."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

import pytest
from fixtures.archive import Bench
from fixtures.faulty import Fault, FaultyStore, Rule
from fixtures.store import S3Store

from archiver import proof
from archiver.errors import ProofFailed, StoreUnavailable
from archiver.model import Object, ObjectKind
from archiver.storage import Tier, Vanished

MIB = 2**20
PART = 5 * MIB
CONTENT = secrets.token_bytes(2 * PART + 3)


@pytest.fixture
def proxied(store: S3Store, faulty: Callable[..., FaultyStore]) -> FaultyStore:
    return faulty(store)


@pytest.fixture
def hot(bench: Bench, proxied: FaultyStore) -> Tier:
    """Hot, read in parts of 5 MiB, through a proxy."""
    settings = bench.archive.settings
    worker = settings.worker.model_copy(update={"part_bytes": PART})
    tiers = {name: tier.model_copy(update={"endpoint_url": proxied.endpoints[0]}) for name, tier in settings.tiers.items()}
    return Tier("hot", settings.model_copy(update={"worker": worker, "tiers": tiers}))


def put(bench: Bench, content: bytes) -> str:
    return bench.archive.tiers["hot"].put("k", len(content), iter([content]), "STANDARD")


def reads(proxied: FaultyStore) -> list[int]:
    """How many bytes each answer to a GET had."""
    return sorted(exchange.answered_bytes for exchange in proxied.exchanges if exchange.operation == "get_object")


@pytest.mark.parametrize("told", [len(CONTENT), PART + 1, 100 * MIB], ids=["as told", "larger than told", "smaller than told"])
def test_a_large_version_is_read_in_parts_and_all_of_it_counts(bench: Bench, hot: Tier, proxied: FaultyStore, told: int):
    version = put(bench, CONTENT)
    found = hot.digest("k", version, told)
    assert (found.size_bytes, found.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert reads(proxied) == [3, PART, PART]


@pytest.mark.parametrize("size_bytes", [0, 1, PART])
def test_a_small_one_is_read_whole(bench: Bench, hot: Tier, proxied: FaultyStore, size_bytes: int):
    version = put(bench, CONTENT[:size_bytes])
    found = hot.digest("k", version, size_bytes)
    assert (found.size_bytes, found.sha256) == (size_bytes, hashlib.sha256(CONTENT[:size_bytes]).hexdigest())
    assert reads(proxied) == [size_bytes]


@pytest.mark.parametrize("there", [0, 1, PART + 1])
def test_what_should_be_large_and_is_not_is_no_proof(bench: Bench, hot: Tier, there: int):
    version = put(bench, CONTENT[:there])
    obj = Object(1, 1, ObjectKind.FILE, "k", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), None)
    with pytest.raises(ProofFailed, match=f"reads back as {there} bytes"):
        proof.prove(hot, obj, version)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_wrong_byte_in_any_part_is_no_proof(bench: Bench, hot: Tier, proxied: FaultyStore, nth: int):
    version = put(bench, CONTENT)
    obj = Object(1, 1, ObjectKind.FILE, "k", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), None)
    proxied.rules = [Rule(Fault.WRONG_READ, nth=(nth,))]
    with pytest.raises(ProofFailed, match=f"reads back as {len(CONTENT)} bytes"):
        proof.prove(hot, obj, version)
    proxied.rules = []
    assert proof.prove(hot, obj, version)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_part_that_breaks_off_is_no_answer(bench: Bench, hot: Tier, proxied: FaultyStore, nth: int):
    version = put(bench, CONTENT)
    proxied.rules = [Rule(Fault.CUT_ANSWER, operations=frozenset({"get_object"}), nth=(nth,))]
    with pytest.raises(StoreUnavailable):
        hot.digest("k", version, len(CONTENT))
    assert proxied.happened()[Fault.CUT_ANSWER] == 1


def test_one_that_goes_away_meanwhile_has_vanished(bench: Bench, hot: Tier, proxied: FaultyStore):
    version = put(bench, CONTENT)
    proxied.rules = [Rule(Fault.NOT_THERE, operations=frozenset({"get_object"}), nth=(3,))]
    with pytest.raises(Vanished):
        hot.digest("k", version, len(CONTENT))
    with pytest.raises(Vanished):
        hot.digest("nothing", version, len(CONTENT))
