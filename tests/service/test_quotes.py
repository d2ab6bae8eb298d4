"""Quotes: what a restore would mean, from what lies where; unknown is unknown, and what has grown since is not taken up unseen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fixtures.archive import Bench, settings_toml
from typer.testing import CliRunner

from archiver import quotes, restore
from archiver.cli import cli
from archiver.errors import NotFound, QuoteChanged, QuoteExpired
from archiver.model import RestoreState

SMALL = {f"part/{n}.csv": b"x" * (100 * n) for n in range(1, 7)}
LARGE = {"large.h5": b"L" * 1_200_000}
SIZE = sum(map(len, (SMALL | LARGE).values()))


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory, store: Any) -> Iterator[Bench]:
    """Three datasets that lie in deep only, small files in a bundle; deep is always recalled."""
    folder = tmp_path_factory.mktemp("quotes")
    (folder / "home").mkdir()
    deep = {"bundles": True, "recall": "always", "recall_wait": "PT2H"}
    text = settings_toml(folder / "home", store, store.buckets("hot", "archive", "deep"), archive={"bundles": True}, deep=deep)
    (folder / "neve.toml").write_text(text, "utf-8")
    bench = Bench(folder, folder / "neve.toml")
    bench.ingest("run1", SMALL | LARGE)
    bench.ingest("run2", SMALL)
    bench.ingest("run3", SMALL | LARGE)
    bench.settle()
    for days in (61, 700):
        bench.turn(days=days)
        bench.settle()
        bench.turn(hours=2)
        bench.settle()
    yield bench
    bench.give_back()


def priced(bench: Bench, **prices: float) -> Any:
    """The archive with these prices in deep, and hot's storage known."""
    tiers = dict(bench.archive.settings.tiers)
    tiers["deep"] = tiers["deep"].model_copy(update={"storage_class": "DEEP_ARCHIVE", "prices": tiers["deep"].prices.model_copy(update=prices)})
    known = {"storage_gb_month": 1.0, "write_per_1000": 1.0, "read_per_1000": 1.0, "retrieval_gb": 0.0, "transfer_out_gb": 0.0}
    tiers["hot"] = tiers["hot"].model_copy(update={"prices": tiers["hot"].prices.model_copy(update=known)})
    return replace(bench.archive, settings=bench.archive.settings.model_copy(update={"tiers": tiers}))


def bundle_size(bench: Bench, name: str) -> int:
    with bench.archive.ledger.read() as tx:
        return next(o.size_bytes for o in tx.objects(tx.find_dataset(name).id) if o.kind == "bundle")


def test_whole_bundles_are_recalled_and_an_unknown_price_is_not_zero(cold: Bench):
    said = quotes.quote(cold.archive, "alice", ["run1"], "part/[12].csv", 3, ["snow"])
    answer = said.answer
    assert (answer["files"], answer["size_bytes"], answer["hot_bytes"], answer["absent_bytes"]) == (2, 300, 0, 300)
    assert (answer["recall_objects"], answer["recall_bytes"]) == (1, bundle_size(cold, "run1"))
    assert answer["from_tiers"] == {"deep": 300}
    assert answer["cost"]["amount"] is None
    assert "unknown" in answer["cost"]["text"]
    assert answer["ready"] == {"at_least_s": 0, "at_most_s": 3 * 86_400, "learned": False, "observations": 0, "promised_within_s": 3 * 86_400}
    assert said.expires_at == cold.now + timedelta(hours=1)

    archive = priced(cold, recall_per_1000=100.0, retrieval_gb=10.0, read_per_1000=1.0, transfer_out_gb=0.0)
    cost = quotes.quote(archive, "alice", ["run1"], "part/[12].csv", 3, ["snow"]).answer["cost"]
    assert cost["unknown"] == []
    assert cost["amount"] > 0.1  # one recall, at least


def test_what_is_being_recalled_already_is_joined_not_paid_twice(cold: Bench):
    asked = restore.request(cold.archive, "bob", "run2", "part/1.csv", 1, ["snow"])
    cold.settle()
    again = quotes.quote(cold.archive, "alice", ["run2"], "part/2.csv", 1, ["snow"]).answer
    assert (again["recall_objects"], again["recall_bytes"], again["absent_bytes"]) == (0, 0, 200)
    cold.turn(hours=3)
    cold.settle()
    with cold.archive.ledger.read() as tx:
        assert tx.restore(asked.id).state is RestoreState.READY
    hot = quotes.quote(cold.archive, "alice", ["run2"], "part/1.csv", 1, ["snow"]).answer
    assert (hot["hot_bytes"], hot["absent_bytes"], hot["ready"]["at_most_s"]) == (100, 0, 0)
    restore.cancel(cold.archive, "bob", asked.id, ["snow"], admin=False)
    cold.settle()


def test_a_quote_that_would_mean_more_by_now_is_refused_with_the_new_figures(cold: Bench):
    asked = restore.request(cold.archive, "bob", "run1", "part/6.csv", 1, ["snow"])
    cold.settle()
    cold.turn(hours=3)
    cold.settle()
    said = quotes.quote(cold.archive, "alice", ["run1"], "part/6.csv", 1, ["snow"])
    assert said.answer["absent_bytes"] == 0
    restore.cancel(cold.archive, "bob", asked.id, ["snow"], admin=False)
    cold.settle()
    with cold.archive.ledger.read() as tx:
        before = tx.states()
    with pytest.raises(QuoteChanged, match="absent_bytes 600 instead of 0") as error:
        quotes.take_up(cold.archive, "alice", said.id, ["snow"])
    assert error.value.extra["now"]["absent_bytes"] == 600
    with pytest.raises(NotFound):
        quotes.take_up(cold.archive, "bob", said.id, ["snow"])  # another's
    with pytest.raises(NotFound):
        quotes.take_up(cold.archive, "alice", said.id, ["ice-cores"])  # no longer of the project
    with cold.archive.ledger.read() as tx:
        assert tx.states() == before
    cold.turn(hours=2)
    with pytest.raises(QuoteExpired):
        quotes.take_up(cold.archive, "alice", said.id, ["snow"])


def run(bench: Bench, *words: str) -> Any:
    return CliRunner().invoke(cli, ["--config", str(bench.settings_file), *words])


def test_by_command_line(cold: Bench):
    done = run(cold, "restore", "run3", "--quote")
    assert done.exit_code == 0, done.output
    assert f"{len(SMALL | LARGE)} file(s), {SIZE:,} bytes, of which 0 are in hot" in done.stdout
    assert "to recall: 2 object(s)" in done.stdout
    assert "room in hot: as much as needed" in done.stdout
    assert "quota of the user admin: 5,000,000,000,000 of 5,000,000,000,000 bytes are left\n" in done.stdout
    assert "quota of the project snow: " in done.stdout
    assert "Nobody has to approve it." in done.stdout
    said = json.loads(run(cold, "restore", "run3", "--quote", "--json").stdout)
    assert said["absent_bytes"] == SIZE
    made = json.loads(run(cold, "restore", "run3", "--days", "2", "--priority", "7", "--json").stdout)
    assert (made["state"], made["priority"], made["from_tier"]) == ("requested", 7, "deep")
    number = str(made["id"])
    assert json.loads(run(cold, "restores", "extend", number, "--days", "3", "--json").stdout)["keep_days"] == 5
    assert run(cold, "restores", "approve", number).exit_code == 1
    assert run(cold, "restores", "deny", number, "--reason", "no").exit_code == 1
    assert run(cold, "restores", "retry", number).exit_code == 1
    assert f"restore {number} of saxs/run3 by admin is cancelled" in run(cold, "restores", "cancel", number).stdout
    assert f"restore {number} of saxs/run3" in run(cold, "restores", "list").stdout

    assert run(cold, "quota", "set", "user", "alice", "2.5TB").exit_code == 0
    assert run(cold, "quota", "set", "project", "snow", "none").exit_code == 0
    assert json.loads(run(cold, "quota", "list", "--json").stdout)["own"] == [
        {"kind": "project", "name": "snow", "limit_bytes": None},
        {"kind": "user", "name": "alice", "limit_bytes": 2_500_000_000_000},
    ]
    assert run(cold, "quota", "set", "user", "alice", "default").exit_code == 0
    for wrong in (("user", "alice", "much"), ("user", "alice", "-1"), ("group", "x", "1GB"), ("project", "nobody", "1GB")):
        assert run(cold, "quota", "set", *wrong).exit_code in {1, 2}, wrong
    assert "project snow: no limit" in run(cold, "quota", "list").stdout
