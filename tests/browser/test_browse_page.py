"""The first page, the pages around it and their downloads in a real browser, over a real archive, by the session's cookie."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from fixtures import samples
from fixtures.door import Door, come_back, sign_in
from fixtures.site import ALL

from archiver import announce, app, auth, hold, restore
from archiver.model import TransferState
from archiver.pages.console import shared

pytestmark = pytest.mark.browser


@pytest.fixture
def lab(door: Door, tmp_path: Path) -> Door:
    """saxs/run1 (an image, in snow), saxs/run2 (a table, in snow), saxs/secret (of another project)."""
    for name, project, kind, path in (
        ("run1", "snow", "edf", "frame.edf"),
        ("run2", "snow", "amptek", "fe.mca"),
        ("secret", "ice-cores", "edf", "s.edf"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        samples.write(kind, folder / path)
        app.ingest(door.bench.archive, project, "saxs", name, [folder])
    door.settle()
    return door


@pytest.fixture
def alice(page, lab: Door):
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security Policy" in message.text else None)
    sign_in(page, lab, "alice", "snow", scopes=ALL, path="browse")
    yield page
    assert faults == []


def test_search_open_tag_and_pass_the_address_on(alice, lab: Door):
    alice.get_by_text("2 datasets").wait_for()
    assert alice.get_by_text("secret").count() == 0
    alice.get_by_role("searchbox").fill("run1")
    alice.get_by_text("1 dataset", exact=True).wait_for()
    alice.get_by_role("button", name="saxs/run1", exact=True).click()
    pane = alice.get_by_role("complementary", name="saxs/run1")
    assert pane.get_by_role("img", name="Preview of").evaluate("node => node.decode().then(() => node.naturalWidth)") > 10
    pane.get_by_role("textbox", name="Add a tag").fill("calibrated")
    alice.keyboard.press("Enter")
    pane.locator(".tag", has_text="calibrated").wait_for()
    alice.reload()
    alice.get_by_text("1 dataset", exact=True).wait_for()
    assert alice.get_by_role("searchbox").input_value() == "run1"
    pane.locator(".tag", has_text="calibrated").wait_for()
    with lab.bench.archive.ledger.read() as tx:
        assert list(tx.tags_of([1])[1]) == ["calibrated"]
    pane.get_by_role("link", name="Files, proofs and history").click()
    alice.get_by_role("heading", name="run1").wait_for()


def kept(page, press) -> tuple[str, Path]:
    """The name and the bytes of what the browser keeps when this is pressed."""
    with page.expect_download() as coming:
        press()
    return coming.value.suggested_filename, coming.value.path()


def test_a_file_some_files_and_datasets_are_taken_home_byte_for_byte(alice, lab: Door, tmp_path: Path):
    frame, table = (tmp_path / "run1" / "frame.edf").read_bytes(), (tmp_path / "run2" / "fe.mca").read_bytes()
    alice.get_by_role("button", name="saxs/run1", exact=True).click()
    pane = alice.get_by_role("complementary", name="saxs/run1")
    name, file = kept(alice, pane.get_by_role("link", name="Download frame.edf").click)
    assert (name, file.read_bytes()) == ("frame.edf", frame)

    pane.get_by_role("checkbox", name="Select frame.edf").check()
    pane.get_by_role("link", name="Download 1 file (10.1\u00a0kB)").click()
    alice.get_by_text("10.1 kB in 1 file").wait_for()
    name, file = kept(alice, alice.get_by_role("link", name="Download the ZIP").click)
    with zipfile.ZipFile(file) as packed:
        assert (name, {one: packed.read(one) for one in packed.namelist()}) == ("run1.zip", {"run1/frame.edf": frame})

    alice.goto(f"{lab.url}/")
    for dataset in ("saxs/run1", "saxs/run2"):
        alice.get_by_role("checkbox", name=f"Select {dataset}").check()
    alice.get_by_role("link", name=re.compile("^Download the selected")).click()
    alice.get_by_role("heading", name="Download 2 datasets").wait_for()
    _, file = kept(alice, alice.get_by_role("link", name="Download the ZIP").click)
    with zipfile.ZipFile(file) as packed:
        assert {one: packed.read(one) for one in packed.namelist()} == {"run1/frame.edf": frame, "run2/fe.mca": table}
    name, file = kept(alice, alice.get_by_role("link", name="List of checksums").click)
    sums = {"run1/frame.edf": frame, "run2/fe.mca": table}
    assert (name, file.read_text()) == ("datasets.sha256", "".join(f"{hashlib.sha256(said).hexdigest()}  {path}\n" for path, said in sums.items()))
    name, file = kept(alice, alice.get_by_role("link", name="List for curl").click)
    assert (name, file.read_text().count("output = ")) == ("datasets.curl", 2)

    alice.goto(f"{lab.url}/datasets/1")  # the dataset's own page does the same, also without a script
    name, file = kept(alice, alice.get_by_role("link", name="Download frame.edf").click)
    assert (name, file.read_bytes()) == ("frame.edf", frame)
    alice.get_by_role("checkbox", name="Choose frame.edf").check()
    alice.get_by_role("button", name="Download the chosen files").click()
    alice.get_by_text("10.1 kB in 1 file").wait_for()


def test_troubles_are_sentences(alice, lab: Door):
    alice.get_by_text("2 datasets").wait_for()
    search, alert = alice.get_by_role("searchbox"), alice.get_by_role("alert")
    search.fill("rum1")  # unknown: the nearest
    alice.get_by_text("Nothing fits.").wait_for()
    alice.get_by_role("button", name="saxs/run1", exact=True).click()
    alice.get_by_text("1 dataset", exact=True).wait_for()

    alice.context.set_offline(True)  # the network is cut, and comes back
    search.fill("run2")
    alert.filter(has_text="It is tried again by itself.").wait_for()
    alice.context.set_offline(False)
    alice.get_by_role("button", name="saxs/run2", exact=True).wait_for()
    alert.first.wait_for(state="hidden")

    alice.route("**/api/v1/datasets?*", lambda route: route.fulfill(status=502, content_type="text/html", body="<h1>Bad Gateway</h1>"))
    search.fill("run")  # the archiver is down: its proxy answers
    alert.filter(has_text="The archiver does not answer").wait_for()
    alice.unroute("**/api/v1/datasets?*")
    alice.get_by_text("2 datasets").wait_for()

    alice.context.clear_cookies()  # the session has ended: said, and the way back is to this very search
    search.fill("run1")
    alert.filter(has_text="Your session has ended. Nothing is lost.").wait_for()
    alert.get_by_role("button", name="Sign in again").click()
    alice.wait_for_url("**/hub/api/oauth2/authorize?*")
    come_back(alice, lab, "alice", "snow", scopes=ALL)
    alice.get_by_text("1 dataset", exact=True).wait_for()
    assert search.input_value() == "run1"


def test_troubles_of_a_restore_are_sentences(browser, lab: Door, monkeypatch):
    for _ in range(2):
        lab.bench.turn(days=800)  # only deep is left of what is old
        lab.bench.settle()
    monkeypatch.setitem(lab.bench.archive.settings.policy.__dict__, "approval_above_bytes", 1)  # settings are frozen
    context = browser.new_context(locale="fr-FR")
    page = context.new_page()
    sign_in(page, lab, "alice", "snow", scopes=ALL)
    page.get_by_role("checkbox", name="Sélectionner saxs/run1").check()
    page.get_by_role("button", name="Faire revenir la sélection").click()
    page.get_by_text("Un administrateur doit l’approuver.").wait_for()

    problem = '{"code": "over-quota", "detail": "alice may hold 1 B.", "next_step": "End one."}'  # somebody was quicker since the quote
    page.route("**/api/v1/restores", lambda route: route.fulfill(status=409, content_type="application/problem+json", body=problem))
    ask = page.get_by_role("button", name="Demander")
    ask.click()
    alert = page.get_by_role("alert")
    alert.filter(has_text="Votre quota, ou celui du projet, est utilisé.").wait_for()
    assert alert.locator("[lang=en]").first.inner_text() == "alice may hold 1 B. End one."
    page.unroute("**/api/v1/restores")
    page.get_by_role("button", name="Réessayer").click()
    line = page.locator(".restores li").filter(has_text="saxs/run1")
    line.filter(has_text="attend un administrateur").wait_for()

    plain = context.new_page()
    plain.goto(f"{lab.url}/list")
    plain.locator(".running").wait_for()
    context.set_offline(True)  # cut while it is waited for
    cut = [page.get_by_text("Vos restaurations continuent sans cette page"), plain.get_by_text("Ce qui est en cours continue sans cette page")]
    for said in cut:
        said.wait_for()
    context.set_offline(False)
    for said in cut:
        said.wait_for(state="hidden")
    with lab.bench.archive.ledger.read() as tx:
        (asked,) = tx.restores(None, None, "alice", 5)
    restore.deny(lab.bench.archive, "root", asked.id, "ask for less")
    line.filter(has_text="a été refusée: ").wait_for()
    assert "ask for less" in line.inner_text()
    context.close()


WAYS = {"light": {"width": 1400, "scheme": "light"}, "dark, on a phone": {"width": 390, "scheme": "dark"}}


def look(page, path: str, found: list, wide: list) -> None:
    """Axe's serious and critical findings of the page as it is, and whether it is wider than the window."""
    for way, how in WAYS.items():
        page.set_viewport_size({"width": how["width"], "height": 900})
        page.emulate_media(color_scheme=how["scheme"])
        said = Axe().run(page).response
        assert len(said["passes"]) > 15, "the rules were asked"
        for one in said["violations"]:
            if one["impact"] in ("serious", "critical"):
                found += [(path, way, one["id"], node["html"][:200]) for node in one["nodes"]]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append((path, way))


def test_axe_finds_nothing_serious_on_any_page(browser, lab: Door, monkeypatch):
    """Rules of axe-core, serious and critical ones; and nothing is wider than the window. Both schemes and both widths, each with the other once."""
    hold.request(lab.bench.archive, "alice", "saxs/run1", hold.end_of("2026-09-01"), "for the paper", None, ["snow"], admin=False)
    monkeypatch.setitem(lab.bench.archive.settings.policy.__dict__, "approval_above_bytes", 1)  # settings are frozen
    for user, projects in (("alice", ["snow"]), ("root", None)):  # one waits for an admin, the other does not
        restore.request(lab.bench.archive, user, "saxs/run2", None, 3, projects, admin=projects is None)
    with lab.bench.archive.ledger.begin() as tx:
        for sick in [tx.plan_transfer(obj, "elsewhere") for obj in tx.objects(1)]:
            for state in (TransferState.FAILED, TransferState.QUARANTINED):
                tx.change("transfer", tx.transfer(sick), state, error="the store was away")
        tx.add_notice("alice", "leaving-hot", "2026-03-01", "notebook", "leaves", {"text": "saxs/run1 leaves"})
    found, wide = [], []
    pages = ["", "list", "datasets/1", "a quote", "download?dataset=1", "me", "upload", "nothing"]
    context = browser.new_context(locale="fr-FR")
    page = context.new_page()
    sign_in(page, lab, "alice", "snow", scopes=[*ALL, auth.INGEST])
    for path in pages:
        if path == "a quote":
            page.get_by_role("button", name="Garder dans hot saxs/run1").click()
            page.get_by_role("heading", name="Garder saxs/run1 dans hot ?").wait_for()
        else:
            page.goto(f"{lab.url}/{path}")
        if path == "":
            page.get_by_role("button", name="saxs/run2", exact=True).click()
            page.get_by_role("img", name="Aperçu de").wait_for()
        look(page, path, found, wide)
    context.close()
    context = browser.new_context(locale="fr-FR")
    page = context.new_page()
    sign_in(page, lab, "root", scopes=[*ALL, auth.ADMIN], path="admin")
    announce.make(lab.bench.archive, "root", "Le stockage se repose vendredi.", hold.end_of("2026-03-06"))
    for _, path in shared.PAGES:
        page.goto(f"{lab.url}/admin{path}")
        page.get_by_role("heading", level=1).wait_for()
        look(page, f"admin{path}", found, wide)
    for path in ("projects/snow", "audit/receipt?dataset=saxs/run1&path=frame.edf"):
        page.goto(f"{lab.url}/admin/{path}")
        page.get_by_role("heading", level=1).wait_for()
        look(page, path, found, wide)
    page.goto(f"{lab.url}/admin/plan")
    page.get_by_role("textbox", name="Jours dans hot").fill("0")
    page.get_by_role("button", name="Essayer").click()
    page.get_by_role("heading", name="Ce que cela ferait").wait_for()
    look(page, "a policy that is tried", found, wide)
    for path, link in (
        ("restores", "Annuler la restauration de saxs/run2"),
        ("holds", "Terminer le maintien de saxs/run1"),
        ("reception", "Terminer les clés de saxs"),
    ):
        page.goto(f"{lab.url}/admin/{path}")
        page.get_by_role("link", name=link).click()
        page.get_by_role("heading", name=f"{link} ?").wait_for()
        look(page, link, found, wide)
    assert found == []
    assert wide == []
    context.close()


def test_what_is_anothers_is_not_there(alice):
    alice.goto(f"{alice.url}#3")
    alice.get_by_role("alert").filter(has_text="There is no dataset number 3").wait_for()
    assert alice.locator("aside").is_hidden()


def test_a_quote_of_what_is_here(alice):
    alice.get_by_role("checkbox", name="Select saxs/run2").check()
    alice.get_by_role("button", name="Bring the selected back").click()
    alice.get_by_text("All of it is in fast storage.").wait_for()
    assert alice.get_by_role("button", name="Ask for it").is_disabled()


def test_without_its_own_token_the_api_takes_no_cookie(alice, lab: Door):
    alice.get_by_text("2 datasets").wait_for()
    status = "async ([url, headers]) => (await fetch(url, {headers})).status"
    url = f"{lab.url}/api/v1/datasets"
    assert alice.evaluate(status, [url, {}]) == 401
    assert alice.evaluate(status, [url, {"X-Neve-Xsrf": "guessed"}]) == 401
    xsrf = alice.locator("#browse").get_attribute("data-xsrf")
    assert alice.evaluate(status, [url, {"X-Neve-Xsrf": xsrf}]) == 200


def test_in_french_on_a_phone(browser, lab: Door):
    context = browser.new_context(locale="fr-FR", viewport={"width": 390, "height": 800})
    page = context.new_page()
    sign_in(page, lab, "alice", "snow", scopes=ALL, path="browse")
    page.get_by_text("2 jeux de données").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"{lab.url}/?q=run1#dataset-2")  # as the plain list's forms come back to it
    page.get_by_role("complementary", name="saxs/run2").wait_for()
    cookies = context.cookies()
    context.close()

    context = browser.new_context(locale="fr-FR", java_script_enabled=False)
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(f"{lab.url}/?q=run1")
    page.wait_for_url("**/list?q=run1")
    assert page.locator("table.datasets tbody tr").count() == 1
    context.close()
