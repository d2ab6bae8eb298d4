"""Drills: a random cold dataset comes back to a scratch prefix, byte for byte, whatever happens on the way; how long it took is published."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fixtures.archive import Bench, settings_toml
from fixtures.glacier import Glacier
from fixtures.processes import wait_until
from fixtures.site import ALL, Browser, TokenTable
from typer.testing import CliRunner

from archiver import auth, describe, drill, restore
from archiver.api.health import Health
from archiver.cli import cli
from archiver.errors import StoreUnavailable
from archiver.ledger import tables as t
from archiver.model import Dataset, Drill, DrillState
from archiver.pages import create_site
from archiver.storage import Tier

FILES = {"a.bin": b"a" * 1000, "sub/b.bin": bytes(range(256)) * 40, "empty": b""}


@pytest.fixture
def bench(bench_on: Callable[..., Bench]) -> Iterator[Bench]:
    """Archive and deep take bundles; deep is recalled, as by a robot, in a minute."""
    made = bench_on(archive={"bundles": True}, deep={"bundles": True, "recall": "always", "recall_wait": "PT1M", "recall_keep": "P1D"})
    yield made
    made.give_back()


def last(bench: Bench) -> Drill:
    with bench.archive.ledger.read() as tx:
        return tx.drills(1)[0]


def held(bench: Bench, tier: str) -> Drill:
    """A drill of the only dataset from this tier, written down."""
    with bench.archive.ledger.begin() as tx:
        return tx.plan_drill(tx.dataset(1), tier, "a test's")


def turns(bench: Bench, minutes: int = 4) -> Drill:
    """The worker and the chore in turn."""
    for _ in range(minutes):
        drill.run(bench.archive)
        bench.settle()
        bench.turn(minutes=1)
    return last(bench)


def scratch(bench: Bench) -> list[str]:
    page, _ = bench.archive.tiers["hot"].page(prefix=".neve/drill/")
    versions = bench.admin["hot"].client.list_object_versions(Bucket=bench.admin["hot"].bucket, Prefix=".neve/drill/")
    return [entry.key for entry in page] + [v["Key"] for v in (*versions.get("Versions", []), *versions.get("DeleteMarkers", []))]


def events(bench: Bench, dataset: Dataset) -> list[str]:
    with bench.archive.ledger.read() as tx:
        return [e.kind for e in tx.events(dataset.id)]


def ill(bench: Bench) -> set[str]:
    health = Health(bench.archive)
    found = {check.name for check in health.look().checks if not check.ok}
    health.close()
    return found


def test_each_tier_has_its_turn_members_are_read_by_range_and_the_time_is_published(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    asked = bench.now
    assert turns(bench).state is DrillState.PASSED
    first = last(bench)
    drill.run(bench.archive)
    assert last(bench).id == first.id  # the next is not due
    bench.turn(days=30)
    second = turns(bench)
    assert {first.tier, second.tier} == {"archive", "deep"}
    assert second.state is DrillState.PASSED
    slow = first if first.tier == "deep" else second
    quick = second if slow is first else first
    assert 60 <= (slow.seconds or 0) <= 180  # the robot's minute, in the bench's time
    assert quick.seconds == 0
    assert slow.size_bytes == sum(map(len, FILES.values()))
    assert scratch(bench) == []
    kinds = events(bench, dataset)
    assert [k for k in kinds if k.startswith("drill.")] == ["drill.planned", "drill.running", "drill.passed"] * 2
    assert kinds.count("recall.asked") == 1  # the bundle, once for all its members
    assert first.created_at == asked
    with bench.archive.ledger.read() as tx:
        shown = describe.drills(tx, tx.drills(10), ["ice-cores"])
        assert [(d["tier"], d["seconds"], d["dataset"]) for d in shown] == [(second.tier, second.seconds, None), (first.tier, first.seconds, None)]
        assert describe.drills(tx, tx.drills(10), ["snow"])[0]["dataset"] == "saxs/run1"
    run = CliRunner()
    listed = run.invoke(cli, ["--config", str(bench.settings_file), "drills", "--json"])
    assert [d["state"] for d in json.loads(listed.stdout)] == ["passed", "passed"]
    begun = run.invoke(cli, ["--config", str(bench.settings_file), "drills", "--now-run"])
    assert begun.exit_code == 0, begun.output
    assert len(begun.stdout.splitlines()) == 3


def test_the_choice_is_cold_first_small_enough_repeatable_and_stays_in_its_tier(bench: Bench):
    old = bench.ingest("old", FILES)
    bench.settle()
    bench.turn(days=61)
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    for n in range(4):
        bench.ingest(f"new{n}", {"x.bin": b"x" * n})
    bench.settle()

    def chosen(tier: str, archive=bench.archive) -> set[str]:
        names = set()
        with archive.ledger.read() as tx:
            for n in range(12):
                found = drill._choose(archive, tx, tier, drill.random.Random(n))
                again = drill._choose(archive, tx, tier, drill.random.Random(n))
                assert (found and found.id) == (again and again.id)
                names.add(found.name if found else "")
        return names

    assert chosen("archive") == {"old"}
    small = bench.archive.settings.proof.model_copy(update={"drill_max_bytes": 2})
    narrow = dataclasses.replace(bench.archive, settings=bench.archive.settings.model_copy(update={"proof": small}))
    assert chosen("archive", narrow) == {"new0", "new1", "new2"}
    bench.turn(days=730 - 61 - 20)  # it leaves archive in 20 days
    assert chosen("archive") == {"new0", "new1", "new2", "new3"}
    assert chosen("deep") == {"old"}
    with bench.archive.ledger.begin() as tx:  # one file of it is not in deep
        for copy in tx.copies(old.id):
            if copy.tier == "deep" and not copy.key.startswith(".neve/"):
                tx.lose_copy(copy, old.id, "a test took it")
    assert chosen("deep") == {"new0", "new1", "new2", "new3"}


def test_bytes_that_differ_fail_the_drill_are_shouted_and_mended(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    with bench.archive.ledger.read() as tx:
        bad = next(c for c in tx.copies(dataset.id) if c.tier == "archive" and c.key.endswith(".tar"))
    tier = bench.admin["archive"]
    body = bytearray(b"".join(tier.read(bad.key, bad.version_id)))
    body[body.index(b"a" * 1000) + 500] ^= 1
    tier.delete_version(bad.key, bad.version_id)
    version = tier.client.put_object(Bucket=tier.bucket, Key=bad.key, Body=bytes(body))["VersionId"]
    with bench.archive.ledger.begin() as tx:
        tx.connection.execute(t.copy.update().where(t.copy.c.id == bad.id).values(version_id=version))
    held(bench, "archive")
    failed = turns(bench, 1)
    assert failed.state is DrillState.FAILED
    assert "a.bin came back from archive as 1000 bytes" in (failed.error or "")
    assert scratch(bench) == []
    assert ill(bench) == {"drills"}
    with bench.archive.ledger.read() as tx:
        assert "its drill from archive failed" in describe.datasets(tx, bench.archive.settings, [dataset])[0]["problem"]
    kinds = events(bench, dataset)
    assert "drill.failed" in kinds
    assert "copy.lost" in kinds
    bench.turn(minutes=10)
    bench.settle()
    held(bench, "archive")
    assert turns(bench, 1).state is DrillState.PASSED  # it was made anew
    assert ill(bench) == set()
    with bench.archive.ledger.read() as tx:
        assert describe.datasets(tx, bench.archive.settings, [dataset])[0]["problem"] is None


def test_recalls_are_shared_with_a_restore_and_what_lapses_is_asked_for_again(bench: Bench):
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    bench.turn(days=731)  # only deep is left
    for _ in range(4):
        bench.settle()
        bench.turn(hours=2)
    bench.settle()
    assert bench.read(dataset, "a.bin") is None
    asked = restore.request(bench.archive, "alice", "run1", None, 3, None)
    bench.settle()
    held(bench, "deep")
    assert turns(bench).state is DrillState.PASSED
    with bench.archive.ledger.read() as tx:
        assert tx.restore(asked.id).ready_at is not None
    assert events(bench, dataset).count("recall.asked") == 1
    bench.turn(days=2)
    bench.settle()  # that recall has lapsed
    held(bench, "deep")
    drill.run(bench.archive)
    bench.turn(minutes=2)
    bench.settle()
    bench.settle()
    bench.turn(days=2)  # and so has the next, before anybody read
    bench.settle()
    assert last(bench).state is DrillState.RUNNING
    assert turns(bench).state is DrillState.PASSED
    assert events(bench, dataset).count("recall.asked") == 3


def test_a_drill_that_is_cut_short_goes_on_and_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    bench.ingest("run1", FILES)
    bench.settle()
    held(bench, "archive")
    real, calls = Tier.put, []

    def put(tier: Tier, key: str, *rest: object, **more: object) -> str:
        made = real(tier, key, *rest, **more)
        calls.append(key)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return made

    with monkeypatch.context() as patch:
        patch.setattr(Tier, "put", put)
        with pytest.raises(KeyboardInterrupt):
            drill.run(bench.archive)
    assert scratch(bench) != []
    assert last(bench).state is DrillState.RUNNING
    assert turns(bench, 1).state is DrillState.PASSED
    assert scratch(bench) == []


def test_a_store_that_is_away_is_waited_for_but_not_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    bench.ingest("run1", FILES)
    bench.settle()
    held(bench, "archive")

    def parts(*_: object, **__: object):
        raise StoreUnavailable("The store of tier archive cannot be used: it is away.", "Wait.")

    monkeypatch.setattr(Tier, "parts", parts)
    for days in (0, 1):
        bench.turn(days=days)
        with pytest.raises(StoreUnavailable):
            drill.run(bench.archive)
        assert last(bench).state is DrillState.RUNNING
    bench.turn(hours=9)  # twice the promise of four hours, and a day
    drill.run(bench.archive)
    assert last(bench).state is DrillState.FAILED
    assert "could not be read in time" in (last(bench).error or "")
    assert ill(bench) == {"drills"}


def test_a_drill_from_deep_archive_takes_its_time(tmp_path: Path, moto_server: Glacier):
    moto_server.restores_take(2)
    home = tmp_path / "home"
    home.mkdir()
    file = tmp_path / "neve.toml"
    tiers = {"archive": {"storage_class": "GLACIER_IR"}, "deep": {"storage_class": "DEEP_ARCHIVE", "recall": "auto", "bundles": True}}
    file.write_text(settings_toml(home, moto_server, moto_server.buckets("hot", "archive", "deep"), **tiers), "utf-8")
    bench = Bench(tmp_path, file, datetime.now(UTC))
    dataset = bench.ingest("run1", FILES)
    bench.settle()
    held(bench, "deep")
    seen: list[DrillState] = []

    def over() -> bool:
        bench.now = datetime.now(UTC)
        drill.run(bench.archive)
        bench.settle()
        seen.append(last(bench).state)
        return last(bench).ended_at is not None

    wait_until(over, 60, "the drill")
    assert seen[0] is DrillState.RUNNING
    assert last(bench).state is DrillState.PASSED, last(bench).error
    assert (last(bench).seconds or 0) >= 2
    assert scratch(bench) == []
    assert events(bench, dataset).count("recall.readable") == 1
    bench.archive.ledger.dispose()


def test_nothing_to_drill_is_said(bench: Bench):
    nothing = CliRunner().invoke(cli, ["--config", str(bench.settings_file), "drills", "--now-run"])
    assert "There is no dataset to drill" in str(nothing.exception)
    drill.run(bench.archive)
    with bench.archive.ledger.read() as tx:
        assert tx.drills(1) == []


def test_the_api_lists_them_and_names_datasets_to_those_who_may_see_them(bench: Bench):
    hub = TokenTable()
    hub.add("bob", "ice-cores")
    hub.add("root", scopes=[*ALL, auth.ADMIN])
    made = [bench.ingest("run1", {"x": b"x"}), bench.ingest("core1", {"x": b"x"}, "ice-cores", "weather")]
    with bench.archive.ledger.begin() as tx:
        for dataset in made:
            planned = tx.plan_drill(dataset, "archive", "a test's")
            tx.change("drill", planned, DrillState.RUNNING)
            tx.change("drill", tx.drill(planned.id), DrillState.FAILED, ended_at=tx.at, error=f"{dataset.name} differs")
    site = create_site(bench.archive, hub)
    with asyncio.Runner() as runner:
        root, bob, nobody = (Browser(site, runner, token) for token in ("token-of-root", "token-of-bob", None))
        shown = [(d["dataset"], d["error"]) for d in root.json("drills")["items"]]
        assert shown == [("weather/core1", "core1 differs"), ("saxs/run1", "run1 differs")]
        shown = [(d["dataset"], d["state"], d["error"]) for d in bob.json("drills", limit=200)["items"]]
        assert shown == [("weather/core1", "failed", None), (None, "failed", None)]
        assert bob.get("api/v1/drills?limit=0").status_code == 422
        assert nobody.get("api/v1/drills").status_code == 401
        for browser in (root, bob, nobody):
            runner.run(browser.http.aclose())
