"""Plans and simulations: what is said is what is done, in objects and bytes, and saying it changes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from fixtures.archive import Bench
from fixtures.command import archiver

from archiver import app, hold, plan, restore, simulation
from archiver.commands.release import let_go
from archiver.config import load
from archiver.errors import WrongSetting
from archiver.model import ObjectKind

SMALL = {f"part/{n}.csv": b"%d\n" % n * (n + 1) for n in range(5)}
LARGE = {"large.h5": b"L" * 1_200_000}
PRICES = {
    "storage_gb_month": 1000.0,
    "write_per_1000": 1.0,
    "read_per_1000": 1.0,
    "recall_per_1000": 1.0,
    "retrieval_gb": 0.0,
    "transfer_out_gb": 0.0,
}


def run(bench: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    return archiver("--config", bench.settings_file, *words)


@pytest.fixture(params=["files", "bundles"])
def shaped(request: pytest.FixtureRequest, bench_on: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Once with each file by itself and the ledger on SQLite, once with bundles and on PostgreSQL."""
    bundles = request.param == "bundles"
    if bundles:
        monkeypatch.setenv("NEVE_LEDGER__URL", request.getfixturevalue("postgres").ledger())
    made = bench_on(archive={"bundles": bundles}, deep={"bundles": bundles})
    yield made
    made.give_back()


def live(bench: Bench) -> dict[int, tuple[str, int]]:
    """Every live copy: its tier and bytes, by number."""
    found = {}
    with bench.archive.ledger.read() as tx:
        for dataset in tx.datasets_after(0, 1000, None):
            sizes = {o.id: o.size_bytes for o in tx.objects(dataset.id)}
            found.update({c.id: (c.tier, sizes[c.object_id]) for c in tx.copies(dataset.id)})
    return found


def sums(copies: Any) -> dict[str, tuple[int, int]]:
    """(objects, bytes) by tier of (tier, bytes) pairs."""
    found: dict[str, tuple[int, int]] = {}
    for tier, size in copies:
        objects, total = found.get(tier, (0, 0))
        found[tier] = (objects + 1, total + size)
    return found


def planned(found: plan.Plan) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    """What a plan makes and drops: (objects, bytes) by tier."""
    document = found.as_json()
    made: dict[str, tuple[int, int]] = {}
    for one in document["copies"]:
        objects, size = made.get(one["tier"], (0, 0))
        made[one["tier"]] = (objects + one["objects"], size + one["size_bytes"])
    return made, {one["tier"]: (one["objects"], one["size_bytes"]) for one in document["drops"]}


def as_planned(bench: Bench, settle: Callable[[], None] | None = None, until: timedelta = timedelta(0)) -> plan.Plan:
    """Plan, run, and see that the run did exactly that; returns the plan."""
    before = live(bench)
    ledger = bench.archive.ledger
    with ledger.read() as tx:
        was = tx.states()
    found = plan.plan(bench.archive, until=bench.now + until)
    with ledger.read() as tx:
        assert tx.states() == was  # planning changed nothing
    (settle or bench.settle)()
    after = live(bench)
    done = (
        sums(after[i] for i in after.keys() - before.keys()),
        sums(before[i] for i in before.keys() - after.keys()),
    )
    assert done == planned(found)
    held = found.as_json()["storage"]
    assert {h["tier"]: (h["objects"], h["size_bytes"]) for h in held["after"]["tiers"] if h["objects"]} == sums(after.values())
    assert {h["tier"]: (h["objects"], h["size_bytes"]) for h in held["before"]["tiers"] if h["objects"]} == sums(before.values())
    return found


def test_the_run_does_exactly_what_was_planned_through_a_datasets_life(shaped: Bench):
    shaped.ingest("run1", SMALL | LARGE)
    shaped.ingest("run2", SMALL, project="ice-cores")
    fresh = as_planned(shaped)
    assert {(c["project"], c["tier"]) for c in fresh.as_json()["copies"]} == {(p, t) for p in ("snow", "ice-cores") for t in ("archive", "deep")}
    assert planned(fresh)[1]["hot"][0] == 2  # the manifests, which stand in the other tiers
    assert planned(as_planned(shaped)) == ({}, {})  # nothing is left to do

    shaped.turn(days=50)
    hold.request(shaped.archive, "alice", "run1", shaped.now + timedelta(days=40), "for the paper", "large.h5", None)
    shaped.turn(days=10)
    day60 = as_planned(shaped)
    assert planned(day60) == ({}, {})
    waits = day60.as_json()["waits"]
    assert [(w["why"], w["tier"], w["objects"]) for w in waits] == [("grace", "hot", 10)]
    shaped.turn(hours=1)
    assert planned(as_planned(shaped))[1]["hot"][0] == 10  # five of each; the held file stays

    shaped.turn(days=10)
    restore.request(shaped.archive, "alice", "run2", "part/[12].csv", 7, None)
    assert planned(as_planned(shaped))[0] == {"hot": (2, 4 + 6)}
    shaped.turn(days=8)
    assert [w["why"] for w in as_planned(shaped).as_json()["waits"]] in ([], ["grace"])
    shaped.turn(hours=1)
    as_planned(shaped)

    found = simulation.simulate(shaped.archive, {"tiers": {"archive": {"keep": "P30D"}}, "policy": {"copies_min_first": 1}})
    assert [d["tier"] for d in found["simulated"]["drops"]] == ["archive"]
    assert found["waits_for_release"]

    shaped.turn(days=800)
    as_planned(shaped)
    shaped.turn(hours=1)
    as_planned(shaped)
    assert set(sums(live(shaped).values())) - {"deep"} <= {"archive"}  # in archive only what is never dropped there
    with shaped.archive.ledger.read() as tx:
        for dataset in tx.datasets_after(0, 10, None):
            kinds = {o.id: o.kind for o in tx.objects(dataset.id)}
            assert {kinds[c.object_id] for c in tx.copies(dataset.id) if c.tier == "archive"} <= {ObjectKind.MANIFEST}


def test_what_claims_that_end_bring_within_some_days(bench: Bench):
    """Looking ahead 65 days from the first is what two months of work do."""
    bench.ingest("run1", SMALL | LARGE)
    bench.settle()
    bench.turn(days=2)

    def two_months() -> None:
        for _ in range(65):
            bench.turn(days=1)
            bench.settle()

    found = as_planned(bench, two_months, timedelta(days=65)).as_json()
    assert [(d["day"], d["tier"], d["objects"]) for d in found["drops_by_day"]] == [("2026-04-30", "hot", 6)]


def test_what_waits_is_not_counted_as_done(bench: Bench):
    bench.ingest("run1", SMALL)
    bench.settle()
    bench.turn(days=61)
    bench.settle()
    bench.turn(hours=1)
    for note in ("the ledger was rebuilt", None):
        with bench.archive.ledger.begin() as tx:
            if note:
                tx.set_note("hold-drops", note)
            else:
                tx.forget_note("hold-drops")
                tx.look_at_all()
        found = as_planned(bench).as_json()
        assert [(w["why"], w["detail"], w["objects"]) for w in found["waits"]] == ([("held", note, 5)] if note else [])
        assert [d["objects"] for d in found["drops"]] == ([] if note else [5])


def test_more_than_the_caps_allow_waits(bench: Bench):
    bench.ingest("run1", SMALL)
    bench.settle()
    bench.turn(days=61)
    bench.settle()
    bench.turn(hours=1)
    policy = bench.archive.settings.policy.model_copy(update={"drops_per_day": 2})
    found = plan.plan(bench.archive, settings=bench.archive.settings.model_copy(update={"policy": policy})).as_json()
    assert [(w["why"], w["objects"]) for w in found["waits"]] == [("caps", 3)]


def test_costs_are_said_and_unknown_ones_named(bench_on: Callable[..., Bench]):
    bench = bench_on()
    try:
        text = bench.settings_file.read_text("utf-8")
        table = ", ".join(f"{name} = {value}" for name, value in PRICES.items())
        for tier in ("hot", "archive"):
            text = text.replace(f"[tiers.{tier}]\n", f"[tiers.{tier}]\nprices = {{ {table} }}\n")
        bench.settings_file.write_text(text, "utf-8")
        bench = Bench(bench.folder, bench.settings_file)
        bench.ingest("run1", LARGE)
        found = plan.plan(bench.archive).as_json()
        archive, deep = found["copies"]
        assert archive["cost"]["amount"] == pytest.approx(2 * (0.001 + 0.001))  # two objects: one COPY and one GET each
        assert deep["cost"]["amount"] is None
        assert "tiers.deep.prices.write_per_1000" in found["cost_now"]["unknown"]
        assert found["storage"]["before"]["month"]["amount"] == pytest.approx(sum(s for _, s in live(bench).values()) * 1e-6)
        assert found["storage"]["after"]["year"]["amount"] is None
        assert found["storage"]["after"]["year"]["unknown"] == ["tiers.deep.prices.storage_gb_month"]
        assert found["storage"]["after"]["year"]["at_least"] == pytest.approx(12 * found["storage"]["after"]["month"]["at_least"], rel=1e-4)
        text = run(bench, "tier", "--dry-run", "--now", "2026-03-02").stdout
        assert "unknown without tiers.deep.prices.read_per_1000" in text
        assert "projects touched: snow" in text
    finally:
        bench.give_back()


def test_another_policy_is_compared_and_nothing_is_changed(bench: Bench):
    bench.ingest("old", {"a.bin": b"x" * 1000})
    bench.settle()
    bench.turn(days=30)
    bench.ingest("young", {"a.bin": b"y" * 1000})
    bench.settle()
    before, kept = live(bench), bench.archive.settings
    found = simulation.simulate(bench.archive, {"tiers": {"hot": {"keep": "P20D"}}})
    assert live(bench) == before
    assert bench.archive.settings is kept
    assert found["present"]["drops"] == []
    assert [(d["tier"], d["objects"]) for d in found["simulated"]["drops"]] == [("hot", 1)]
    sooner = found["leave_hot_sooner"]
    assert [(i["dataset"], i["leaves_hot_at"][:10], i["instead_of"][:10]) for i in sooner["items"]] == [
        ("saxs/old", "2026-03-31", "2026-04-30"),
        ("saxs/young", "2026-04-20", "2026-05-30"),
    ]
    assert [(d["day"], d["datasets"]) for d in sooner["by_day"]] == [("2026-03-31", 1), ("2026-04-20", 1)]
    assert found["difference"]["tiers"][0] == {"tier": "hot", "objects": -1, "size_bytes": -1000}
    assert (found["waits_for_release"], found["ends_sooner_percent"]) == (True, 100)
    longer = simulation.simulate(bench.archive, {"tiers": {"hot": {"keep": "P90D"}}})
    assert (longer["leave_hot_sooner"]["datasets"], longer["leave_hot_later"]["datasets"], longer["waits_for_release"]) == (0, 2, False)


def test_a_simulated_change_is_what_then_happens(bench: Bench):
    """The hold is released, as the simulation says it must be; then what it counted goes."""
    bench.ingest("old", {"a.bin": b"x" * 1000, "b.bin": b"z" * 500})
    bench.settle()
    bench.turn(days=30)
    said = simulation.simulate(bench.archive, {"tiers": {"hot": {"keep": "P20D"}}})["simulated"]["drops"]
    before = live(bench)
    bench.settings_file.write_text(bench.settings_file.read_text("utf-8").replace('keep = "P60D"', 'keep = "P20D"'), "utf-8")
    bench.archive = app.open_archive(load(bench.settings_file), lambda: bench.now)
    bench.settle()
    let_go(bench.archive, "root")
    bench.settle()
    assert live(bench) == before  # the stub is laid, its grace runs
    bench.turn(hours=1)
    bench.settle()
    gone = sums(before[i] for i in before.keys() - live(bench).keys())
    assert gone == {d["tier"]: (d["objects"], d["size_bytes"]) for d in said} == {"hot": (2, 1500)}


def test_simulate_by_command_line(bench: Bench, tmp_path):
    bench.ingest("run1", SMALL)
    bench.settle()
    file = tmp_path / "policy.toml"
    file.write_text('[tiers.hot]\nkeep = "P6D"\n[policy]\nsettle = "P1D"\n', "utf-8")
    answer = run(bench, "simulate", str(file), "--now", "2026-03-20")
    assert answer.returncode == 0, answer.stderr
    assert "1 dataset(s), " in answer.stdout
    assert "saxs/run1 on 2026-03-20 instead of 2026-04-30" in answer.stdout
    assert "that waits for `archiver release`" in answer.stdout
    file.write_text('[tiers.hot]\nkep = "P6D"\n', "utf-8")
    wrong = run(bench, "simulate", str(file))
    assert wrong.returncode == 2
    assert "tiers.hot.kep: is not a setting" in wrong.stderr


@pytest.fixture
def root(site):
    return site.as_("root")


def test_the_plan_by_api_is_for_admins(site, root):
    assert site.as_("alice").get("api/v1/plan").status_code == 403
    assert site.as_("alice").post("api/v1/simulations", json={}).status_code == 403
    found = root.json("plan", days=90)
    assert [d["tier"] for d in found["drops"]] == ["hot"]  # what is 30 days old now leaves within 90
    assert found["until"] > found["at"]
    assert found["storage"]["after"]["month"]["amount"] is None
    assert root.get("api/v1/plan?days=-1").status_code == 422


@pytest.mark.parametrize(
    "how",
    [
        {"json": {"tiers": {"hot": {"keep": "P6D"}}, "policy": {"settle": "P1D"}}},
        {"content": '[tiers.hot]\nkeep = "P6D"\n[policy]\nsettle = "P1D"\n', "headers": {"Content-Type": "application/toml"}},
    ],
    ids=["json", "toml"],
)
def test_simulations_by_api(site, root, how):
    was = site.changes()
    answer = root.post("api/v1/simulations", **how)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["leave_hot_sooner"]["datasets"] > 0
    assert found["waits_for_release"]
    assert site.changes() == was


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tiers": {"hot": {"kep": "P6D"}}}, "tiers.hot.kep: is not a setting"),
        ({"tiers": {"archive": {"keep": "P10D"}}}, "asks for 2 copies in distinct places at age 60 days"),
        ({"hub": {"bind": "0.0.0.0"}}, "hub: it plays no part in a policy"),
        ({"policy": 3}, "policy: it is not a table"),
        ({"tiers": {"hot": {"keep": "soon"}}}, "tiers.hot.keep"),
        ({"rules": [{"keep": {"cellar": "P1D"}}]}, "names the tier 'cellar'"),
        ([1], "is not an object"),
    ],
)
def test_a_policy_with_errors_is_a_problem_and_changes_nothing(site, root, change, says):
    was = site.changes()
    answer = root.post("api/v1/simulations", json=change)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert problem["code"] == "wrong-policy"
    assert says in problem["detail"]
    assert problem["next_step"]
    assert site.changes() == was


def test_text_that_is_no_policy(root):
    for body, kind in ((b"[tiers", "application/toml"), (b"{", "application/json"), (b"\xff\xfe", "application/toml")):
        answer = root.post("api/v1/simulations", content=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (422, "wrong-policy")


def test_settings_that_lack_a_tier_with_copies_plan_nothing(bench: Bench):
    bench.ingest("run1", SMALL)
    bench.settle()
    settings = bench.archive.settings
    less = settings.model_copy(update={"tiers": {name: tier for name, tier in settings.tiers.items() if name != "deep"}})
    object.__setattr__(bench.archive, "settings", less)
    with pytest.raises(WrongSetting, match="lack"):
        plan.plan(bench.archive)
    object.__setattr__(bench.archive, "settings", settings)
