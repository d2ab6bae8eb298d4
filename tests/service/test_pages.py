"""The pages, as a browser without JavaScript meets them: signing in, forms, searching, hostile names."""

from __future__ import annotations

import hashlib
import html
import io
import re
import shutil
import subprocess
import zipfile
from html.parser import HTMLParser
from urllib.parse import unquote

import httpx
import pytest
from fixtures.requirements import missing
from fixtures.site import ALL, HOSTILE, HOSTILE_FILE

from archiver import auth, quotes, restore
from archiver.model import RestoreState, TransferState
from archiver.pages.sessions import COOKIE


class Elements(HTMLParser):
    """All elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def alice(site):
    """alice's browser, signed in; `alice.page` is the first page."""
    return _signed_in(site, "alice")


def _signed_in(site, name: str, path: str = "list"):
    site.hub.codes[f"code-of-{name}"] = f"token-of-{name}"
    browser = site.client()
    browser.page = browser.sign_in(f"code-of-{name}", path)
    return browser


# Signing in and out


def test_a_stranger_is_sent_to_the_hub_and_back_to_the_page(site):
    browser = _signed_in(site, "alice", "list?q=run-3")
    assert browser.page.status_code == 200
    assert "run-3" in browser.page.text
    assert "run-4" not in browser.page.text


def test_the_token_stays_on_the_server(site):
    site.hub.codes["code-of-alice"] = "token-of-alice"
    browser = site.client()
    away = browser.get("list")
    cookie = away.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=lax", "Path=/services/archiver/", "Max-Age=600"))
    state = re.search(r"state=([\w-]+)", away.headers["Location"])[1]
    back = browser.get("oauth_callback", params={"code": "code-of-alice", "state": state}, headers={"X-Forwarded-Proto": "https"})
    cookies = back.headers.get_list("set-cookie")
    session = next(c for c in cookies if c.startswith(f"{COOKIE}="))
    assert all(part in session for part in ("HttpOnly", "SameSite=lax", "Path=/services/archiver/", "Secure"))
    assert not any("token-of-alice" in c for c in cookies)


@pytest.mark.parametrize("query", ["", "?code=code-of-alice", "?code=code-of-alice&state=made-up", "?state=&code=x", "?error=access_denied"])
def test_a_sign_in_that_was_not_begun_here_is_refused(site, query):
    site.hub.codes["code-of-alice"] = "token-of-alice"
    browser = site.client()
    browser.get("list")
    answer = browser.get(f"oauth_callback{query}")
    assert answer.status_code == 401
    assert COOKIE not in browser.http.cookies
    assert "code-of-alice" in site.hub.codes


def test_a_state_works_once(site):
    site.hub.codes["code-of-alice"] = "token-of-alice"
    browser = site.client()
    state = re.search(r"state=([\w-]+)", browser.get("list").headers["Location"])[1]
    assert browser.get("oauth_callback", params={"code": "code-of-alice", "state": state}).status_code == 303
    assert browser.get("oauth_callback", params={"code": "code-of-alice", "state": state}).status_code == 401


def test_signing_in_leads_to_our_pages_only(site):
    from archiver.pages.sessions import Sessions

    sessions = Sessions(site.hub, "/services/archiver/", 60)
    for path in (
        "https://evil.example",
        "//evil.example",
        "/hub/home",
        "/services/archiver/\\evil",
        "/services/archiver/\r\nX: y",
        "javascript:1",
        "",
    ):
        assert sessions.own_path(path) == "/services/archiver/"
    assert sessions.own_path("/services/archiver/?q=a") == "/services/archiver/?q=a"
    assert Sessions(site.hub, "/", 60).own_path("//evil.example") == "/"


def test_signing_out_ends_the_session(site, alice):
    answer = alice.form(alice.page, "/sign-out")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/hub/logout")
    assert alice.get("list").status_code == 303


def test_a_token_that_the_hub_forgot_ends_the_session(site):
    site.hub.add("frank", "snow")
    browser = _signed_in(site, "frank")
    assert browser.page.status_code == 200
    site.hub.models.pop("token-of-frank")
    assert browser.get("list").status_code == 303
    site.hub.add("frank", "snow")
    assert browser.get("list").status_code == 303, "the session is gone, not only the token"


def test_sessions_end_by_themselves(site, alice, monkeypatch):
    import time

    now = time.monotonic()
    monkeypatch.setattr("archiver.pages.sessions.time.monotonic", lambda: now + 12 * 3600 + 1)
    assert alice.get("list").status_code == 303


def test_without_the_read_scope_there_is_a_sentence_and_a_way_out(site):
    browser = _signed_in(site, "scopeless")
    assert browser.page.status_code == 403
    assert "custom:archiver:read" in browser.page.text
    assert "/sign-out" in browser.page.text


# Forms


def test_a_quote_is_shown_before_anything_is_asked_for(site, alice):
    number = site.ids["saxs/run-0"]
    before = site.changes()
    quoted = alice.form(alice.page, f"/datasets/{number}/quote", days="3")
    assert quoted.status_code == 200
    shown = " ".join(re.sub(r"<[^>]+>", " ", quoted.text).split())
    for text in (
        "Data 3.0 kB in 2 files",
        "To bring back 3.0 kB from deep",
        "Recalled in fact 3.0 kB in 2 objects",
        "Ready within 3 days as promised",
        "Stays in hot 3 days from when it is back",
        "Cost unknown (",
        "Room in hot as much as needed",
        "Your quota 5.0 TB of 5.0 TB left",
        "Quota of snow",
        "Approval not needed",
        "good until 2026-03-01 15:",
    ):
        assert text in shown, shown
    assert site.changes() == before
    hot = alice.form(alice.get(f"datasets/{site.ids['saxs/run-5']}"), f"/datasets/{site.ids['saxs/run-5']}/quote", days="3")
    assert "all in hot already" in hot.text
    assert "Keep it in hot" in hot.text
    assert "To bring back" not in hot.text


def test_restore_and_cancel(site, alice):
    number = site.ids["saxs/run-2"]
    sent = alice.form(alice.form(alice.page, f"/datasets/{number}/quote", days="4"), "/restores")
    assert (sent.status_code, sent.headers["Location"]) == (303, f"/services/archiver/list#dataset-{number}")
    page = alice.get("list")
    assert "<progress" in page.text
    assert "live.js" in page.text
    with site.bench.archive.ledger.read() as tx:
        asked = tx.restores_of(number)[0]
    assert (asked.user, asked.keep_days) == ("alice", 4)
    other = _signed_in(site, "reader")
    assert "<progress" in other.page.text
    assert "/cancel" not in other.page.text
    cancelled = alice.form(alice.get(f"datasets/{number}"), f"/restores/{asked.id}/cancel")
    assert (cancelled.status_code, cancelled.headers["Location"]) == (303, f"/services/archiver/datasets/{number}#dataset-{number}")
    assert "<progress" not in alice.get("list").text
    assert "live.js" not in alice.get("list").text


@pytest.mark.parametrize(
    ("headers", "xsrf"),
    [
        ({}, ""),
        ({}, "wrong"),
        ({}, "é"),
        ({}, "of-another"),
        ({"Origin": "http://evil.example"}, "right"),
        ({"Origin": "null"}, "right"),
        ({"Origin": "http://neve.test:8443"}, "right"),
        ({"Sec-Fetch-Site": "cross-site"}, "right"),
        ({"Sec-Fetch-Site": "same-site"}, "right"),
    ],
)
def test_forged_forms_are_refused_and_change_nothing(site, alice, headers, xsrf):
    def token(page):
        return re.search(r'name="xsrf" value="([^"]+)"', page.text)[1]

    real = token(alice.page)
    value = {"right": real, "of-another": token(_signed_in(site, "bob").page)}.get(xsrf, xsrf)
    before = site.changes()
    for path, data in (
        (f"datasets/{site.ids['saxs/run-0']}/quote", {"days": "1"}),
        ("restores", {"quote": "x"}),
        ("restores/1/cancel", {}),
        ("restores/1/retry", {}),
        ("restores/1/approve", {}),
        ("restores/1/deny", {"reason": "x"}),
        ("sign-out", {}),
        ("me/notices", {}),
        ("holds/1/end", {}),
    ):
        answer = alice.post(path, data={**data, "xsrf": value}, headers=headers)
        assert answer.status_code == 403, path
        assert "text/html" in answer.headers["content-type"]
    assert site.changes() == before
    assert alice.get("list").status_code == 200


def test_a_post_without_a_session_goes_to_sign_in(site):
    before = site.changes()
    answer = site.client().post(f"datasets/{site.ids['saxs/run-0']}/quote", data={"days": "1", "xsrf": "x"})
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/hub/api/oauth2/authorize")
    assert site.changes() == before


@pytest.mark.parametrize("days", ["", "0", "91", "-3", "many", "1.5", "9" * 40])
def test_wrong_days_are_said(site, alice, days):
    before = site.changes()
    answer = alice.form(alice.page, f"/datasets/{site.ids['saxs/run-1']}/quote", days=days)
    assert answer.status_code == 422
    assert "days" in answer.text
    assert site.changes() == before


def test_forms_follow_projects_and_scopes(site, alice):
    xsrf = re.search(r'name="xsrf" value="([^"]+)"', alice.page.text)[1]
    before = site.changes()
    assert alice.post(f"datasets/{site.ids['weather/core-1']}/quote", data={"days": "1", "xsrf": xsrf}).status_code == 404
    said = quotes.quote(site.bench.archive, "bob", ["weather/core-1"], None, 1, ["ice-cores"])
    assert alice.post("restores", data={"quote": said.id, "xsrf": xsrf}).status_code == 404, "another's"
    reader = _signed_in(site, "reader")
    assert "/quote" not in reader.page.text
    xsrf = re.search(r'name="xsrf" value="([^"]+)"', reader.page.text)[1]
    assert reader.post(f"datasets/{site.ids['saxs/run-1']}/quote", data={"days": "1", "xsrf": xsrf}).status_code == 403
    assert reader.post("restores", data={"quote": said.id, "xsrf": xsrf}).status_code == 403
    assert site.changes() == before


def test_back_leads_to_our_pages_only(site, alice):
    xsrf = re.search(r'name="xsrf" value="([^"]+)"', alice.page.text)[1]
    number = site.ids["saxs/run-3"]
    said = quotes.quote(site.bench.archive, "alice", ["saxs/run-3"], None, 1, ["snow"])
    answer = alice.post("restores", data={"quote": said.id, "xsrf": xsrf, "back": "https://evil.example/"})
    assert answer.headers["Location"] == f"/services/archiver/#dataset-{number}"


@pytest.fixture
def waiting(site, alice, monkeypatch):
    """alice's restore of run-1, which an admin has to approve: (its number, the address of its dataset's page)."""
    monkeypatch.setitem(site.bench.archive.settings.policy.__dict__, "approval_above_bytes", 1000)  # settings are frozen
    page = f"datasets/{site.ids['saxs/run-1']}"
    quoted = alice.form(alice.get(page), f"/{page}/quote", days="2")
    assert "an admin has to say yes first" in quoted.text
    assert alice.form(quoted, "/restores").status_code == 303
    with site.bench.archive.ledger.read() as tx:
        asked = tx.restores(None, site.ids["saxs/run-1"], "alice", 1)[0]
    yield asked.id, page
    with site.bench.archive.ledger.read() as tx:
        decided = tx.restore(asked.id)
    if decided.ended_at is None:
        restore.cancel(site.bench.archive, "alice", asked.id, ["snow"], admin=False)


def test_what_waits_for_an_admin_says_so_and_an_admin_decides_on_the_page(site, alice, waiting):
    number, page = waiting
    shown = alice.get(page).text
    assert "waiting for an admin&#39;s approval" in shown
    assert "there by" not in shown
    assert "its time counts from the admin&#39;s yes" in shown
    assert "/approve" not in shown
    xsrf = re.search(r'name="xsrf" value="([^"]+)"', shown)[1]
    before = site.changes()
    for action, data in (("approve", {}), ("deny", {"reason": "x"})):
        assert alice.post(f"restores/{number}/{action}", data={"xsrf": xsrf, **data}).status_code == 403
    assert site.changes() == before
    assert "waits for an admin" not in alice.get("list").text

    root = _signed_in(site, "root")
    assert "1 restore waits for an admin" in root.page.text
    decide = root.get(page)
    assert "alice asks for 3.0 kB, 2 days" in decide.text
    assert root.form(decide, f"/restores/{number}/approve").status_code == 303
    assert "waits for an admin" not in root.get("").text
    assert "there by" in alice.get(page).text
    again = root.form(decide, f"/restores/{number}/deny", reason="too late")
    assert (again.status_code, "waits for nobody" in again.text) == (409, True)


def test_a_no_is_told_with_its_reason(site, alice, waiting):
    number, page = waiting
    root = _signed_in(site, "root", page)
    assert root.form(root.page, f"/restores/{number}/deny", reason=" ").status_code == 422
    assert root.form(root.page, f"/restores/{number}/deny", reason="ask for <b>less</b>").status_code == 303
    for shown in (alice.get(page).text, alice.get("me").text):
        assert "denied" in shown
        assert "ask for &lt;b&gt;less&lt;/b&gt;" in shown
    assert "denied" not in _signed_in(site, "reader", page).page.text.partition('id="history"')[0], "it was alice's"


def test_files_that_did_not_come_back_are_listed_and_tried_again(site, alice):
    number = site.ids["saxs/run-0"]
    page = f"datasets/{number}"
    asked = restore.request(site.bench.archive, "alice", "saxs/run-0", "*", 2, ["snow"])
    with site.bench.archive.ledger.begin() as tx:
        for state in (RestoreState.QUEUED, RestoreState.COPYING, RestoreState.PARTLY_READY):
            tx.change("restore", tx.restore(asked.id), state, **({"ready_at": tx.at, "expires_at": tx.at} if state == "partly_ready" else {}))
        file = next(f for f in tx.files(number) if f.path == "a.txt")
        sick = tx.plan_transfer(next(o for o in tx.objects(number) if o.id == file.object_id), "hot")
        tx.change("transfer", tx.transfer(sick), TransferState.FAILED)
        tx.change("transfer", tx.transfer(sick), TransferState.QUARANTINED, error="the tape is <torn>")
    shown = alice.get(page)
    assert "1 file could not be brought back" in shown.text
    assert '<code>a.txt</code>: <span lang="en">the tape is &lt;torn&gt;' in shown.text
    assert "/retry" not in _signed_in(site, "reader", page).page.text
    again = alice.form(shown, f"/restores/{asked.id}/retry")
    assert (again.status_code, again.headers["Location"]) == (303, f"/services/archiver/{page}#dataset-{number}")
    assert "could not be brought back" not in alice.get(page).text
    with site.bench.archive.ledger.read() as tx:
        assert tx.transfer(sick).state is TransferState.PLANNED
    assert alice.form(shown, f"/restores/{asked.id}/retry").status_code == 409
    restore.cancel(site.bench.archive, "alice", asked.id, ["snow"], admin=False)


def test_hold_and_end(site, alice):
    number = site.ids["saxs/run-4"]
    page = alice.get(f"datasets/{number}")
    sent = alice.form(page, f"/datasets/{number}/hold", until="2026-09-01", reason="for <b>É</b>")
    assert (sent.status_code, sent.headers["Location"]) == (303, f"/services/archiver/datasets/{number}#dataset-{number}")
    page = alice.get(f"datasets/{number}")
    assert "until 2026-09-01 23:59 UTC" in page.text
    assert "for &lt;b&gt;É&lt;/b&gt;" in page.text
    with site.bench.archive.ledger.read() as tx:
        held = tx.holds(None, number, None, None)[0]
    other = _signed_in(site, "reader", f"datasets/{number}")
    assert "until 2026-09-01 23:59 UTC" in other.page.text
    assert f"/holds/{held.id}/end" not in other.page.text
    assert f"/datasets/{number}/hold" not in other.page.text
    me = alice.get("me")
    assert "saxs/run-4" in me.text
    assert alice.form(me, f"/holds/{held.id}/end").status_code == 303
    assert "You hold nothing" in alice.get("me").text
    refused = alice.form(page, f"/datasets/{number}/hold", until="2020-01-01", reason="x")
    assert refused.status_code == 422
    assert "past" in refused.text


def test_my_addresses_and_messages(site, alice):
    saved = alice.form(alice.get("me"), "/me/notices", email="alice@example.org", wants="yes")
    assert (saved.status_code, saved.headers["Location"]) == (303, "/services/archiver/me")
    assert 'value="alice@example.org"' in alice.get("me").text
    assert alice.form(alice.get("me"), "/me/notices", email="alice@example.org\nBcc: eve@example.org", wants="yes").status_code == 422
    with site.bench.archive.ledger.begin() as tx:
        tx.add_notice("alice", "leaving-hot", "2026-03-01", "notebook", "<b>leaves</b>", {"text": "<script>alert(1)</script>"})
    assert "1 new message" in alice.get("list").text
    page = alice.get("me")
    assert "&lt;b&gt;leaves" in page.text
    assert "<script>alert" not in page.text
    assert "new message" not in _signed_in(site, "bob").page.text
    assert alice.form(page, "/me/seen").status_code == 303
    assert "new message" not in alice.get("list").text
    assert "&lt;b&gt;leaves" in alice.get("me").text


# What is shown


def test_only_ones_own_projects_are_shown(site, alice):
    for page in (alice.page, alice.get("list?q=core"), alice.get("list?project=ice-cores"), alice.get("list?tier=deep")):
        assert page.status_code == 200
        assert "ice-cores" not in page.text.replace('value="ice-cores"', "").replace("project=ice-cores", "")
    assert alice.get(f"datasets/{site.ids['weather/core-1']}").status_code == 404
    eve = _signed_in(site, "eve")
    assert "You are in no project yet" in eve.page.text
    assert "saxs" not in eve.page.text


def test_search_and_paging(site, monkeypatch):
    monkeypatch.setattr("archiver.pages.views._PAGE", 2)
    browser = _signed_in(site, "alice", "list?q=run&project=snow")
    names, page = [], browser.page
    while True:
        names += re.findall(r"</span>(run-\d)</a>", page.text)
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        if older is None:
            break
        page = browser.get(html.unescape(older[1]))
    assert names == ["run-5", "run-4", "run-3", "run-2", "run-1", "run-0"]
    assert 'value="run"' in page.text
    assert "First page" in page.text
    assert "Nothing fits" in browser.get("list?q=nowhere").text


def test_hostile_names_are_text(site, alice):
    number = site.ids[f"saxs/{HOSTILE}"]
    with site.bench.archive.ledger.begin() as tx:
        tx.update_dataset(number, title="</title><script>alert(2)</script>", metadata={"<b>": {"x": "</td><script>alert(3)</script>"}})
    for page in (
        alice.get("list"),
        alice.get(f"datasets/{number}"),
        alice.get("list", params={"q": '"><script>alert(4)</script>'}),
        alice.get("list", params={"project": '"><img src=x>'}),
        alice.get("%3Cscript%3Ealert(5)%3C/script%3E"),
    ):
        elements = Elements(page.text).found
        scripts = [attrs for tag, attrs in elements if tag == "script"]
        assert all(list(attrs) == ["type", "src"] and attrs["src"].endswith("/live.js") for attrs in scripts)
        images = [attrs["src"] for tag, attrs in elements if tag == "img"]
        assert [src.rpartition("/")[2] for src in images] == ["neve.svg"]
        assert not any(name.startswith("on") or name == "style" for _, attrs in elements for name in attrs)
    shown = html.unescape(alice.get(f"datasets/{number}").text)
    assert HOSTILE in shown
    assert HOSTILE_FILE in shown


def test_a_dataset_page_tells_copies_proofs_claims_and_history(site, alice):
    page = alice.get(f"datasets/{site.ids['saxs/run-5']}").text
    for text in (
        "/data/snow/saxs/2026/02/run-5",
        "SHA-256 of the bytes read back",
        "for ever",
        "its age",
        "dataset.closed",
        "Keep in hot",
        "deep/b.bin",
    ):
        assert text in page
    assert "In hot until 2026-04-29 12:00 UTC" in page


def test_what_is_still_being_written_is_said_with_its_time_and_size(site, alice):
    with site.bench.archive.ledger.begin("instrument/saxs") as tx:
        dataset = tx.open_dataset("snow", "saxs", "growing", "snow/saxs/2026/03/growing", None, "instrument/saxs")
        coming = {"coming_key": "x", "coming_mtime": tx.at}
        row = tx.add_snapshot(dataset.id, b"<b>scan.h5", b"<b>scan.snapshot.h5", f"{dataset.prefix}/<b>scan.snapshot.h5", **coming)
        tx.add_snapshot(dataset.id, b"log.csv", b"log.snapshot.csv", f"{dataset.prefix}/log.snapshot.csv", **{**coming, "coming_key": "y"})
        at = tx.at.replace(hour=12, minute=3)
        tx.update_snapshot(row, version_id="1", size_bytes=1_200_000_000, sha256="0" * 64, taken_at=at, proven_at=tx.at)
    page = html.unescape(alice.get(f"datasets/{dataset.id}").text)
    assert "Still being written" in page
    assert f"<code><b>scan.snapshot.h5</code>, as of {at:%Y-%m-%d} 12:03 UTC, 1.2 GB" in page
    assert "<b>" not in alice.get(f"datasets/{dataset.id}").text, "a name is no markup"
    assert "log.snapshot.csv" not in page, "nothing of it is proven yet"
    with site.bench.archive.ledger.begin() as tx:
        for one in tx.snapshots([dataset.id]):
            tx.forget_snapshot(one, "ended", "a test is over")
    assert "Still being written" not in alice.get(f"datasets/{dataset.id}").text


@pytest.mark.parametrize(
    "path", ["nothing", "datasets/999999", "datasets/x", "datasets/0", "list?cursor=rubbish", "?colour=blue", "list?tier=cold", "static/x"]
)
def test_errors_are_pages_with_a_sentence(site, alice, path):
    answer = alice.get(path)
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>" in answer.text
    assert "To the datasets" in answer.text


def test_a_dataset_is_found_by_its_name_and_an_unknown_one_by_the_nearest(site, alice):
    assert alice.get("datasets?name=saxs/run-3").headers["Location"] == f"/services/archiver/datasets/{site.ids['saxs/run-3']}"
    unknown = alice.get("datasets?name=saxs/run-33", headers=FRENCH)
    assert unknown.status_code == 404
    named = [unquote(one) for one in re.findall(r'href="/services/archiver/datasets\?name=([^"]+)"', unknown.text)]
    assert (len(named), named[0]) == (3, "saxs/run-3")
    assert "Peut-être cherchez-vous" in unknown.text
    several = alice.get("datasets?name=twin")
    assert (several.status_code, "weather/twin" in several.text) == (409, True)
    assert "core-1" not in alice.get("datasets?name=core-2").text


def test_a_fault_of_ours_is_a_page_too(site, alice, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("the secret reason")

    monkeypatch.setattr("archiver.describe.datasets", broken)
    answer = alice.get("list")
    assert answer.status_code == 500
    assert "secret reason" not in answer.text
    assert "the secret reason" in caplog.text


def test_headers_and_static_files(site, alice):
    assert "default-src 'self'" in alice.page.headers["content-security-policy"]
    assert alice.page.headers["x-frame-options"] == "DENY"
    assert alice.page.headers["cache-control"] == "no-store"
    for address in re.findall(r'(?:href|src)="(/services/archiver/static/[^"]+)"', alice.page.text):
        answer = alice.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert not re.search(r"https?://", re.sub(r'xmlns="[^"]*"', "", alice.page.text)), "everything comes from here"
    assert "<style" not in alice.page.text
    assert alice.get("static/base.html").status_code == 404


def test_every_field_has_a_label(site, alice):
    quoted = alice.form(alice.page, f"/datasets/{site.ids['saxs/run-0']}/quote", days="1")
    for page in (alice.page, alice.get(""), alice.get(f"datasets/{site.ids['saxs/run-0']}"), alice.get("me"), quoted):
        for field in re.findall(r"<(?:input|select)(?![^>]*hidden)[^>]*>", page.text):
            assert "aria-label=" in field or re.search(r"<label[^>]*>[^<]*\s*" + re.escape(field), page.text), field
        assert 'lang="en"' in page.text
        assert len(re.findall("<h1", page.text)) == 1


def test_an_admin_sees_all_and_is_called_so(site):
    site.hub.add("boss", scopes=ALL, admin=True)
    browser = _signed_in(site, "boss")
    assert "(admin)" in browser.page.text
    assert "ice-cores" in browser.page.text
    assert site.as_("boss").json("me")["projects"] == [], "a notebook's token of an admin is not an admin's"


def test_the_bare_prefix_leads_to_the_page(site):
    answer = site.client().get("/services/archiver")
    assert answer.status_code == 307
    assert answer.headers["Location"].endswith("/services/archiver/")


def test_the_first_page_is_browse_and_old_addresses_go_on(site):
    first = _signed_in(site, "alice", "?q=run&tier=deep")
    assert 'id="browse"' in first.page.text
    assert '<noscript><meta http-equiv="refresh" content="0; url=/services/archiver/list?q=run&amp;tier=deep"></noscript>' in first.page.text
    assert "<script" in first.page.text
    for old, new in (("browse?q=run&tag=x", "/services/archiver/?q=run&tag=x"), ("?q=run&cursor=abc", "/services/archiver/list?q=run&cursor=abc")):
        answer = first.get(old)
        assert (answer.is_redirect, answer.headers["Location"]) == (True, new)
    eve = _signed_in(site, "eve", "")
    assert "You are in no project yet" in eve.page.text
    assert site.client().get("browse?q=run").headers["Location"].startswith("/hub/api/oauth2/authorize"), "and back to it after the sign-in"


FRENCH = {"Accept-Language": "fr-FR,fr;q=0.9,en;q=0.5"}


def test_each_page_speaks_french_to_those_who_ask_for_it(site, alice):
    number, cold = site.ids["saxs/run-5"], site.ids["saxs/run-0"]
    shown = {}
    pages = ["", "list", "me", "datasets/999999", *(f"{kind}{one}" for one in (number, cold) for kind in ("datasets/", "download?dataset="))]
    for path in pages:
        page = alice.get(path, headers=FRENCH)
        assert '<html lang="fr">' in page.text, path
        assert (page.headers["Content-Language"], "Accept-Language" in page.headers["Vary"]) == ("fr", True)
        shown[path] = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text)).split())
    assert "11 jeux de données" in shown["list"] or "jeux de données, du plus récent au plus ancien" in shown["list"]
    assert "3,0 ko 2 fichiers" in shown["list"]
    assert "Dans hot jusqu’au 29/04/2026 12:00 UTC." in shown[f"datasets/{number}"]
    assert "Une restauration est promise sous 3 jours." in shown[f"datasets/{cold}"]
    assert "3,0 ko en 2 fichiers" in shown[f"download?dataset={number}"]
    assert "2 de ces fichiers, 3,0 ko, doivent d’abord revenir." in shown[f"download?dataset={cold}"]
    assert "Introuvable" in shown["datasets/999999"]
    assert "Commencez par la liste des jeux de données." in shown["datasets/999999"]
    quoted = alice.request(
        "POST",
        f"datasets/{cold}/quote",
        data={"xsrf": re.search(r'name="xsrf" value="([^"]+)"', alice.page.text)[1], "days": "3"},
        headers=FRENCH,
    )
    said = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", quoted.text)).split())
    assert "À faire revenir 3,0 ko depuis deep" in said
    assert "Reste dans hot 3 jours à partir de son retour" in said
    assert "Votre quota reste 5,0 To sur 5,0 To" in said


# Taking data home


def test_what_is_chosen_is_shown_with_its_size_and_taken(site, alice):
    number = site.ids["saxs/run-5"]
    page = alice.get(f"datasets/{number}")
    chosen = re.search(r'name="file" value="(\d+)" aria-label="Choose a.txt"', page.text)[1]
    assert f'href="/services/archiver/files/{chosen}/data"' in page.text
    offered = alice.get(f"download?file={chosen}")
    assert "6 B in 1 file" in offered.text
    links = [html.unescape(one) for one in re.findall(r'href="([^"]*/download/[^"]*)"', offered.text)]
    assert [one.partition("?")[0].rpartition("/")[2] for one in links] == ["run-5.zip", "run-5.curl", "run-5.aria2", "run-5.sha256"]
    packed, curl, aria2, sums = (alice.get(one) for one in links)
    assert zipfile.ZipFile(io.BytesIO(packed.content)).namelist() == ["run-5/a.txt"]
    assert packed.headers["Content-Disposition"] == "attachment; filename*=UTF-8''run-5.zip"
    digest = hashlib.sha256(b"snow 5").hexdigest()
    assert sums.text == f"{digest}  run-5/a.txt\n"
    assert f"  out=run-5/a.txt\n  checksum=sha-256={digest}\n" in aria2.text
    assert 'output = "run-5/a.txt"' in curl.text
    sent = alice.get(f"files/{chosen}/data")
    assert sent.status_code == 307
    got = httpx.get(sent.headers["Location"])
    assert (got.content, got.headers["Content-Disposition"]) == (b"snow 5", "attachment; filename*=UTF-8''a.txt")


def test_curl_takes_the_list_and_goes_on_where_it_was(site, alice, tmp_path):
    curl = shutil.which("curl")
    if curl is None:
        missing("no curl")
    hostile = site.ids[f"saxs/{HOSTILE}"]
    chosen = f"dataset={site.ids['saxs/run-5']}&dataset={hostile}&dataset={site.ids['saxs/twin']}&dataset={site.ids['weather/twin']}"
    for ending in ("curl", "sha256"):
        (tmp_path / f"datasets.{ending}").write_bytes(alice.get(f"download/datasets.{ending}?{chosen}").content)
    (tmp_path / "run-5" / "deep").mkdir(parents=True)
    (tmp_path / "run-5" / "deep" / "b.bin").write_bytes(bytes(1000))  # what an interruption left
    for code in (0, 22):  # done again, it is the same; 22: a range past the end, as each is whole
        ended = subprocess.run([curl, "--silent", "--show-error", "--config", "datasets.curl"], cwd=tmp_path, check=False, timeout=60)
        assert ended.returncode in (0, code)
        subprocess.run(["sha256sum", "--strict", "--check", "datasets.sha256"], cwd=tmp_path, check=True)
    assert (tmp_path / "run-5" / "deep" / "b.bin").read_bytes() == bytes(3005)
    assert [(tmp_path / folder / "twin" / "t.txt").read_bytes() for folder in ("saxs", "weather")] == [b"one", b"two"], "both are called twin"


def test_nothing_is_taken_by_halves(site, alice):
    cold, hot = site.ids["saxs/run-0"], site.ids["saxs/run-5"]
    offered = alice.get(f"download?dataset={cold}&dataset={hot}")
    shown = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", offered.text)).split())
    assert "2 files of these, 3.0 kB, have to be brought back first." in shown
    assert "/download/" not in offered.text
    assert alice.form(offered, f"/datasets/{cold}/quote", days="2").status_code == 200
    for ending in ("zip", "curl", "sha256"):
        refused = alice.get(f"download/datasets.{ending}?dataset={cold}&dataset={hot}")
        assert (refused.status_code, "brought back" in refused.text) == (409, True)
    others = site.ids["weather/core-1"]
    for path in ("download", "download/x.zip", "download?dataset=999999", f"download?dataset={others}", f"download/x.exe?dataset={hot}"):
        assert alice.get(path).status_code in (404, 422), path
    assert alice.get(f"files/{_file_of(site, 'weather/core-1')}/data").status_code == 404


def _file_of(site, name: str) -> int:
    with site.bench.archive.ledger.read() as tx:
        return tx.files(site.ids[name])[0].id


def test_no_scope_beyond_the_roles_is_asked_for():
    assert {auth.READ, auth.RESTORE, auth.ACCESS} == set(ALL)
