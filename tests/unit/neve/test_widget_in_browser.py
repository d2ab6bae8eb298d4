"""The button's ES module in real Chromium, with a model like the one that Jupyter gives it."""

from pathlib import Path

import neve
import pytest

pytestmark = pytest.mark.browser
STATIC = Path(neve.__file__).parent / "static"
PAGE = """
window.traits = {
  name: "xas/scan7", tier: "deep", tier_text: "deep archive", size_text: "1.0 kB", state: "idle", message: "Back within 3 days.", done: 0, error: "",
  progress_text: "", button_text: "Bring it back", button_label: "Bring xas/scan7 back", card_label: "Dataset xas/scan7", progress_label: "Progress",
  reasons: []};
window.sent = []; window.listeners = [];
window.model = {
  get: (name) => traits[name], send: (what) => sent.push(what), on: (_, f) => listeners.push(f),
  off: (_, f) => { listeners.splice(listeners.indexOf(f), 1); }};
window.set = (values) => { Object.assign(traits, values); listeners.forEach((f) => f()); };
"""


@pytest.fixture
def card(page):
    css, code = (STATIC / "restore_button.css").read_text(), (STATIC / "restore_button.js").read_text()
    page.set_content(f"<html lang=en><title>card</title><style>{css}</style><main id=here></main></html>")
    page.evaluate(f"() => {{ {PAGE} }}")
    page.evaluate(
        """async (code) => {
            const url = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
            window.clean = (await import(url)).default.render({model, el: document.querySelector("#here")});
        }""",
        code,
    )
    return page


def test_by_keyboard_and_for_screen_readers(card):
    assert card.get_by_role("region", name="Dataset xas/scan7").is_visible()
    button = card.get_by_role("button", name="Bring it back: Bring xas/scan7 back")
    card.keyboard.press("Tab")
    assert button.evaluate("node => document.activeElement === node")
    assert button.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    card.keyboard.press("Enter")
    assert card.evaluate("sent") == [{"do": "press"}]
    card.evaluate("set({state: 'asking', button_text: '', message: 'Asking…'})")
    assert button.is_hidden()
    assert card.evaluate("document.activeElement.getAttribute('aria-label')") == "Dataset xas/scan7"
    assert card.get_by_role("status").inner_text() == "Asking…"


def test_progress_and_errors(card):
    assert card.get_by_role("progressbar").count() == 0
    card.evaluate("set({state: 'running', done: 0.25, progress_text: 'being copied · 1 of 4 files', button_text: ''})")
    bar = card.get_by_role("progressbar", name="Progress")
    assert bar.evaluate("node => node.value") == 0.25
    assert card.get_by_text("1 of 4 files").is_visible()
    card.evaluate("set({state: 'error', error: 'The archiver <b>is away</b>.', button_text: 'Try again', reasons: ['a.h5: torn']})")
    assert card.get_by_role("alert").inner_text() == "The archiver <b>is away</b>."
    assert card.get_by_role("listitem").inner_text() == "a.h5: torn"
    assert bar.is_hidden()


def test_colours_follow_the_theme(card):
    section = card.get_by_role("region")
    light = section.evaluate("node => getComputedStyle(node).backgroundColor")
    card.evaluate("document.documentElement.style.setProperty('--jp-layout-color1', 'rgb(17, 17, 17)')")
    assert light == "rgb(255, 255, 255)"
    assert section.evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(17, 17, 17)"


def test_leaving_removes_its_listener(card):
    assert card.evaluate("listeners.length") == 1
    card.evaluate("clean()")
    assert card.evaluate("listeners.length") == 0
