"""The admins' console as a browser without JavaScript meets it: what each page says, and who is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.site import words_of

from archiver.capacity import Capacity
from archiver.pages.console import shared
from archiver.sections import PriceSettings

PAGES = [path for _, path in shared.PAGES]


@pytest.fixture
def root(site):
    """An admin's browser; `root.page` is the overview."""
    return site.signed_in("root", "admin")


@pytest.mark.parametrize("path", PAGES)
def test_the_console_is_for_admins_in_their_language(site, root, path):
    stranger = site.client().get(f"admin{path}")
    assert (stranger.status_code, stranger.headers["Location"].partition("?")[0]) == (303, "/hub/api/oauth2/authorize")
    alice = site.signed_in("alice", f"admin{path}")
    assert alice.page.status_code == 403
    assert "The console is for admins. Ask an admin of the hub to do it for you." in words_of(alice.page)
    assert 'href="/services/archiver/admin"' not in alice.get("list").text
    assert 'href="/services/archiver/admin"' in root.get("list").text
    page = root.get(f"admin{path}")
    assert page.status_code == 200, page.text
    assert "style=" not in page.text, "the policy of contents forbids it"
    assert len(re.findall("<h1", page.text)) == 1
    french = root.get(f"admin{path}", headers={"Accept-Language": "fr"})
    assert '<html lang="fr">' in french.text
    for field in re.findall(r"<(?:input|select|textarea)(?![^>]*hidden)[^>]*>", page.text):
        assert "aria-label=" in field or re.search(r"<label[^>]*>[^<]*\s*" + re.escape(field), page.text), field


def test_the_overview_tells_capacity_cost_promises_and_health(site, root, monkeypatch):
    with site.bench.archive.ledger.read() as tx:
        held = {tier: (objects, size) for tier, objects, size in tx.totals()}
    for tier, (objects, size) in held.items():
        card = re.search(rf'<article class="card" id="tier-{tier}">(.*?)</article>', root.page.text, re.DOTALL)[1]
        said = " ".join(re.sub(r"<[^>]+>", " ", card).split())
        assert f"Objects {objects} Datasets read from here" in said
        assert f"Size {size / 1000:.1f} kB" in said
        assert f"A month costs unknown (the settings have no price for: {tier} storage_gb_month)" in said, "never nothing"
        assert '<path class="line" d="M0.0 ' in card
    shown = words_of(root.page)
    assert "A month of storage in all tiers costs: unknown" in shown
    for part in ("Ledger", "Worker", "Reaper", "Store of hot", "Store of deep", "Hub", "Drills", "Clock", "Transfers", "Recurring work"):
        assert re.search(rf"{part} (well|ill) ", shown), part
    for page in ("transfers", "reception"):
        assert f'<strong><a href="/services/archiver/admin/{page}">' in root.page.text, "what can be done about it"
    assert "deep 3 days 0 0 – –" in shown, "promises"
    deep = site.bench.archive.settings.tiers["deep"]
    monkeypatch.setitem(deep.__dict__, "prices", PriceSettings(storage_gb_month=1000))  # settings are frozen
    priced = root.get("admin")
    cost = held["deep"][1] / 10**9 * 1000
    assert f"A month costs {cost:.2f} EUR" in words_of(priced)
    lacks = "archive storage_gb_month, hot storage_gb_month"
    assert f"A month of storage in all tiers costs: at least {cost:.2f} EUR (the settings have no price for: {lacks})" in words_of(priced)


def test_what_is_ill_says_why_to_admins(site, root, monkeypatch):
    monkeypatch.setitem(site.bench.archive.settings.policy.__dict__, "hot_capacity_bytes", 10)
    assert re.search(
        r"Room in hot ill Fast storage holds \d+ of 10 bytes\. Make room, or raise policy\.hot_capacity_bytes\.", words_of(root.get("admin"))
    )


def test_the_course_of_a_tier_is_what_it_held_on_each_day(site):
    bench = site.bench
    with bench.archive.ledger.read() as tx:
        course = Capacity().look(tx, bench.archive.settings)
        now, at = {tier: (n, size) for tier, n, size in tx.totals()}, tx.at
    assert {tier: (one.objects, one.size_bytes) for tier, one in course.now.items()} == now
    days = dict(course.days)
    assert max(days) == at.date() - timedelta(days=1)
    assert len(days) == (max(days) - min(days)).days + 1, "each day"
    before = days[datetime(2026, 2, 26, tzinfo=UTC).date()]
    assert before["hot"].objects >= 0
    first = min(days)
    assert all(one.objects >= 0 and one.size_bytes >= 0 for of in days.values() for one in of.values()), first
