"""What admins do in the console: who is refused, what is refused, what it does, and in whose name it stands in the ledger."""

from __future__ import annotations

import getpass
import hashlib
import html
import json
import re
from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest
import sqlalchemy as sa
from fixtures.site import HOSTILE, HOSTILE_FILE, words_of
from typer.testing import CliRunner

from archiver import auth, hold, keys, restore, simulation
from archiver.cli import cli
from archiver.errors import HubUnavailable, NotSignedIn
from archiver.ledger.audit import Sought
from archiver.ledger.store import Moved
from archiver.ledger.tables import event
from archiver.model import RestoreState, TransferState

ACTIONS = {
    "restores/1/approve": {},
    "restores/1/deny": {"reason": "x"},
    "restores/1/cancel": {},
    "transfers/retry": {"transfer": "1"},
    "holds/1/end": {},
    "reception": {"name": "new-one", "projects": "snow"},
    "reception/saxs": {"title": "x", "projects": "*"},
    "reception/saxs/key": {},
    "reception/saxs/revoke": {},
    "projects": {"name": "new-one"},
    "plan": {"tier": "hot", "days": "1"},
    "announce": {"text": "x", "until": "2026-04-01"},
    "announce/end": {},
    "projects/snow": {"title": "x", "seen": "1", "publish": "yes", "public_after": "2020-01-01"},
}
FORM = {"Origin": "http://neve.test", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def root(site):
    """An admin's browser."""
    return site.signed_in("root", "admin")


@pytest.fixture
def archive(site):
    return site.bench.archive


def xsrf_of(browser) -> str:
    return re.search(r'name="xsrf" value="([^"]+)"', browser.page.text)[1]


def last_event(archive, dataset_id: int):
    with archive.ledger.read() as tx:
        return tx.latest_events(dataset_id, 1)[0]


def row(page, mark: str) -> str:
    """The words of the row with this id."""
    found = re.search(rf'<tr id="{mark}">(.*?)</tr>', page.text, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split()) if found else ""


# Who and how


@pytest.mark.parametrize("action", ACTIONS)
def test_whoever_is_no_admin_is_refused_and_nothing_is_changed(site, root, action):
    before = site.everything()
    away = site.client().post(f"admin/{action}", data={**ACTIONS[action], "xsrf": "x"}, headers=FORM)
    assert (away.status_code, away.headers["Location"].partition("?")[0]) == (303, "/hub/api/oauth2/authorize")
    alice = site.signed_in("alice", "list")
    refused = alice.post(f"admin/{action}", data={**ACTIONS[action], "xsrf": xsrf_of(alice)}, headers=FORM)
    assert refused.status_code == 403
    assert "The console is for admins." in words_of(refused)
    for forged, headers in (
        ({}, FORM),
        ({"xsrf": "wrong"}, FORM),
        ({"xsrf": xsrf_of(alice)}, FORM),
        ({"xsrf": xsrf_of(root)}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        answer = root.post(f"admin/{action}", data={**ACTIONS[action], **forged}, headers=headers)
        assert answer.status_code == 403, forged
        assert re.search(r"The form (is from another session|was sent from another site)\.", words_of(answer))
    assert site.everything() == before


def test_who_ends_what_others_asked_for_needs_the_right_to_restore(site):
    site.hub.add("clerk", scopes=[auth.ACCESS, auth.READ, auth.ADMIN])
    clerk = site.signed_in("clerk", "admin")
    before = site.everything()
    for action in ("restores/1/cancel", "holds/1/end"):
        refused = clerk.post(f"admin/{action}", data={"xsrf": xsrf_of(clerk)}, headers=FORM)
        assert (refused.status_code, auth.RESTORE in refused.text) == (403, True)
    assert site.everything() == before


@pytest.mark.parametrize("path", ["restores/1/cancel", "holds/1/end", "reception/saxs/revoke"])
def test_questions_are_for_admins(site, path):
    assert site.client().get(f"admin/{path}").status_code == 303
    assert "The console is for admins." in words_of(site.signed_in("alice", f"admin/{path}").page)


def test_where_something_waits_the_navigation_says_so(root, archive, waiting, sick, monkeypatch):
    def marks() -> dict[str, str]:
        nav = re.search(r'<nav class="console".*?</nav>', root.get("admin").text, re.DOTALL)[0]
        return dict(re.findall(r'/admin/(\w+)">\w+ <span class="badge tier-hot">(\d+)<', nav))

    assert marks() == {}
    asked = waiting("saxs/run-0")
    sick("saxs/run-1", "no")
    monkeypatch.setitem(archive.settings.reception.__dict__, "silent_after", {"weather": timedelta(hours=1)})  # settings are frozen
    assert marks() == {"restores": "1", "transfers": "3", "reception": "1"}
    restore.deny(archive, "root", asked.id, "no")
    assert marks() == {"transfers": "3", "reception": "1"}


# Restores


@pytest.fixture
def waiting(site, archive, monkeypatch):
    """`waiting(NAME)`: alice's restore that an admin has to approve."""
    made = []

    def ask(name: str):
        monkeypatch.setitem(archive.settings.policy.__dict__, "approval_above_bytes", 1)  # settings are frozen
        made.append(restore.request(archive, "alice", name, None, 3, ["snow"]))
        return made[-1]

    yield ask
    for one in made:
        with archive.ledger.read() as tx:
            over = tx.restore(one.id).ended_at is not None
        if not over:
            restore.cancel(archive, "alice", one.id, ["snow"], admin=False)


def state_of(archive, one):
    with archive.ledger.read() as tx:
        return tx.restore(one.id).state


def test_an_admin_says_yes(root, archive, waiting):
    asked = waiting("saxs/run-0")
    page = root.get("admin/restores")
    assert row(page, f"restore-{asked.id}").startswith(
        "saxs/run-0 alice 2026-03-01 14:00 UTC 3.0 kB for 3 days, from deep Approve Deny … Reason, for alice"
    )
    sent = root.form(page, f"/restores/{asked.id}/approve")
    assert (sent.status_code, sent.headers["Location"]) == (303, "/services/archiver/admin/restores")
    assert state_of(archive, asked) is RestoreState.QUEUED
    after = root.get("admin/restores")
    assert "Approved: saxs/run-0, for alice." in words_of(after)
    assert "waiting for its turn" in row(after, f"restore-{asked.id}")
    assert "Approved:" not in words_of(root.get("admin/restores")), "said once"
    with archive.ledger.read() as tx:
        said = [e for e in tx.events(asked.dataset_id) if e.kind == "restore.queued"][-1]
    assert (said.actor, said.detail["approved_by"]) == ("root", "root")

    again = root.form(page, f"/restores/{asked.id}/approve")
    assert again.status_code == 409
    assert f"Restore {asked.id} is queued: it waits for nobody's approval. Nothing has to be done." in words_of(again)
    assert row(again, f"restore-{asked.id}"), "with the list as it is now"


def test_an_admin_says_no_with_the_reason(root, archive, waiting):
    asked = waiting("saxs/run-1")
    page = root.get("admin/restores")
    empty = root.form(page, f"/restores/{asked.id}/deny", reason=" ")
    assert (empty.status_code, state_of(archive, asked)) == (422, RestoreState.AWAITING_APPROVAL)
    assert root.form(page, f"/restores/{asked.id}/deny", reason="ask for <b>less</b>").status_code == 303
    after = root.get("admin/restores")
    assert "Denied: saxs/run-1. alice is told your reason." in words_of(after)
    assert "ask for &lt;b&gt;less" in after.text
    said = last_event(archive, asked.dataset_id)
    assert (said.kind, said.actor, said.detail["error"]) == ("restore.denied", "root", "ask for <b>less</b>")


def test_two_admins_at_the_same_moment_are_told(root, archive, waiting, monkeypatch):
    asked = waiting("saxs/run-0")
    page = root.get("admin/restores")

    def moved(*_said):
        raise Moved("restore is no longer awaiting_approval")

    monkeypatch.setattr("archiver.restore.approve", moved)
    answer = root.form(page, f"/restores/{asked.id}/approve")
    assert (answer.status_code, "Somebody else changed this at the same moment." in words_of(answer)) == (409, True)
    french = root.post(f"admin/restores/{asked.id}/approve", data={"xsrf": xsrf_of(root)}, headers={**FORM, "Accept-Language": "fr"})
    assert "Ce n’est pas possible dans l’état présent." in words_of(french)
    assert row(answer, f"restore-{asked.id}"), "with the list"


def test_cancelling_asks_with_the_numbers_first(site, root, archive):
    asked = restore.request(archive, "alice", "saxs/run-2", None, 3, ["snow"])
    kept = hold.request(archive, "alice", "saxs/run-2", hold.end_of("2026-09-01"), "for the <thesis>", None, ["snow"])
    other = restore.request(archive, "bob", "saxs/run-2", "a.txt", 3, None)
    before = site.everything()
    page = root.get("admin/restores")
    question = root.get(re.search(rf'href="([^"]*/restores/{asked.id}/cancel)"', page.text)[1])
    shown = words_of(question)
    assert "Cancel the restore of saxs/run-2?" in shown
    assert "Data 3.0 kB in 2 files People touched 1 alice" in shown
    assert "The hold of alice that waits for it ends too: for the <thesis>" in shown
    assert "1 other restore or hold of the same dataset goes on." in shown
    assert site.everything() == before, "it only asks"
    assert root.form(question, "/cancel").headers["Location"] == "/services/archiver/admin/restores"
    assert "Cancelled: the restore of saxs/run-2 for alice." in words_of(root.get("admin/restores"))
    with archive.ledger.read() as tx:
        said = [e for e in tx.events(asked.dataset_id) if e.kind == "restore.cancelled"][-1]
        assert (said.actor, tx.restore(other.id).ended_at, tx.hold(kept.id).ended_at is None) == ("root", None, False)
    again = root.form(question, "/cancel")
    assert (again.status_code, "cancelled already" in again.text) == (409, True)
    assert root.get("admin/restores/999/cancel").status_code == 404
    restore.cancel(archive, "bob", other.id, None, admin=False)


def test_restores_are_told_by_pages_of_each_group(root, archive, waiting, monkeypatch):
    monkeypatch.setattr("archiver.pages.console.restores.FIRST", 2)
    monkeypatch.setattr("archiver.pages.console.restores.LIMIT", 2)
    asked = [waiting(name) for name in ("saxs/run-0", "saxs/run-1", "saxs/run-2")]

    def ids(page) -> list[int]:
        return [int(one) for one in re.findall(r'<tr id="restore-(\d+)"', page.text)]

    first = root.get("admin/restores")
    assert ids(first)[:2] == [asked[0].id, asked[1].id], "who waits longest comes first"
    page = root.get(re.search(r'href="([^"]*\?group=waiting)"', first.text)[1])
    assert ids(page) == [asked[0].id, asked[1].id]
    page = root.get(re.search(r'rel="next" href="([^"]+)"', page.text)[1].replace("&amp;", "&"))
    assert ids(page) == [asked[2].id]
    for one in asked:
        restore.deny(archive, "root", one.id, "no")
    page = root.get("admin/restores?group=ended")
    assert ids(page) == [asked[2].id, asked[1].id], "what ended is told from the newest on"
    assert ids(root.get(re.search(r'rel="next" href="([^"]+)"', page.text)[1].replace("&amp;", "&")))[0] == asked[0].id
    assert root.get("admin/restores?group=ended&cursor=x").status_code == 422
    assert root.get("admin/restores?group=none").status_code == 422


def test_hostile_names_are_text_on_restores(root, waiting):
    asked = waiting(f"saxs/{HOSTILE}")
    for page in (
        root.get("admin/restores"),
        root.get(f"admin/restores/{asked.id}/cancel"),
        root.get("admin/restores", headers={"Accept-Language": "fr"}),
    ):
        assert HOSTILE not in page.text
        assert "&lt;img src=x" in page.text
    assert root.form(root.get("admin/restores"), f"/restores/{asked.id}/deny", reason="no").status_code == 303
    assert HOSTILE not in root.get("admin/restores").text


# Transfers


@pytest.fixture
def sick(site, archive):
    """`sick(NAME, ERROR)`: the numbers of transfers into hot that were given up, one for each object of the dataset."""
    made = []

    def fail(name: str, error: str, state: TransferState = TransferState.QUARANTINED) -> list[int]:
        with archive.ledger.begin() as tx:
            ids = [tx.plan_transfer(obj, "hot") for obj in tx.objects(site.ids[name])]
            for number in ids:
                tx.change("transfer", tx.transfer(number), TransferState.FAILED, error=error, attempts=1)
                if state is TransferState.QUARANTINED:
                    tx.change("transfer", tx.transfer(number), state, error=error, attempts=3)
        made.extend(ids)
        return ids

    yield fail
    with archive.ledger.begin() as tx:
        for number in made:
            tx.cancel_transfer(tx.transfer(number))


def test_what_was_given_up_is_tried_again(root, archive, sick):
    first, second, _ = sick("saxs/run-0", "the tape is <torn>")
    page = root.get("admin/transfers")
    assert "Given up 3 Try these 3 again These copies" in words_of(page)
    assert row(page, f"transfer-{first}") == "saxs/run-0 a.txt hot the tape is &lt;torn&gt; 3 tries, given up on 2026-03-01 14:00 UTC Try again"
    form = {"xsrf": xsrf_of(root), "transfer": str(first)}
    assert root.post("admin/transfers/retry", data=form, headers=FORM).headers["Location"] == "/services/archiver/admin/transfers"
    after = root.get("admin/transfers")
    assert "1 copy is tried again." in words_of(after)
    assert (row(after, f"transfer-{first}"), bool(row(after, f"transfer-{second}"))) == ("", True)
    with archive.ledger.read() as tx:
        assert (tx.transfer(first).state, tx.transfer(second).state) == (TransferState.PLANNED, TransferState.QUARANTINED)
        said = tx.latest_events(tx.transfer(first).dataset_id, 1)[0]
    assert (said.kind, said.actor, said.detail["transfer_id"]) == ("transfer.planned", "root", first)
    again = root.post("admin/transfers/retry", data=form, headers=FORM)
    assert again.status_code == 409
    assert f"Transfer {first} is planned: it was not given up." in words_of(again)
    assert row(again, f"transfer-{second}"), "with the list as it is now"
    assert root.post("admin/transfers/retry", data={**form, "transfer": [str(first), str(second)]}, headers=FORM).status_code == 303
    assert "1 copy is tried again; 1 had moved on meanwhile." in words_of(root.get("admin/transfers"))


@pytest.mark.parametrize("numbers", [[], ["0"], ["x"], ["9" * 40], [str(n) for n in range(1, 52)]])
def test_a_wrong_choice_of_transfers_changes_nothing(site, root, sick, numbers):
    sick("saxs/run-1", "no")
    before = site.everything()
    assert root.post("admin/transfers/retry", data={"xsrf": xsrf_of(root), "transfer": numbers}, headers=FORM).status_code == 422
    assert site.everything() == before
    assert root.post("admin/transfers/retry", data={"xsrf": xsrf_of(root), "transfer": "999999"}, headers=FORM).status_code == 404


def test_transfers_are_told_by_pages_in_a_few_queries(site, root, archive, sick, monkeypatch):
    monkeypatch.setattr("archiver.pages.console.transfers.FIRST", 1)
    monkeypatch.setattr("archiver.pages.console.transfers.LIMIT", 2)
    ids = [number for name in ("saxs/run-0", "saxs/run-1", "saxs/run-2") for number in sick(name, "no")]
    failing = sick(f"saxs/{HOSTILE}", "soon", TransferState.FAILED)
    first = root.get("admin/transfers")
    assert re.findall(r'<tr id="transfer-(\d+)"', first.text) == [str(ids[0]), str(failing[0])]
    assert "soon" in first.text
    assert HOSTILE not in first.text
    seen, page = [], root.get("admin/transfers?group=quarantined")
    while True:
        seen += [int(one) for one in re.findall(r'<tr id="transfer-(\d+)"', page.text)]
        after = re.search(r'rel="next" href="([^"]+)"', page.text)
        if after is None:
            break
        page = root.get(after[1].replace("&amp;", "&"))
    assert seen == ids
    assert root.get("admin/transfers?group=failed&after=1").status_code == 422
    statements: list[str] = []
    listen = lambda _c, _k, statement, *_: statements.append(statement)  # noqa: E731
    sa.event.listen(archive.ledger.engine, "before_cursor_execute", listen)
    root.get("admin/transfers?group=quarantined")
    sa.event.remove(archive.ledger.engine, "before_cursor_execute", listen)
    assert len([one for one in statements if one.startswith("SELECT")]) <= 7


# Holds


def test_ending_a_hold_asks_with_the_numbers_first(site, root, archive):
    held = hold.request(archive, "alice", "saxs/run-5", hold.end_of("2026-09-01"), "for the <thesis>", "*.txt", ["snow"])
    whole = hold.request(archive, "bob", "saxs/run-5", hold.end_of("2026-08-01"), "mine", None, None, admin=False)
    page = root.get("admin/holds")
    assert re.findall(r'<tr id="hold-(\d+)"', page.text) == [str(whole.id), str(held.id)], "what ends first comes first"
    assert row(page, f"hold-{held.id}") == "saxs/run-5 only *.txt alice 6 B 1 file 2026-09-01 23:59 UTC for the &lt;thesis&gt; End …"
    assert row(page, f"hold-{whole.id}").startswith("saxs/run-5 bob 3.0 kB 2 files 2026-08-01")
    before = site.everything()
    question = root.get(re.search(rf'href="([^"]*/holds/{held.id}/end)"', page.text)[1])
    shown = words_of(question)
    assert "End the hold on saxs/run-5?" in shown
    assert "Data 6 B in 1 file People touched 1 alice alice holds it for this reason: for the <thesis>" in shown
    assert "1 other restore or hold of the same dataset goes on." in shown
    assert site.everything() == before, "it only asks"
    assert root.form(question, "/end").headers["Location"] == "/services/archiver/admin/holds"
    after = root.get("admin/holds")
    assert "Ended: the hold of alice on saxs/run-5." in words_of(after)
    assert re.findall(r'<tr id="hold-(\d+)"', after.text) == [str(whole.id)]
    said = last_event(archive, held.dataset_id)
    assert (said.kind, said.actor, said.detail["hold_id"]) == ("hold.ended", "root", held.id)
    again = root.form(question, "/end")
    assert again.status_code == 409
    assert f"Hold {held.id} has ended already." in words_of(again)
    assert row(again, f"hold-{whole.id}"), "with the list as it is now"
    assert root.get("admin/holds/999/end").status_code == 404
    hold.end(archive, "bob", whole.id, None, admin=False)
    assert "Nobody holds anything." in words_of(root.get("admin/holds"))


def test_holds_are_told_by_pages(root, archive, monkeypatch):
    monkeypatch.setattr("archiver.pages.console.holds.LIMIT", 2)
    held = [hold.request(archive, f"user-{n}", f"saxs/{HOSTILE}", hold.end_of("2026-08-01"), HOSTILE, None, None, admin=False).id for n in range(3)]
    page = root.get("admin/holds")
    assert HOSTILE not in page.text
    ids = re.findall(r'<tr id="hold-(\d+)"', page.text)
    page = root.get(re.search(r'rel="next" href="([^"]+)"', page.text)[1].replace("&amp;", "&"))
    ids += re.findall(r'<tr id="hold-(\d+)"', page.text)
    assert ids == [str(one) for one in held]
    assert 'rel="next"' not in page.text
    assert HOSTILE not in root.get(f"admin/holds/{held[0]}/end").text
    for n, number in enumerate(held):
        hold.end(archive, f"user-{n}", number, None, admin=False)


# Reception


def deeds(archive, about: str) -> list[tuple[str, str, object]]:
    """(who, what, detail) of what was done with an instrument, newest first."""
    with archive.ledger.read() as tx:
        return [(one.actor, one.kind, one.detail) for one in tx.deeds(Sought(kind="instrument."), 50) if one.about == about]


def key_on(page) -> str | None:
    found = re.search(r"<code>(neve_[\w-]{43})</code>", page.text)
    return found and found[1]


def test_an_instrument_is_added_and_its_key_shown_once(root, archive):
    made = root.form(root.get("admin/reception"), "/admin/reception", name="cryo-lab", title="<b>Cryo</b>", projects="snow, ice-*")
    assert made.status_code == 200
    key = key_on(made)
    with archive.ledger.read() as tx:
        found = tx.instrument("cryo-lab")
    assert (found.title, list(found.projects)) == ("<b>Cryo</b>", ["snow", "ice-*"])
    assert keys.sender(archive, key).instrument == "cryo-lab"
    assert row(made, "instrument-cryo-lab").startswith("cryo-lab &lt;b&gt;Cryo&lt;/b&gt; never heard of nothing snow, ice-* 1 key Change …")
    assert key_on(root.get("admin/reception")) is None
    assert [one[:2] for one in deeds(archive, "cryo-lab")] == [
        ("root", "instrument.key_made"),
        ("root", "instrument.changed"),
        ("root", "instrument.added"),
    ]
    assert key not in str(deeds(archive, "cryo-lab"))

    again = root.form(root.get("admin/reception"), "/admin/reception", name="cryo-lab", title="other", projects="*")
    assert (again.status_code, "There is an instrument cryo-lab already." in words_of(again)) == (409, True)
    with archive.ledger.read() as tx:
        assert tx.instrument("cryo-lab") == replace(found, seen_at=tx.instrument("cryo-lab").seen_at)


def test_an_instrument_is_changed_gets_another_key_and_loses_all(site, root, archive):
    root.form(root.get("admin/reception"), "/admin/reception", name="tem-1", title="TEM", projects="")
    page = root.get("admin/reception")
    assert "Added: tem-1. It has no key yet." in words_of(page)
    changed = root.form(page, "/admin/reception/tem-1", title="Electrons", projects="snow")
    first = key_on(changed)
    assert first, "it may send now, so it has a key"
    assert root.form(changed, "/admin/reception/tem-1", title="Electrons!", projects="snow").status_code == 303
    second = key_on(root.form(root.get("admin/reception"), "/admin/reception/tem-1/key"))
    assert {keys.sender(archive, one).instrument for one in (first, second)} == {"tem-1"}
    with archive.ledger.begin("instrument/tem-1") as tx:
        tx.see_instrument("tem-1", {"waiting": 3, "oldest_waiting_s": 7200, "message": "<i>disk</i> full"})
    page = root.get("admin/reception")
    assert "3 files the oldest for 2 hours &lt;i&gt;disk&lt;/i&gt; full" in row(page, "instrument-tem-1")
    before = site.everything()
    question = root.get(re.search(r'href="([^"]*/tem-1/revoke)"', page.text)[1])
    shown = words_of(question)
    assert "End the keys of tem-1?" in shown
    assert "2 keys end at once. 3 more files wait at the instrument." in shown
    assert site.everything() == before, "it only asks"
    assert root.form(question, "/revoke").status_code == 303
    assert "2 keys of tem-1 ended." in words_of(root.get("admin/reception"))
    for one in (first, second):
        with pytest.raises(NotSignedIn, match="revoked"):
            keys.sender(archive, one)
    assert deeds(archive, "tem-1")[0] == ("root", "instrument.keys_revoked", {"keys": 2})
    assert root.form(root.get("admin/reception"), "/admin/reception/tem-1", title="again", projects="snow").status_code == 303
    assert "0 keys" in row(root.get("admin/reception"), "instrument-tem-1"), "another title brings no key back"


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        ("reception", {"name": "", "projects": "snow"}, 422),
        ("reception", {"name": "<b>", "projects": "snow"}, 422),
        ("reception", {"name": "fine-name", "projects": "Snow!"}, 422),
        ("reception/nowhere", {"title": "x", "projects": "snow"}, 404),
        ("reception/nowhere/key", {}, 404),
        ("reception/nowhere/revoke", {}, 404),
    ],
)
def test_a_wrong_instrument_changes_nothing_and_is_said(site, root, path, data, status):
    before = site.everything()
    answer = root.post(f"admin/{path}", data={"xsrf": xsrf_of(root), **data}, headers=FORM)
    assert (answer.status_code, site.everything() == before) == (status, True)
    assert row(answer, "instrument-saxs"), "with the list"
    assert 'role="alert"' in answer.text
    assert "<b>" not in answer.text


def test_the_command_line_does_the_same_and_says_who(site, archive):
    def run(*arguments: str) -> str:
        answer = CliRunner().invoke(cli, ["--config", str(site.bench.settings_file), "instruments", *arguments, "--json"])
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.output)

    key = run("add", "tem-2", "--project-rule", "snow")["key"]
    assert keys.sender(archive, key).projects == ("snow",)
    assert run("add", "tem-2", "--title", "TEM")["key"] is None
    with archive.ledger.read() as tx:
        assert (tx.instrument("tem-2").title, list(tx.instrument("tem-2").projects)) == ("TEM", ["snow"])
    run("key", "tem-2")
    assert run("revoke", "tem-2")["revoked"] == 2
    said = deeds(archive, "tem-2")
    assert {who for who, *_ in said} == {getpass.getuser()}
    assert [kind.partition(".")[2] for _, kind, _ in reversed(said)] == ["added", "changed", "key_made", "changed", "key_made", "keys_revoked"]


def test_silent_instruments_come_first(root, archive, monkeypatch):
    monkeypatch.setitem(archive.settings.reception.__dict__, "silent_after", {"weather": timedelta(hours=1)})  # settings are frozen
    page = root.get("admin/reception")
    assert re.findall(r'<tr id="instrument-([^"]+)"', page.text)[0] == "weather"
    assert row(page, "instrument-weather").startswith("weather silent never heard of")


# Projects


@pytest.fixture
def people(monkeypatch):
    """Who is in a project, as the hub says; an error is raised."""
    groups: dict[str, object] = {"snow": {"alice", "<b>bob</b>"}}

    class Hub:
        def __init__(self, _settings) -> None: ...

        def __enter__(self):
            return self

        def __exit__(self, *_raised) -> None: ...

        def members(self, project: str):
            if isinstance(groups.get(project), Exception):
                raise groups[project]
            return groups.get(project, set())

    monkeypatch.setattr("archiver.pages.console.project.HubPeople", Hub)
    return groups


FACTS = ("title", "investigator", "start", "end", "embargo", "public_after", "quota")


def written(page) -> dict[str, str]:
    """What stands in a project's form."""
    return {name: html.unescape(value) for name, value in re.findall(r'<input type="text" name="(\w+)" value="([^"]*)"', page.text)}


def project_of(archive, name: str):
    with archive.ledger.read() as tx:
        return tx.project(name), [(one.actor, one.detail) for one in tx.project_changes(name, 50)]


def test_a_project_is_shown_with_its_members_quota_and_use_and_is_edited(site, root, archive, people):
    listed = root.get("admin/projects")
    with archive.ledger.read() as tx:
        datasets, size = tx.holdings(["snow"])["snow"]
    assert row(listed, "project-snow") == f"snow – {size / 1000:.1f} kB {datasets} datasets no limit – no"
    page = root.get("admin/projects/snow")
    assert f"Holds {size / 1000:.1f} kB no limit" in words_of(page)
    assert "Members 2 <b>bob</b>, alice" in words_of(page)
    assert "<b>bob" not in page.text
    assert tuple(written(page)) == FACTS
    said = {"title": "Snow <i>physics</i>", "investigator": "A. Lovelace", "end": "2026-12-31", "quota": "10000 B", "embargo": "2027-03-01T12:00:00Z"}
    sent = root.form(page, "/admin/projects/snow", **{**written(page), **said})
    assert (sent.status_code, sent.headers["Location"]) == (303, "/services/archiver/admin/projects/snow")
    after = root.get("admin/projects/snow")
    assert "Saved: snow." in words_of(after)
    assert written(after) == {**dict.fromkeys(FACTS, ""), **said}
    assert "Ends: – → 2026-12-31" in words_of(after)
    snow, changes = project_of(archive, "snow")
    assert (snow.title, snow.pi, snow.quota_bytes) == ("Snow <i>physics</i>", "A. Lovelace", 10_000)
    assert changes[0][0] == "root"
    assert set(changes[0][1]) == {"title", "pi", "ends_at", "quota_bytes", "embargo_until"}
    assert "10.0 kB full 2026-12-31" in row(root.get("admin/projects"), "project-snow")
    before = site.everything()
    late = root.form(page, "/admin/projects/snow", **{**written(page), "title": "other"})
    assert (late.status_code, "root changed snow meanwhile." in words_of(late)) == (409, True)
    assert written(late) == written(after), "as it is now"
    assert site.everything() == before


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"end": "soon"}, "'soon' is not a day"),
        ({"quota": "much"}, "'much' is not a size"),
        ({"start": "2027-01-02", "end": "2027-01-01"}, "before it starts"),
        ({"investigator": "=cmd"}, "formula"),
        ({"title": "x" * 501}, "501 characters"),
    ],
)
def test_wrong_facts_of_a_project_are_said_and_stay_to_be_mended(site, root, people, wrong, says):
    page = root.get("admin/projects/ice-cores")
    before = site.everything()
    answer = root.form(page, "/admin/projects/ice-cores", **{**written(page), **wrong})
    assert (answer.status_code, says in words_of(answer)) == (422, True), words_of(answer)
    assert written(answer) == {**written(page), **wrong}
    assert site.everything() == before


def test_what_would_become_public_at_once_is_asked_with_the_numbers(site, root, archive, people):
    page = root.get("admin/projects/ice-cores")
    before = site.everything()
    question = root.form(page, "/admin/projects/ice-cores", **{**written(page), "public_after": "2026-02-01"})
    assert question.status_code == 200
    assert "Make the data of ice-cores public now?" in words_of(question)
    assert "Data 3.0 kB 2 datasets become public." in words_of(question)
    assert site.everything() == before, "it only asks"
    assert root.form(question, "/admin/projects/ice-cores").status_code == 303
    ice, changes = project_of(archive, "ice-cores")
    assert f"{ice.public_after:%Y-%m-%d}" == "2026-02-01"
    assert changes[0] == ("root", {"public_after": [None, "2026-02-01T00:00:00+00:00"]})
    assert "yes, since 2026-02-01" in row(root.get("admin/projects"), "project-ice-cores")
    again = root.get("admin/projects/ice-cores")
    root.form(again, "/admin/projects/ice-cores", **{**written(again), "public_after": ""})


def test_a_project_is_added_and_a_hub_that_is_away_is_said(site, root, archive, people):
    added = root.form(root.get("admin/projects"), "/admin/projects", name="firn-lab", title="Firn")
    assert added.status_code == 303
    assert "Added: firn-lab." in words_of(root.get("admin/projects"))
    assert project_of(archive, "firn-lab")[1][0][0] == "root"
    before = site.everything()
    for name, status in (("firn-lab", 409), ("<b>", 422), ("", 422)):
        answer = root.form(root.get("admin/projects"), "/admin/projects", name=name, title="x")
        assert (answer.status_code, 'role="alert"' in answer.text, "<b>" in answer.text) == (status, True, False)
    assert root.get("admin/projects/nowhere").status_code == 404
    assert site.everything() == before
    people["firn-lab"] = HubUnavailable("The hub is <away>.", "Wait.")
    page = root.get("admin/projects/firn-lab")
    assert (page.status_code, "Members The hub is <away>." in words_of(page)) == (200, True)
    people["firn-lab"] = set()
    assert "Members nobody:" in words_of(root.get("admin/projects/firn-lab"))


def test_projects_are_told_by_pages(root, archive, monkeypatch):
    monkeypatch.setattr("archiver.pages.console.projects.LIMIT", 1)
    names, page = [], root.get("admin/projects")
    while True:
        names += re.findall(r'<tr id="project-([^"]+)"', page.text)
        after = re.search(r'rel="next" href="([^"]+)"', page.text)
        if after is None:
            break
        page = root.get(after[1])
    with archive.ledger.read() as tx:
        assert names == [one.name for one in tx.projects()]
    assert len(names) >= 2


# Audit


def lines(page) -> list[str]:
    """The lines of the table, in words."""
    body = page.text.partition("<tbody>")[2].partition("</tbody>")[0]
    return [html.unescape(" ".join(re.sub(r"<[^>]+>", " ", one).split())) for one in re.findall(r"<tr.*?</tr>", body, re.DOTALL)]


def test_who_did_what_is_found_by_person_kind_dataset_and_day(site, root, archive):
    held = hold.request(archive, "alice", "saxs/run-5", hold.end_of("2026-09-01"), HOSTILE, None, ["snow"])
    hold.end(archive, "carol", held.id, None, admin=True)
    page = root.get("admin/audit")
    ended = next(one for one in lines(page) if "hold.ended" in one)
    assert ended == f"2026-03-01 14:00 UTC carol saxs/run-5 hold.ended hold id {held.id}, why ended by carol"
    assert any(one.endswith("snow project.changed title – → snow") for one in lines(root.get("admin/audit?what=project")))
    assert HOSTILE not in page.text
    assert all(" archiver " not in one for one in lines(page) if "project.changed" not in one and "instrument.added" not in one)
    assert [one.split()[3] for one in lines(root.get("admin/audit?who=carol"))] == ["carol"]
    assert all(re.search(r" hold\.(placed|ended) hold id ", one) for one in lines(root.get("admin/audit?what=hold")))
    both = lines(root.get("admin/audit?dataset=saxs/run-5"))
    assert any(" archiver saxs/run-5 transfer.proven" in one for one in both)
    assert all(" saxs/run-5 " in one for one in both)
    assert "Nothing fits." in words_of(root.get("admin/audit?who=carol&since=2026-03-02"))
    assert "Nothing fits." in words_of(root.get("admin/audit?who=carol&until=2026-02-28"))
    assert lines(root.get("admin/audit?who=carol&since=2026-03-01&until=2026-03-01"))


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("dataset=nowhere", 404, "nowhere"),
        ("dataset=twin", 409, "saxs/twin"),
        ("what=<b>", 422, "Choose one of restore"),
        ("since=soon", 422, "'soon' is not a day"),
        ("since=2026-03-02&until=2026-03-01", 422, "The first day is later than the last."),
        ("at=x", 422, "at"),
        ("number=-1", 422, "number"),
    ],
)
def test_a_search_that_cannot_be_is_said(root, query, status, says):
    answer = root.get(f"admin/audit?{query}")
    assert (answer.status_code, says in words_of(answer)) == (status, True), words_of(answer)
    assert "<b>" not in answer.text


def test_deeds_are_told_by_pages(root, monkeypatch):
    everything = lines(root.get("admin/audit?dataset=saxs/run-5"))
    monkeypatch.setattr("archiver.pages.console.audit.LIMIT", 2)
    for query, all_of_it in (("?dataset=saxs/run-5", everything), ("", None)):
        found, page = [], root.get(f"admin/audit{query}")
        while True:
            found += lines(page)
            older = re.search(r'rel="next" href="([^"]+)"', page.text)
            if older is None:
                break
            page = root.get(html.unescape(older[1]))
        assert len(found) > 4
        if all_of_it is not None:
            assert found[: len(all_of_it)] == all_of_it
        first = root.get(html.unescape(re.search(r'href="([^"]+)">First page', page.text)[1]))
        assert lines(first) == found[:2]


def test_a_receipt_is_shown_and_kept(site, root, archive):
    page = root.get("admin/audit/receipt", params={"dataset": "saxs/run-5", "path": "a.txt"})
    shown = words_of(page)
    digest = hashlib.sha256(b"snow 5").hexdigest()
    assert digest in shown
    assert "The history of its dataset is whole" in shown
    assert "hot hot" in shown and "deep deep" in shown, "tier and place of each copy"
    kept = root.get(html.unescape(re.search(r'href="([^"]*receipt.json[^"]*)"', page.text)[1])).json()
    assert (kept["file"]["path"], kept["file"]["sha256"]) == ("a.txt", digest)
    assert {copy["tier"] for copy in kept["copies"]} == {"hot", "archive", "deep"}
    hostile = root.get("admin/audit/receipt", params={"dataset": f"saxs/{HOSTILE}", "path": HOSTILE_FILE})
    assert (hostile.status_code, HOSTILE in hostile.text) == (200, False)
    for dataset, path in (("saxs/run-5", "none.txt"), ("nowhere", "a.txt")):
        assert root.get("admin/audit/receipt", params={"dataset": dataset, "path": path}).status_code == 404
    with archive.ledger.engine.begin() as connection:
        broken = sa.update(event).where(event.c.dataset_id == site.ids["weather/core-1"], event.c.seq == 2).values(actor="nobody")
        connection.execute(broken)
    said = words_of(root.get("admin/audit/receipt", params={"dataset": "weather/core-1", "path": "core.csv"}))
    assert "The history of its dataset is not whole: event 2" in said


@pytest.mark.parametrize("path", ["audit/receipt?dataset=saxs/run-5&path=a.txt", "audit/receipt.json?dataset=saxs/run-5&path=a.txt", "projects/snow"])
def test_what_stands_below_the_pages_is_for_admins_too(site, path):
    assert site.client().get(f"admin/{path}").status_code == 303
    refused = site.signed_in("alice", f"admin/{path}").page
    assert (refused.status_code, "The console is for admins." in words_of(refused)) == (403, True)


# Plan


def tried(root, **values) -> object:
    """The answer to the form with the present policy, but for these values."""
    page = root.get("admin/plan")
    tiers = re.findall(r'name="tier" value="([^"]+)"', page.text)
    days = dict(zip(tiers, re.findall(r'name="days" value="([^"]*)"', page.text), strict=True))
    days |= {name: values.pop(name) for name in tiers if name in values}
    data = {"xsrf": xsrf_of(root), "tier": list(days), "days": list(days.values()), "ahead": "30", "more": "", **values}
    return root.post("admin/plan", data=data, headers=FORM)


def test_another_policy_is_tried_and_nothing_is_changed(site, root, archive):
    before = site.everything()
    page = root.get("admin/plan")
    assert "The next seven days" in words_of(page)
    assert re.findall(r'name="days" value="([^"]*)"', page.text) == ["60", "730", ""]
    same = tried(root)
    assert (same.status_code, "0 datasets (0 B) would leave fast storage sooner, 0 (0 B) later." in words_of(same)) == (200, True)
    shorter = tried(root, hot="20")
    said = simulation.simulate(archive, {"tiers": {"hot": {"keep": "P20D"}}}, days=30)
    sooner = said["leave_hot_sooner"]
    assert sooner["datasets"] >= 4
    assert f"{sooner['datasets']} datasets ({sooner['size_bytes'] / 1000:.1f} kB) would leave fast storage sooner" in words_of(shorter)
    assert {one["dataset"] for one in sooner["items"]} <= set(re.findall(r'/datasets/\d+">([^<]+)</a>', html.unescape(shorter.text))) | {
        f"saxs/{HOSTILE}"
    }
    assert HOSTILE not in shorter.text
    assert "of the data would end sooner: an admin would have to release that." in words_of(shorter)
    assert 'name="days" value="20"' in shorter.text, "what was tried stays to be changed"
    longer = tried(root, more='[[rules]]\nproject = "snow"\nkeep = {hot = "P900D"}')
    assert re.search(r" 0 datasets \(0 B\) would leave fast storage sooner, [1-9]\d* \(", " " + words_of(longer))
    assert site.everything() == before


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"hot": "soon"}, "'soon' is no number of days for hot."),
        ({"hot": "-1"}, "no number of days"),
        ({"hot": "nan"}, "no number of days"),
        ({"hot": "1e9"}, "no number of days"),
        ({"ahead": "many"}, "'many' is no number of days."),
        ({"ahead": "99999"}, "no number of days"),
        ({"more": "[policy"}, "The policy cannot be read"),
        ({"more": "[<b>]"}, "The policy cannot be read"),
        ({"more": "[store]\nregion = 'x'"}, "store: it plays no part in a policy"),
        ({"more": "[policy]\nno_such = 1"}, "no_such"),
        ({"more": "tiers = 3", "hot": "20"}, "tiers"),
        ({"more": "[tiers]\nhot = 3", "hot": "20"}, "hot"),
    ],
)
def test_a_policy_with_an_error_is_said_and_stays_to_be_mended(site, root, values, says):
    before = site.everything()
    answer = tried(root, **values)
    assert (answer.status_code, says in words_of(answer)) == (422, True), words_of(answer)[:600]
    assert "<b>" not in answer.text
    assert html.escape(values.get("more", ""), quote=False).strip() in html.unescape(answer.text) or html.escape(values["more"]) in answer.text
    assert site.everything() == before


# Announce


def announcements(archive) -> list[tuple[str, str]]:
    with archive.ledger.read() as tx:
        return [(one.actor, one.kind) for one in tx.deeds(Sought(kind="announcement."), 50)]


def told_to(site, name: str, path: str = "list") -> str | None:
    """What stands at the top of somebody's page."""
    found = re.search(r'<aside class="announcement"[^>]*><div class="inner">(.*?)</div>', site.signed_in(name, path).page.text)
    return found and html.unescape(found[1])


def feed_of(site) -> list[tuple[str, str]]:
    """(title, time) of the entries that a notebook's lab reads, without any token."""
    answer = site.client().get("announcements.atom")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/atom+xml")
    entries = ET.fromstring(answer.content).findall("{http://www.w3.org/2005/Atom}entry")
    return [tuple(entry.findtext(f"{{http://www.w3.org/2005/Atom}}{name}") for name in ("title", "updated")) for entry in entries]


def test_everybody_is_told_until_it_is_over_or_taken_back(site, root, archive):
    assert told_to(site, "alice") is None and feed_of(site) == []
    page = root.get("admin/announce")
    assert "Nothing is announced." in words_of(page)
    text = "The store rests <b>on Friday</b>, 8 to 10."
    assert root.form(page, "/admin/announce", text=f"  {text}\n", until="2026-03-06").status_code == 303
    after = root.get("admin/announce")
    assert "Announced." in words_of(after)
    assert "by root on 2026-03-01 14:00 UTC, until 2026-03-06 23:59 UTC" in words_of(after)
    assert "<b>on Friday" not in after.text
    assert {told_to(site, who, path) for who in ("alice", "bob") for path in ("list", "", "me")} == {text}
    assert site.as_("alice").json("announcements")["items"] == [
        {"text": text, "until": "2026-03-06T23:59:59Z", "user": "root", "made_at": "2026-03-01T14:00:00Z"}
    ]
    assert feed_of(site) == [(text, "2026-03-01T14:00:00Z")]
    assert root.form(after, "/admin/announce", text="It is over.", until="2026-03-02").status_code == 303
    assert told_to(site, "alice") == "It is over.", "one at a time"
    assert root.form(root.get("admin/announce"), "/announce/end").status_code == 303
    assert "Taken back." in words_of(root.get("admin/announce"))
    assert told_to(site, "alice") is None and feed_of(site) == []
    again = root.form(after, "/announce/end")
    assert (again.status_code, "Nothing is announced. Nothing has to be done." in words_of(again)) == (409, True)
    assert announcements(archive) == [("root", "announcement.ended"), ("root", "announcement.made"), ("root", "announcement.made")]
    root.form(after, "/admin/announce", text="Soon over.", until="2026-03-01")
    before = site.bench.now
    site.bench.now = before.replace(day=2, hour=0)
    try:
        assert told_to(site, "alice") is None, "its day is over"
    finally:
        site.bench.now = before
    root.form(root.get("admin/announce"), "/announce/end")


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("", "2026-03-06"),
        (" ", "2026-03-06"),
        ("x" * 501, "2026-03-06"),
        ("a\0b", "2026-03-06"),
        ("x", ""),
        ("x", "<b>"),
        ("x", "2026-02-28"),
        ("x", "2028-01-01"),
    ],
)
def test_an_announcement_that_cannot_be_is_said_and_stays_to_be_mended(site, root, text, until):
    before = site.everything()
    answer = root.form(root.get("admin/announce"), "/admin/announce", text=text, until=until)
    assert (answer.status_code, 'role="alert"' in answer.text, "<b>" in answer.text) == (422, True, False)
    assert f">{text}</textarea>" in answer.text
    assert site.everything() == before


def test_announcements_by_api(site, archive):
    root = site.as_("root")
    made = root.post("api/v1/announcements", json={"text": "Hello.", "until": "2026-03-06"})
    assert (made.status_code, made.json()["user"], told_to(site, "alice")) == (201, "root", "Hello.")
    assert root.post("api/v1/announcements", json={"text": "", "until": "2026-03-06"}).status_code == 422
    assert root.request("DELETE", "api/v1/announcements").status_code == 204
    assert root.request("DELETE", "api/v1/announcements").status_code == 409
    assert root.json("announcements") == {"items": []}
