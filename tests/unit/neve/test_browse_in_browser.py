"""The catalog to browse, in real Chromium: the module of the notebook's widget, asking an archiver through the widget's own Python half."""

import base64
import io
from pathlib import Path

import neve
import numpy as np
import pytest
from neve.browsing import Browser
from PIL import Image

pytestmark = pytest.mark.browser
STATIC = Path(neve.__file__).parent / "static"
MODEL = """
window.traits = TRAITS; window.heard = []; window.saved = 0;
window.model = {
  get: (name) => traits[name], set: (name, value) => { traits[name] = value; }, save_changes: () => { saved += 1; },
  on: (_, f) => heard.push(f), off: (_, f) => { heard.splice(heard.indexOf(f), 1); },
  send: async (what) => { for (const said of await window.kernel(what)) heard.forEach((f) => f(said)); }};
"""


@pytest.fixture
def lab(as_notebook):
    for number in range(60):
        tier = ("hot", "archive", "deep")[number % 3]
        as_notebook.add(f"saxs/run{number:02}", {"scan.h5": (b"x" * 1000 * (number + 1), "nexus")}, [tier], age_days=number)
    as_notebook.add("xas/<img src=x onerror=alert(1)>", {"<b>.h5": (b"x", "nexus")}, ["hot"], age_days=70, title="<script>alert(2)</script>")
    picture = io.BytesIO()
    Image.fromarray(np.arange(64, dtype="u1").reshape(8, 8)).save(picture, "PNG")
    as_notebook.previews[1000] = base64.b64encode(picture.getvalue()).decode()
    as_notebook.files[1][0]["has_preview"] = True
    return as_notebook


@pytest.fixture
def open_browser(page, lab, client):
    """Draw `neve.browse()` with these filters; its Python half answers in place of a kernel."""

    def draw(lang="en-GB", kernel=True, **filters):
        browser = Browser(client, filters)
        said = []
        browser.send = said.append

        def ask(content):
            said.clear()
            draw.asked.append(content["ask"])
            if kernel:
                said.append({"to": content["ask"], "heard": True})
                browser._answer(content)
            return list(said)

        page.expose_function("kernel", ask)
        page.set_content(
            f"<html lang=en><title>catalog</title><style>{(STATIC / 'browse.css').read_text()}</style><main><div id=here></div></main></html>"
        )
        traits = {name: getattr(browser, name) for name in ("texts", "first", "filters", "selected")}
        page.evaluate(f"(TRAITS) => {{ {MODEL} }}", traits)
        page.evaluate(
            """async ([code, lang]) => {
                Object.defineProperty(navigator, "language", {value: lang});
                const url = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
                window.clean = (await import(url)).default.render({model, el: document.querySelector("#here")});
            }""",
            [(STATIC / "browse.js").read_text(), lang],
        )
        return page

    draw.asked = []
    return draw


def test_two_views_of_one_widget_take_no_answer_of_the_others(open_browser):
    page = open_browser()
    page.get_by_text("61 datasets").wait_for()
    page.evaluate(
        """async (code) => {
            const url = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
            (await import(url)).default.render({model, el: document.body.appendChild(document.createElement("div"))});
        }""",
        (STATIC / "browse.js").read_text(),
    )
    page.get_by_role("searchbox").nth(1).fill("run02")
    page.get_by_text("1 dataset", exact=True).wait_for()
    assert page.get_by_text("61 datasets").count() == 1
    assert len(open_browser.asked) == len(set(open_browser.asked)) >= 8


def test_search_facets_and_paging(open_browser, lab):
    page = open_browser()
    assert page.get_by_text("61 datasets").is_visible()
    assert page.locator(".list tbody tr").count() == 50
    page.get_by_role("button", name="Show more").click()
    page.wait_for_function("document.querySelectorAll('.list tbody tr').length === 61")
    page.get_by_role("button", name="deep archive", exact=True).click()
    page.get_by_text("20 datasets").wait_for()
    assert page.evaluate("traits.filters.tier") == "deep"
    assert page.get_by_role("button", name="deep archive", exact=True).get_attribute("aria-pressed") == "true"
    page.get_by_role("searchbox").fill("run02")
    page.get_by_text("1 dataset", exact=True).wait_for()
    page.get_by_role("searchbox").fill("run03")
    page.get_by_text("Nothing fits.").wait_for()
    pressed = page.get_by_role("button", name="deep archive", exact=True)
    assert (pressed.get_attribute("aria-pressed"), pressed.locator("..").inner_text()) == ("true", "deep archive 0")
    page.get_by_role("button", name="Clear").click()
    page.get_by_text("61 datasets").wait_for()


def test_as_a_tree(open_browser, lab):
    for number in range(60):
        lab.add(f"xas/scan{number:02}", {"scan.h5": (b"x", "nexus")}, ["hot"], age_days=0.1, project="p2")
    page = open_browser()
    page.get_by_role("button", name="As a tree").click()
    tree = page.locator(".tree")
    tree.locator("summary", has_text="p2").click()
    assert page.locator(".list table").is_hidden()
    tree.locator("summary", has_text="xas 60").click()
    tree.locator("summary", has_text="November 2026").click()
    tree.get_by_role("button", name="xas/scan59", exact=True).wait_for()
    assert tree.get_by_role("checkbox").count() == 50
    tree.get_by_role("button", name="Show more").click()
    page.wait_for_function("document.querySelectorAll('.tree input').length === 60")
    assert page.evaluate("document.activeElement.textContent") == "xas/scan09"
    tree.get_by_role("checkbox", name="Select xas/scan07").check()
    assert page.evaluate("traits.selected") == ["xas/scan07"]
    # Narrowed, what was open stays open; back in the table what was ticked is ticked.
    page.get_by_role("searchbox").fill("scan07")
    tree.locator("summary", has_text="xas 1").wait_for()
    page.wait_for_function("document.querySelectorAll('.tree input:checked').length === 1")
    tree.get_by_role("button", name="xas/scan07", exact=True).click()
    page.get_by_role("complementary", name="xas/scan07").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.closest('.tree') !== null")
    page.get_by_role("button", name="As a tree").click()
    page.locator(".list table").wait_for()
    assert page.get_by_role("checkbox", name="Select xas/scan07").is_checked()


def test_what_it_was_made_of_is_one_press_away(open_browser, lab):
    lab.edges = [(2, 1), (3, 2)]
    page = open_browser()
    page.get_by_role("button", name="saxs/run01", exact=True).click()
    pane = page.locator("aside")
    pane.get_by_text("Made into:").get_by_role("button", name="saxs/run02").wait_for()
    pane.get_by_text("Made of:").get_by_role("button", name="saxs/run00").click()
    page.get_by_role("complementary", name="saxs/run00").get_by_text("Made into:").wait_for()
    assert pane.get_by_text("Made of:").count() == 0


def test_names_are_text(open_browser):
    page = open_browser(q="xas")
    page.get_by_role("button", name="xas/<img src=x onerror=alert(1)>", exact=True).click()
    page.get_by_role("heading", name="xas/<img").wait_for()
    assert page.locator("img").count() == 0
    assert page.locator("aside").get_by_text("<b>.h5").is_visible()


def test_one_dataset(open_browser, lab):
    page = open_browser()
    page.get_by_role("button", name="saxs/run00", exact=True).click()
    pane = page.get_by_role("complementary", name="saxs/run00")
    pane.wait_for()
    assert pane.get_by_role("img", name="Preview of scan.h5").evaluate("node => node.decode().then(() => node.naturalWidth)") == 8
    assert pane.get_by_text("silver").is_visible()
    assert pane.get_by_text('neve.download("saxs/run00")').is_visible(), "a notebook takes data home by code"
    assert pane.get_by_role("link", name="Download").count() == 0
    # As JupyterLab does in a cell's output.
    page.evaluate("document.addEventListener('beforeinput', (event) => event.inputType === 'insertLineBreak' && event.preventDefault(), true)")
    pane.get_by_role("textbox", name="Add a tag").fill("good")
    page.keyboard.press("Enter")
    pane.get_by_text("good", exact=False).wait_for()
    assert lab.datasets[1]["tags"] == ["good"]
    pane.get_by_role("button", name="Remove good").click()
    page.wait_for_function("document.querySelectorAll('.tag').length === 0")
    pane.get_by_role("button", name="Copy as code").click()
    pane.get_by_text('cat["saxs/run00"].read()').wait_for()
    pane.get_by_role("button", name="Keep until …").click()
    pane.get_by_label("Until").fill("2027-03-01")
    pane.get_by_label("Reason").fill("for the paper")
    pane.get_by_role("button", name="Ask for it").click()
    pane.get_by_text("Kept until").wait_for()
    assert [(hold["dataset"], hold["reason"]) for hold in lab.holds] == [("saxs/run00", "for the paper")]
    page.keyboard.press("Escape")
    assert pane.is_hidden()
    assert page.evaluate("document.activeElement.textContent") == "saxs/run00"


def test_select_quote_confirm_restore(open_browser, lab):
    lab.script = ["queued", "copying", "ready"]
    page = open_browser(q="run02")
    page.get_by_role("checkbox", name="Select saxs/run02").check()
    assert page.evaluate("traits.selected") == ["saxs/run02"]
    page.get_by_role("button", name="Bring the selected back … (1)").click()
    page.get_by_text("3.0\u00a0kB of 3.0\u00a0kB to bring back, within 3 days; cost: unknown.").wait_for()
    assert lab.restores == {}
    page.get_by_role("button", name="Ask for it").click()
    page.get_by_text("Asked for.").wait_for()
    line = page.locator(".restores li").filter(has_text="saxs/run02")
    line.wait_for()
    for _ in range(3):
        lab.step(1)
    line.filter(has_text="ready").wait_for(timeout=20_000)
    page.locator(".list .badge[data-tier=hot]").wait_for()
    line.get_by_role("button", name="7 days more").click()
    page.wait_for_function("document.querySelector('.restores').textContent.includes('ready')")
    assert lab.restores[1]["keep_days"] == 14


def test_more_than_the_quota_cannot_be_asked_for(open_browser, lab):
    lab.quote_says = {"room": {"left_bytes": 1, "fits": False}, "needs_approval": True}
    page = open_browser(q="run02")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Bring the selected back").click()
    page.get_by_text("It is more than your quota, or the room there is now. An admin has to approve it.").wait_for()
    assert page.get_by_role("button", name="Ask for it").is_disabled()


def test_what_goes_wrong_is_a_sentence_and_can_be_tried_again(open_browser, lab):
    page = open_browser()
    page.get_by_text("61 datasets").wait_for()
    lab.fail += [(403, "application/problem+json", b'{"code": "not-allowed", "detail": "It is not yours.", "next_step": "Ask."}')] * 2
    page.get_by_role("searchbox").fill("run02")
    page.get_by_role("alert").filter(has_text="It is not yours. Ask.").wait_for()
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("1 dataset", exact=True).wait_for()
    assert page.get_by_role("alert").is_hidden()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ((502, "text/html", b"no route"), "is not the archiver (status 502). Try again in a moment"),
        ((401, "text/html", b""), "Your sign-in is not known any more. Stop your server in the hub's control panel and start it again."),
        (
            (409, "application/problem+json", b'{"code": "over-quota", "detail": "It is too much.", "next_step": "End one."}'),
            "It is too much. End one.",
        ),
    ],
)
def test_trouble_from_the_start_is_a_sentence_and_passes(open_browser, lab, trouble, said):
    lab.fail += [trouble] * 9
    page = open_browser()
    page.get_by_role("alert").filter(has_text=said).wait_for()
    lab.fail.clear()
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("61 datasets").wait_for()
    assert page.get_by_role("alert").is_hidden()


def test_a_quote_that_is_refused_asks_for_nothing(open_browser, lab):
    page = open_browser(q="run02")
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Bring the selected back").click()
    page.get_by_text("to bring back, within").wait_for()
    real = lab.answer
    over = lab.problem(409, "over-quota")
    lab.answer = lambda method, path, *rest: over if (method, path.endswith("/restores")) == ("POST", True) else real(method, path, *rest)
    page.get_by_role("button", name="Ask for it").click()
    page.get_by_role("alert").filter(has_text="It is over-quota. Do this.").wait_for()
    assert lab.restores == {}


def test_what_neve_itself_cannot_do_is_said_too(client, lab, monkeypatch):
    browser = Browser(client, {})
    said = []
    browser.send = said.append
    monkeypatch.setattr(client, "ask", lambda *_: 1 / 0)
    browser._answer({"ask": 1, "method": "GET", "path": "datasets"})
    assert said == [
        {
            "to": 1,
            "problem": {
                "code": "failed",
                "detail": "neve could not ask that (ZeroDivisionError: division by zero).",
                "next_step": "Run the cell again.",
            },
        }
    ]


def test_the_still_is_what_was_shown_last(client, lab):
    browser = Browser(client, {})
    browser.send = lambda _: None
    kept = []
    browser._still.change = lambda html, text: kept.append(text.partition("\n")[0])
    for number, words, shown in ((1, "xas", True), (3, "run02", True), (2, "run03", True), (4, "run04", False)):
        browser.filters = {"q": words}
        browser._answer({"ask": number, "method": "GET", "path": "datasets", "query": {"q": words, "limit": 50}, "shown": shown})
    assert kept == ["<Névé catalog (q xas): 1 dataset>", "<Névé catalog (q run02): 1 dataset>"]


def test_no_secret_goes_to_the_browser_or_into_the_file(client, lab):
    browser = Browser(client, {"q": "run"})
    assert "secret-token" not in str(browser.get_state()) + str(browser._last) + repr(browser)
    assert "61 datasets" not in browser._last[1]
    assert browser._last[1].startswith("<Névé catalog (q run): 60 datasets>")


def test_what_the_api_does_not_offer_to_a_browser_is_refused(client, lab):
    browser = Browser(client, {})
    said = []
    browser.send = said.append
    for method, path in (("POST", "credentials"), ("GET", "datasets/1/../../x"), ("GET", "restores\n"), ("DELETE", "datasets/1")):
        browser._answer({"ask": 1, "method": method, "path": path})
        assert said.pop()["problem"]["code"] == "wrong-use"
    assert lab.asked("POST", "credentials") == []


def test_in_french(open_browser):
    page = open_browser(lang="fr-FR")
    page.get_by_text("61 jeux de données").wait_for()
    assert page.get_by_role("button", name="archive profonde", exact=True).is_visible()
    assert page.locator(".neve-browse").get_attribute("lang") == "fr"


def test_without_a_kernel_what_was_saved_is_shown(open_browser, page):
    page.clock.install()
    page = open_browser(kernel=False)
    assert page.locator(".list tbody tr").count() == 50
    page.clock.run_for(6000)
    page.get_by_text("As it was when this was saved").wait_for()
    assert page.get_by_role("searchbox").is_hidden()


def test_leaving_ends_it(open_browser):
    page = open_browser()
    assert page.evaluate("heard.length") == 1
    page.evaluate("clean()")
    assert page.evaluate("heard.length") == 0


def test_texts_are_there_in_both_languages():
    import json

    texts = json.loads((STATIC / "browse.texts.json").read_text())
    for name, (english, french) in texts.items():
        assert english, name
        assert french, name
        assert english.count("|") == french.count("|"), name
        assert sorted(part.split("}")[0] for part in english.split("{")[1:]) == sorted(part.split("}")[0] for part in french.split("{")[1:]), name
