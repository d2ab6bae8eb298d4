"""Settings that are refused, and a change of settings that waits for an admin (rules 7 and 8)."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from fixtures.archive import Bench

from archiver import app, changeover, config, guards, markers
from archiver.commands.release import let_go
from archiver.config import load
from archiver.doctor import examine
from archiver.errors import WrongSetting
from archiver.worker import Worker


def changed(bench: Bench, *edits: tuple[str, str]) -> None:
    """The same archive under a settings file in which each pattern is replaced: what an admin does with an editor and a restart."""
    text = bench.settings_file.read_text("utf-8")
    for pattern, by in edits:
        text, number = re.subn(pattern, by, text, flags=re.DOTALL)
        assert number == 1, pattern
    bench.settings_file.write_text(text, "utf-8")
    bench.archive = app.open_archive(load(bench.settings_file), lambda: bench.now)


def refused(bench: Bench, *says: str) -> None:
    """Each command that runs for long, and setup, stop with this sentence; doctor says it too."""
    for start in (
        lambda: app.work(bench.archive, once=True),
        lambda: app.reap(bench.archive, once=True),
        lambda: app.setup(bench.archive),
        lambda: app.serve(bench.archive),
    ):
        with pytest.raises(WrongSetting) as caught:
            start()
        for text in says:
            assert text in str(caught.value)
    assert any(says[0] in finding.detail for finding in examine(bench.archive) if not finding.ok)


def held(bench: Bench) -> str | None:
    with bench.archive.ledger.read() as tx:
        return guards.waits(tx, bench.archive.settings).get("*")


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret-of-the-service")


@pytest.mark.usefixtures("token")
def test_a_lost_tier_and_anothers_bucket_stop_every_start(bench: Bench):
    bench.ingest("run1", {"a.bin": b"abc"})
    bench.settle()
    markers.check_settings(bench.archive)
    whole = bench.settings_file.read_text("utf-8")
    changed(bench, (r"\[tiers\.archive\].*?(?=\[tiers\.deep\])", ""), (r"\[policy\]", "[policy]\ncopies_min_first = 1"))
    refused(bench, "The settings lack [tiers.archive], which still holds copies.", "Put [tiers.archive] back")
    bench.settings_file.write_text(whole, "utf-8")
    buckets = {name: tier.bucket for name, tier in load(bench.settings_file).tiers.items()}
    swap = {buckets["archive"]: buckets["deep"], buckets["deep"]: buckets["archive"]}
    bench.settings_file.write_text(re.sub("|".join(map(re.escape, swap)), lambda found: swap[found[0]], whole), "utf-8")
    changed(bench)
    refused(bench, f"The bucket {buckets['deep']} of tier archive carries the marker of tier 'deep'.", "Mend tiers.archive.bucket")
    bench.settings_file.write_text(whole, "utf-8")
    changed(bench)


def test_no_marker_is_written_for_a_tier_whose_copies_lie_elsewhere(bench: Bench):
    bench.ingest("run1", {"a.bin": b"abc"})
    bench.settle()
    deep = bench.admin["deep"]
    deep.delete_all_versions(markers.MARKER_KEY)
    with pytest.raises(WrongSetting, match="though the ledger knows copies in this tier"):
        app.setup(bench.archive)
    assert deep.head(markers.MARKER_KEY) is None
    deep.put_text(markers.MARKER_KEY, "deep")
    assert app.setup(bench.archive) == []


def test_two_tiers_on_one_bucket_are_refused(bench: Bench):
    bucket = bench.archive.tiers["hot"].bucket
    with pytest.raises(WrongSetting, match=f"tiers.hot and tiers.archive share the bucket {bucket}"):
        changed(bench, (f'bucket = "{bench.archive.tiers["archive"].bucket}"', f'bucket = "{bucket}"'))


def test_sixty_to_six_days_drops_nothing_before_an_admin_says_so(bench: Bench):
    old = bench.ingest("old", {"a.bin": b"x" * 1000})
    bench.settle()
    bench.turn(days=30)
    young = bench.ingest("young", {"a.bin": b"y" * 1000})
    bench.settle()
    changed(bench, (r'keep = "P60D"', 'keep = "P6D"'), (r'settle = "P7D"', 'settle = "P1D"'))
    for _ in range(3):
        bench.settle()
        bench.turn(hours=2)
    assert bench.tiers(old) == {"hot", "archive", "deep"}
    with bench.archive.ledger.read() as tx:
        assert tx.dataset(old.id).stub_at is None  # what has not left does not say that it has
        assert tx.drops(old.id) == []
    assert re.search(r"claims on 100 % of the data end sooner .*policy\.early_end_percent is 5.*`archiver release` lets drops go on", held(bench))
    again = held(bench)
    bench.settle()  # a restart changes nothing
    assert held(bench) == again
    let_go(bench.archive, "root")
    assert held(bench) is None
    bench.settle()
    bench.turn(hours=1)
    bench.settle()
    assert bench.tiers(old) == {"archive", "deep"}
    assert bench.tiers(young) == {"hot", "archive", "deep"}


def test_what_keeps_longer_or_ends_little_never_waits(bench: Bench):
    bench.ingest("large", {"a.bin": b"x" * 100_000})
    bench.ingest("small", {"a.bin": b"y" * 1000}, project="ice-cores")
    bench.settle()
    changed(bench, (r'keep = "P60D"', 'keep = "P90D"'))
    Worker(bench.archive).settle()
    assert held(bench) is None
    bench.settings_file.write_text(bench.settings_file.read_text("utf-8") + '[[rules]]\nproject = "ice-*"\nkeep = { hot = "P6D" }\n', "utf-8")
    changed(bench)
    with bench.archive.ledger.read() as tx:
        before = app.open_archive(load(bench.settings_file)).settings.model_copy(update={"rules": []})
        assert 0 < changeover.ended_sooner_percent(tx, before, bench.archive.settings, bench.now) < 5
    Worker(bench.archive).settle()
    assert held(bench) is None
    with bench.archive.ledger.read() as tx:
        assert not changeover.differs(tx, bench.archive.settings)


def test_rules_and_age_of_claims_count_but_what_has_ended_does_not(bench: Bench):
    bench.ingest("run1", {"a.bin": b"x" * 1000})
    settings = bench.archive.settings

    def percent(days_old: int, **tables) -> float:
        with bench.archive.ledger.read() as tx:
            return changeover.ended_sooner_percent(tx, settings, config.changed(settings, tables, "a test"), bench.now + timedelta(days=days_old))

    assert percent(1, tiers={"hot": {"keep": "P30D"}}) == 100
    assert percent(61, tiers={"hot": {"keep": "P30D"}}) == 0  # left hot under both
    assert percent(1, rules=[{"project": "snow", "keep": {"archive": "P100D"}, "copies_min_first": 1}]) == 100
    assert percent(1, rules=[{"project": "ice-*", "keep": {"archive": "P100D"}, "copies_min_first": 1}]) == 0
    assert percent(1, tiers={"hot": {"keep": "P90D"}}) == 0
    assert percent(800, tiers={"deep": {"keep": "P7300D"}, "archive": {"keep": None}}) == 100  # for ever no more


def test_settings_of_before_that_cannot_be_read_wait_for_an_admin(bench: Bench):
    bench.ingest("run1", {"a.bin": b"x"})
    with bench.archive.ledger.begin() as tx:
        tx.set_note(changeover.NOTE, '{"tiers": {"hot": {"gone": 1}}}')
    Worker(bench.archive).settle()
    assert "cannot be compared" in (held(bench) or "")


def test_a_policy_that_cannot_hold_stops_the_start_with_the_sentence_that_mends_it(bench: Bench, tmp_path: Path):
    whole = bench.settings_file.read_text("utf-8")
    for pattern, by, says in (
        (r'keep = "P730D"', 'keep = "P50D"', "asks for 2 copies in distinct places at age 60 days"),
        (r'settle = "P7D"', 'setle = "P7D"', "policy.setle: is not a setting"),
        (r'place = "deep"', 'place = "archive"', "lower copies_min, keep longer, or name another place"),
    ):
        file = tmp_path / "wrong.toml"
        file.write_text(re.sub(pattern, by, whole), "utf-8")
        with pytest.raises(WrongSetting) as caught:
            load(file)
        assert says in str(caught.value)
