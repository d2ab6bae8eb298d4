"""Many small requests at once: what is read and copied is what was named, and what goes wrong is said as everywhere else."""

from __future__ import annotations

import gc
import secrets
import weakref
from collections.abc import Callable
from contextlib import suppress

import pytest
from botocore.credentials import Credentials
from fixtures.archive import Bench
from fixtures.faulty import Fault, FaultyStore, Rule
from fixtures.store import S3Store

from archiver import storage
from archiver.config import Settings
from archiver.errors import StoreUnavailable
from archiver.flow import Broken, Flow, Refused, ahead
from archiver.storage import AlreadyThere, Tier, Vanished

NAMES = ["plain", "a b", "a+b", "100%", "a%20b", "été/ñ", "q?x=1&y=2#z", "quote'\"", "(1)~*!", "=;,:@$", "日本", "t\tab", "NULL.h5"]


def through(bench: Bench, url: str) -> Settings:
    """The same archive, whose store is reached at another address."""
    tiers = {name: tier.model_copy(update={"endpoint_url": url}) for name, tier in bench.archive.settings.tiers.items()}
    return bench.archive.settings.model_copy(update={"tiers": tiers})


@pytest.fixture
def proxied(store: S3Store, faulty: Callable[..., FaultyStore]) -> FaultyStore:
    return faulty(store)


def tiers(bench: Bench) -> tuple[Tier, Tier]:
    return bench.archive.tiers["hot"], bench.archive.tiers["archive"]


def test_every_name_is_read_and_copied_by_version(bench: Bench):
    hot, archive = tiers(bench)
    for name in NAMES:
        key = f"p/i/{name}"
        old = hot.put_text(key, f"old {name}")
        hot.put_text(key, "new")
        assert hot.begin_read(key, old)() == f"old {name}".encode()
        made = archive.begin_copy(hot, key, old, "STANDARD")()
        head = archive.head(key)
        assert head is not None
        assert head.version_id == made
        assert archive.begin_read(key, made)() == f"old {name}".encode()


def test_an_empty_object_and_one_of_a_mebibyte(bench: Bench):
    hot, archive = tiers(bench)
    for content in (b"", secrets.token_bytes(2**20)):
        version = hot.put("k", len(content), iter([content]), "STANDARD")
        made = archive.begin_copy(hot, "k", version, "STANDARD")()
        assert archive.begin_read("k", made)() == content
        for tier in ("hot", "archive"):
            bench.admin[tier].delete_all_versions("k")


def test_nothing_is_copied_over_what_stands_there(bench: Bench):
    hot, archive = tiers(bench)
    version = hot.put_text("k", "ours")
    theirs = archive.put_text("k", "theirs")
    with pytest.raises(AlreadyThere):
        archive.begin_copy(hot, "k", version, "STANDARD")()
    assert archive.begin_read("k", theirs)() == b"theirs"
    assert len(archive.standing("k")) == 1


def test_what_is_not_there_has_vanished(bench: Bench):
    hot, archive = tiers(bench)
    version = hot.put_text("k", "ours")
    with pytest.raises(Vanished):
        hot.begin_read("other", version)()
    with pytest.raises(Vanished):
        archive.begin_copy(hot, "other", version, "STANDARD")()
    assert archive.head("other") is None


@pytest.mark.parametrize("fault", [Fault.ERROR_IN_200, Fault.CUT_ANSWER])
def test_a_copy_whose_answer_is_no_answer_is_not_made(bench: Bench, proxied: FaultyStore, fault: Fault):
    hot, archive = (Tier(name, through(bench, proxied.endpoints[0])) for name in ("hot", "archive"))
    version = hot.put_text("k", "ours")
    proxied.rules = [Rule(fault, operations=frozenset({"copy_object"}), most=20)]
    made = None
    with suppress(StoreUnavailable, AlreadyThere):  # tried again, it may stand there already
        made = archive.begin_copy(hot, "k", version, "STANDARD")()
    assert proxied.happened()[fault]
    assert made is None or archive.begin_read("k", made)() == b"ours"


@pytest.mark.parametrize("fault", [Fault.INTERNAL, Fault.SLOW_DOWN, Fault.RESET, Fault.CUT_ANSWER])
def test_a_read_is_tried_again_and_is_whole_or_refused(bench: Bench, proxied: FaultyStore, fault: Fault):
    hot = Tier("hot", through(bench, proxied.endpoints[0]))
    content = secrets.token_bytes(100_000)
    version = hot.put("k", len(content), iter([content]), "STANDARD")
    proxied.rules = [Rule(fault, operations=frozenset({"get_object"}), most=1)]
    assert hot.begin_read("k", version)() == content
    assert proxied.happened()[fault] == 1


def test_a_store_that_is_away_is_said_to_be(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    hot = Tier("hot", through(bench, "http://127.0.0.1:9"))
    with pytest.raises(StoreUnavailable, match="tier hot"):
        hot.begin_read("k", "1")()
    monkeypatch.setattr(storage, "keys", lambda *_: None)
    with pytest.raises(StoreUnavailable, match="no keys"):
        Tier("hot", bench.archive.settings).begin_read("k", "1")


def test_keys_are_asked_for_each_time(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """So that those of a role, which end, are renewed."""
    hot, _ = tiers(bench)
    version = hot.put_text("k", "ours")
    real = storage.keys(bench.archive.settings.store, hot.identity)
    assert real is not None
    held = Credentials(real.access_key, "wrong")
    monkeypatch.setattr(storage, "keys", lambda *_: held)
    fresh = Tier("hot", bench.archive.settings)
    with pytest.raises(StoreUnavailable):
        fresh.begin_read("k", version)()
    held.secret_key = real.secret_key
    assert fresh.begin_read("k", version)() == b"ours"


def test_a_request_that_was_refused_or_broken_is_let_go_of(bench: Bench):
    flow = bench.archive.tiers["hot"]._flow
    away = Flow("http://127.0.0.1:9/b", "us-east-1", Credentials("a", "b"), None, 1)
    gc.disable()  # a circle through the C runtime is one that Python would never see
    try:
        asked = [flow.look("nothing here"), flow.read("nothing here", ""), away.look("k")]
        for each in asked:
            with pytest.raises((Refused, Broken)):
                each.result()
        left = [weakref.ref(each) for each in asked]
        del asked, each
        assert [ref() for ref in left] == [None, None, None]
    finally:
        gc.enable()


def test_so_many_are_under_way_and_no_more():
    begun: list[int] = []

    def beginning(number: int) -> Callable[[], int]:
        def begin() -> int:
            begun.append(number)
            return number

        return begin

    taken = ahead((beginning(number) for number in range(10)), 3)
    assert begun == []
    for number, found in enumerate(taken):
        assert found == number
        assert len(begun) == min(number + 3, 10)
    assert list(ahead([], 3)) == []
