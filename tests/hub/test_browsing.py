"""The scientist's side in the real thing: the hub's login, a container, JupyterLab, `neve.browse()`, a deep dataset brought back, and its plot.

The pictures of extensions/README.md are taken here: NEVE_TEST_PICTURES=images/pictures keeps them.
"""

from __future__ import annotations

import json
import re

import nbformat
import pytest
from fixtures.chromium import take_picture
from fixtures.processes import wait_until
from hub.lab import Lab

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.fuse]

TIERS_WITHIN_S = 180
RESTORED_WITHIN_MS = 60_000
BROWSE = "import neve\n\nwindow = neve.browse()\nwindow"
PLOT = """\
data = neve.catalog()[window.selected[0]].read()
data[data.attrs["signal"]].plot()
print(data.encoding["source"])"""
# Contrast of a text with what is behind it, as WCAG counts it.
CONTRAST = """node => {
  const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  let behind = node;
  while (rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const two = [light(rgb(getComputedStyle(node).color)), light(rgb(getComputedStyle(behind).backgroundColor))].sort((a, b) => b - a);
  return (two[0] + 0.05) / (two[1] + 0.05);
}"""


@pytest.fixture(scope="module")
def somewhere_deep(containers):
    """The worker has laid the demo's data into all tiers."""
    with containers.api("alice") as api:

        def there() -> bool:
            answer = api.get(f"{containers.url}/services/archiver/api/v1/datasets", params={"q": "xas", "tier": "deep"})
            return answer.status_code == 200 and answer.json()["total"] >= 1

        wait_until(there, TIERS_WITHIN_S, "xas datasets that lie in deep only", pause_s=1)


@pytest.fixture
def lab(page, instance, somewhere_deep):
    opened = Lab(page, instance, "alice")
    opened.enter()
    return opened


@pytest.fixture
def token(containers, docker_engine):
    """The secret of alice's notebook."""

    def read() -> str:
        return docker_engine.docker("exec", containers.container("alice"), "printenv", "JUPYTERHUB_API_TOKEN")

    return read


def test_from_the_search_to_the_plot(lab: Lab, page, tmp_path):  # noqa: PLR0915 - one way, as a person goes it
    lab.write("Browse.ipynb", BROWSE, "window.selected", PLOT)
    lab.open("Browse.ipynb")
    out = lab.run(0)
    widget = out.locator(".neve-browse")
    rows = widget.locator(".list tbody tr")
    rows.first.wait_for()
    assert not out.locator("[data-neve-still]").is_visible()

    # Search, then a facet: the server's count, and rows of that place only.
    widget.get_by_role("searchbox").fill("xas")
    widget.get_by_text("7 datasets", exact=True).wait_for()
    widget.get_by_role("button", name="deep archive", exact=True).click()
    widget.locator(".count", has_text=re.compile(r"^[1-6] datasets?$")).wait_for()
    assert set(rows.locator(".badge").all_inner_texts()) == {"deep archive"}

    # One dataset: its preview, what it says of itself, a tag by Enter, as in any form.
    name = rows.first.get_attribute("data-name")
    rows.first.get_by_role("button", name=name).click()
    pane = widget.get_by_role("complementary", name=name)
    preview = pane.get_by_role("img", name="Preview of")
    preview.wait_for()
    assert preview.evaluate("node => node.decode().then(() => node.naturalWidth)") > 50
    assert pane.get_by_role("cell", name="NXxas").is_visible()
    pane.get_by_role("textbox", name="Add a tag").fill("calibrated")
    page.keyboard.press("Enter")
    pane.locator(".tag", has_text="calibrated").wait_for()
    over = pane.bounding_box()["x"] - max(row.bounding_box()["x"] + row.bounding_box()["width"] for row in rows.all())
    assert over >= 0, "the dataset covers the list"
    take_picture(page, "notebook-browse", tmp_path)
    pane.get_by_role("button", name="Close").click()

    # What it would mean, the question, and the way back with its progress.
    rows.first.get_by_role("checkbox").check()
    widget.get_by_role("button", name="Bring the selected back … (1)").click()
    widget.get_by_text(re.compile(r"kB of \S+\skB to bring back, within 3 days")).wait_for()
    widget.get_by_role("button", name="Ask for it").click()
    line = widget.locator(".restores li", has_text=name)
    bar = line.get_by_role("progressbar", name=f"Progress of {name}")
    bar.wait_for()
    line.filter(has_text=re.compile("being (fetched|copied)")).wait_for()
    assert bar.is_visible()
    assert "at the latest" in line.inner_text()
    take_picture(page, "notebook-restore", tmp_path)
    line.filter(has_text=re.compile(r"ready · (\S+\skB) / \1 · until ")).wait_for(timeout=RESTORED_WITHIN_MS)
    assert bar.is_hidden()
    page.wait_for_function("name => !document.querySelector(`.list tr[data-name='${name}']`)", arg=name)  # narrowed to deep, where it is no more
    widget.get_by_role("button", name="deep archive", exact=True).click()
    rows.filter(has_text=name).locator(".badge", has_text="fast storage until").wait_for()

    # The next cells have what was ticked, at its path.
    assert lab.run(1).inner_text().strip().endswith(f"['{name}']")
    shown = lab.run(2)
    plot = shown.locator("img")
    plot.wait_for()
    assert plot.evaluate("node => node.decode().then(() => node.naturalWidth)") > 300
    assert re.search(rf"^/data/\S+/{name.partition('/')[2]}/", shown.inner_text(), re.MULTILINE)
    plot.scroll_into_view_if_needed()
    take_picture(page, "notebook-plot", tmp_path)

    # A restart loses what was ticked, and nothing else: the cell run again finds restore and tag. In the dark, all can be read.
    lab.restart()
    lab.choose("Settings", "Theme", "JupyterLab Dark")
    lab.run(0)
    rows.first.wait_for()
    widget.get_by_text("My restores").click()
    line.filter(has_text="ready").wait_for()
    widget.get_by_role("button", name="calibrated", exact=True).click()
    widget.get_by_text("1 dataset", exact=True).wait_for()
    assert rows.first.get_attribute("data-name") == name
    assert page.evaluate("document.body.dataset.jpThemeLight") == "false"
    for part in (rows.locator("td").nth(1), rows.get_by_role("button").first, widget.locator(".count"), line, widget.locator("thead th").nth(1)):
        assert part.evaluate(CONTRAST) >= 4.5, part
    lab.choose("Settings", "Theme", "JupyterLab Light")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # nbconvert's own
def test_saved_without_a_kernel_and_in_the_plain_notebook(lab: Lab, page, token):
    from nbconvert import HTMLExporter

    lab.write("Saved.ipynb", BROWSE, 'neve.restore_button("weather-2024")', "neve.restore_button(next(iter(neve.catalog().search(tier='deep'))))")
    lab.open("Saved.ipynb")
    widget = lab.run(0).locator(".neve-browse")
    widget.get_by_role("searchbox").fill("weather")
    widget.get_by_text("15 datasets", exact=True).wait_for()
    widget.get_by_role("button", name="deep archive", exact=True).click()
    widget.locator(".count", has_text=re.compile(r"^\d datasets$")).wait_for()
    names = [row.get_attribute("data-name") for row in widget.locator(".list tbody tr").all()]
    assert "There is no dataset weather-2024" in lab.run(1).inner_text()
    lab.run(2).get_by_role("status").get_by_text("Back within 3 days of asking.").wait_for()
    text = lab.saved("Saved.ipynb")
    assert "(q weather, tier deep)" in text
    assert token() not in text
    assert len(token()) >= 32

    # Without the kernel that made it: the table as it was shown last, no dead widget.
    lab.end_kernels()
    lab.open("Saved.ipynb")
    for number, words in ((0, "run the cell again"), (1, "There is no dataset weather-2024"), (2, "Back within 3 days of asking.")):
        lab.cell(number).locator("[data-neve-still]", has_text=words).wait_for()
    assert lab.cell(0).locator("[data-neve-still] tbody tr").locator("td:first-child").all_inner_texts() == names
    page.wait_for_function("document.querySelectorAll('.jp-OutputArea-output.jupyter-widgets').length === 3")
    assert not [error for error in page.get_by_text("Error displaying widget").all() if error.is_visible()]
    assert page.locator(".neve-browse").count() == 0

    # And on a page without any Jupyter.
    html, _ = HTMLExporter().from_notebook_node(nbformat.from_dict(json.loads(text)))
    page.set_content(html)
    page.get_by_role("cell", name=names[0], exact=True).first.wait_for()
    assert page.get_by_text("Error displaying widget").count() == 0

    # The plain notebook runs the same widget.
    lab.open("Saved.ipynb", app="notebooks")
    widget = lab.run(0).locator(".neve-browse")
    widget.get_by_text(re.compile(r"^\d+ datasets$")).wait_for()  # other tests of this instance may have added some
    widget.get_by_role("searchbox").fill("xas")
    widget.get_by_text("7 datasets", exact=True).wait_for()
    lab.end_kernels()
