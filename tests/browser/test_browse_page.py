"""The page "Browse" in a real browser, over a real archive: the notebook's component, by the session's cookie."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures import samples
from fixtures.door import Door, sign_in
from fixtures.site import ALL

from archiver import app

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
    context.close()
