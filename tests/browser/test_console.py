"""The admins' console in a real browser: on each page one thing is done, and it is done."""

from __future__ import annotations

import hashlib
import json

import pytest
from fixtures.door import Door, sign_in
from fixtures.site import ALL

from archiver import auth, hold, keys, restore
from archiver.ledger.audit import Sought
from archiver.model import RestoreState, TransferState

pytestmark = pytest.mark.browser


@pytest.fixture
def lab(door: Door) -> Door:
    """saxs/run1 (in snow), 2 files."""
    door.bench.ingest("run1", {"a.txt": b"snow", "deep/b.bin": bytes(3000)})
    door.bench.settle()
    return door


@pytest.fixture
def root(page, lab: Door):
    """An admin in the console."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security Policy" in message.text else None)
    sign_in(page, lab, "root", scopes=[*ALL, auth.ADMIN], path="admin")
    yield page
    assert faults == []


def open_page(root, name: str) -> None:
    root.get_by_role("navigation", name="Console").get_by_role("link", name=name).click()


def test_restores_are_approved_denied_and_cancelled(root, lab: Door, monkeypatch):
    monkeypatch.setitem(lab.bench.archive.settings.policy.__dict__, "approval_above_bytes", 1)  # settings are frozen
    ledger = lab.bench.archive.ledger
    asked = [restore.request(lab.bench.archive, user, "saxs/run1", None, 3, ["snow"]) for user in ("alice", "bob")]

    def states() -> list[RestoreState]:
        with ledger.read() as tx:
            return [tx.restore(one.id).state for one in asked]

    open_page(root, "Restores")
    waiting = root.get_by_role("region", name="Waiting for your yes or no")
    waiting.get_by_role("row", name="alice").get_by_role("button", name="Approve the restore of saxs/run1").click()
    root.get_by_role("status").filter(has_text="Approved: saxs/run1, for alice.").wait_for()
    assert states() == [RestoreState.QUEUED, RestoreState.AWAITING_APPROVAL]
    root.get_by_role("link", name="Restores 1 waiting for you").wait_for()
    waiting.get_by_text("Deny …").click()
    waiting.get_by_role("textbox", name="Reason, for bob").fill("alice has it")
    waiting.get_by_role("button", name="Deny", exact=True).click()
    root.get_by_role("status").filter(has_text="Denied: saxs/run1. bob is told your reason.").wait_for()
    waiting.get_by_text("Nothing waits for you.").wait_for()
    root.get_by_role("link", name="Cancel the restore of saxs/run1").click()
    root.get_by_text("3.0 kB in 2 files").wait_for()
    root.get_by_role("button", name="Cancel the restore").click()
    root.get_by_role("status").filter(has_text="Cancelled: the restore of saxs/run1 for alice.").wait_for()
    assert states() == [RestoreState.CANCELLED, RestoreState.DENIED]


def test_a_copy_that_was_given_up_is_tried_again(root, lab: Door):
    with lab.bench.archive.ledger.begin() as tx:
        sick = tx.plan_transfer(tx.objects(1)[0], "deep-2")
        for state in (TransferState.FAILED, TransferState.QUARANTINED):
            tx.change("transfer", tx.transfer(sick), state, error="the store was away")
    open_page(root, "Transfers")
    row = root.get_by_role("row", name="the store was away")
    row.get_by_role("button", name="Try again: saxs/run1 in deep-2").click()
    root.get_by_role("status").filter(has_text="1 copy is tried again.").wait_for()
    root.get_by_text("None was given up.").wait_for()
    with lab.bench.archive.ledger.read() as tx:
        assert tx.transfer(sick).state is TransferState.PLANNED
        assert tx.latest_events(1, 1)[0].actor == "root"


def test_a_hold_is_ended_after_its_numbers_were_shown(root, lab: Door):
    held = hold.request(lab.bench.archive, "alice", "saxs/run1", hold.end_of("2026-09-01"), "for the paper", None, ["snow"])
    open_page(root, "Holds")
    root.get_by_role("link", name="End the hold on saxs/run1").click()
    root.get_by_text("3.0 kB in 2 files").wait_for()
    root.get_by_text("alice holds it for this reason: for the paper").wait_for()
    root.get_by_role("button", name="End the hold").click()
    root.get_by_role("status").filter(has_text="Ended: the hold of alice on saxs/run1.").wait_for()
    root.get_by_text("Nobody holds anything.").wait_for()
    with lab.bench.archive.ledger.read() as tx:
        assert tx.hold(held.id).ended_at is not None
        assert tx.latest_events(1, 1)[0].actor == "root"


def test_an_instrument_is_added_with_a_key_and_loses_it(root, lab: Door):
    open_page(root, "Reception")
    form = root.get_by_role("region", name="Add an instrument")
    form.get_by_role("textbox", name="Short name").fill("tem-1")
    form.get_by_role("textbox", name="What people read").fill("Electron microscope")
    form.get_by_role("textbox", name="Projects it may send to").fill("snow")
    form.get_by_role("button", name="Add", exact=True).click()
    key = root.get_by_role("status").locator("code").inner_text()
    assert keys.sender(lab.bench.archive, key).instrument == "tem-1"
    root.get_by_role("link", name="End the keys of tem-1").click()
    root.get_by_text("1 key ends at once.").wait_for()
    root.get_by_role("button", name="End its keys").click()
    root.get_by_role("status").filter(has_text="1 key of tem-1 ended.").wait_for()
    row = root.get_by_role("row", name="tem-1")
    assert "0 keys" in row.inner_text()
    row.get_by_text("Change …").click()
    row.get_by_role("textbox", name="What people read").fill("TEM")
    row.get_by_role("button", name="Save").click()
    root.get_by_role("status").filter(has_text="Saved: tem-1.").wait_for()
    with lab.bench.archive.ledger.read() as tx:
        assert (tx.instrument("tem-1").title, tx.key_counts().get("tem-1")) == ("TEM", None)
        assert {one.actor for one in tx.deeds(Sought(kind="instrument."), 50) if one.about == "tem-1"} == {"root"}


def test_a_project_is_edited_and_made_public_after_a_question(root, lab: Door):
    open_page(root, "Projects")
    root.get_by_role("link", name="snow", exact=True).click()
    root.get_by_role("textbox", name="Led by").fill("A. Lovelace")
    root.get_by_role("textbox", name="May hold").fill("2 TB")
    root.get_by_role("textbox", name="Public after").fill("2026-02-01")
    root.get_by_role("button", name="Save").click()
    root.get_by_role("heading", name="Make the data of snow public now?").wait_for()
    root.get_by_text("1 dataset becomes public.").wait_for()
    root.get_by_role("button", name="Make them public").click()
    root.get_by_role("status").filter(has_text="Saved: snow.").wait_for()
    with lab.bench.archive.ledger.read() as tx:
        snow, change = tx.project("snow"), tx.project_changes("snow", 1)[0]
        assert (snow.pi, snow.quota_bytes, tx.public_projects(), change.actor) == ("A. Lovelace", 2 * 10**12, ("snow",), "root")


def test_who_did_what_is_found_and_a_files_receipt_shown(root, lab: Door):
    held = hold.request(lab.bench.archive, "alice", "saxs/run1", hold.end_of("2026-09-01"), "for the paper", None, ["snow"])
    hold.end(lab.bench.archive, "bob", held.id, None, admin=True)
    open_page(root, "Audit")
    root.get_by_role("row", name="alice").filter(has_text="hold.placed").wait_for()
    root.get_by_role("textbox", name="Who").fill("bob")
    root.get_by_role("combobox", name="What").select_option("holds")
    root.get_by_role("button", name="Search").click()
    root.get_by_role("row", name="bob").filter(has_text="hold.ended").wait_for()
    assert root.get_by_role("row").count() == 2, "its head, and the one line"
    receipt = root.get_by_role("region", name="A file’s receipt")
    receipt.get_by_role("textbox", name="Dataset").fill("saxs/run1")
    receipt.get_by_role("textbox", name="Path").fill("a.txt")
    receipt.get_by_role("button", name="Show the receipt").click()
    root.get_by_text("The history of its dataset is whole").wait_for()
    for tier in ("hot", "archive", "deep"):
        assert "SHA-256 of the bytes read back" in root.get_by_role("row", name=tier).first.inner_text()
    with root.expect_download() as coming:
        root.get_by_role("link", name="Keep it as JSON").click()
    kept = json.loads(coming.value.path().read_text("utf-8"))
    assert kept["file"]["sha256"] == hashlib.sha256(b"snow").hexdigest()


def test_another_policy_is_tried(root, lab: Door):
    lab.bench.turn(days=30)
    open_page(root, "Plan")
    root.get_by_role("heading", name="The next seven days").wait_for()
    root.get_by_role("textbox", name="Days in hot").fill("20")
    root.get_by_role("button", name="Try it").click()
    root.get_by_role("status").filter(has_text="1 dataset (3.0 kB) would leave fast storage sooner, 0 (0 B) later.").wait_for()
    result = root.get_by_role("region", name="What that would do")
    assert "2026-03-31" in result.get_by_role("row", name="saxs/run1").inner_text(), "today"
    assert lab.bench.archive.settings.tiers["hot"].keep.days == 60


def test_everybody_is_told_and_it_is_taken_back(root, lab: Door):
    open_page(root, "Announce")
    root.get_by_role("textbox", name="What happens, and when").fill("The store rests on Friday.")
    root.get_by_label("Until this day is over").fill("2026-03-06")
    root.get_by_role("button", name="Announce it").click()
    root.get_by_role("complementary", name="Announcement").filter(has_text="The store rests on Friday.").wait_for()
    root.goto(f"{lab.url}/")
    root.get_by_role("complementary", name="Announcement").filter(has_text="The store rests on Friday.").wait_for()
    root.goto(f"{lab.url}/admin/announce")
    root.get_by_role("button", name="Take it back").click()
    root.get_by_text("Nothing is announced.").wait_for()
    assert root.get_by_role("complementary", name="Announcement").count() == 0
    with lab.bench.archive.ledger.read() as tx:
        assert [(one.actor, one.kind) for one in tx.deeds(Sought(actor="root"), 9)] == [("root", "announcement.ended"), ("root", "announcement.made")]
