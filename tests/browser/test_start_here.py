"""The whole way, as a scientist goes it: log in, start the server, run "Start here", see the plots; then the dataset page.

Nothing is mocked: the hub with its proxy, the notebook in a container, the mounts, the store, the archiver and Chromium are real.
The pictures of README.md are taken here: NEVE_TEST_PICTURES=images/pictures keeps them.
"""

from __future__ import annotations

import json
import re

import pytest
from fixtures.chromium import log_in, take_picture
from fixtures.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.fuse]

SERVER_WITHIN_S = 150
RUN_WITHIN_S = 300
TIERS_WITHIN_S = 180
RESTORED_WITHIN_S = 90
NOTEBOOK = "Start here.ipynb"


def wait_for_tiers(page, instance) -> None:
    """Wait until the worker has laid the demo's data into all tiers: somebody's first minutes, which the tests skip."""

    def all_there() -> bool:
        for tier in ("hot", "archive", "deep"):
            page.goto(f"{instance.url}/services/archiver/list?tier={tier}")
            if page.locator("table.datasets tbody tr").count() == 0:
                return False
        return True

    wait_until(all_there, TIERS_WITHIN_S, "datasets in hot, archive and deep", pause_s=1)


def saved_notebook(page, instance, user: str) -> dict:
    """The notebook as it lies in the user's home, through the server's own API and the browser's cookies; whole, though it may be saved just now."""
    answer = page.request.get(f"{instance.url}/user/{user}/api/contents/{NOTEBOOK}?content=1")
    assert answer.ok, answer.text()
    return answer.json()["content"]


def output_texts(cells: list[dict]) -> str:
    """Everything the cells have printed, shown as text or raised."""
    said: list[str] = []
    for cell in cells:
        for output in cell.get("outputs", []):
            said += ["".join(output.get("text", [])), output.get("ename", ""), output.get("evalue", "")]
            said += ["".join(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(said)


def said_by(notebook: dict, source: str) -> str:
    """What the one code cell with `source` in it has said."""
    found = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and source in "".join(cell["source"])]
    assert len(found) == 1, f"{len(found)} cells contain {source!r}"
    return output_texts(found)


def test_a_scientist_runs_start_here_in_a_container(page, instance, docker_engine, singleuser_image, tmp_path):
    page.goto(f"{instance.url}/")
    page.wait_for_selector("#login_submit")
    take_picture(page, "login", tmp_path)
    log_in(page, instance, "alice")
    page.wait_for_url(re.compile(r"/(user/alice|hub/)"))
    wait_for_tiers(page, instance)
    page.goto(f"{instance.url}/hub/")

    # The server starts by itself after the login, or by the button of the hub's home page.
    page.wait_for_url(re.compile(r"/(user/alice|hub/(home|spawn))"))
    if "/hub/home" in page.url:
        page.click("#start")
    page.wait_for_url(re.compile(r"/user/alice/lab"), timeout=SERVER_WITHIN_S * 1000)

    # It runs in a container of our image, and holds no more than it should.
    number = (instance.home / "instance-id").read_text().strip()
    containers = docker_engine.docker("ps", "--filter", f"label=neve.instance={number}", "--format", "{{.Names}}").split()
    assert len(containers) == 1
    inspected = json.loads(docker_engine.docker("inspect", containers[0]))[0]
    assert inspected["Image"] == json.loads(docker_engine.docker("image", "inspect", singleuser_image))[0]["Id"]
    environment = docker_engine.docker("exec", containers[0], "env")
    assert "AWS_SECRET_ACCESS_KEY" not in environment

    entry = page.locator(".jp-DirListing-item", has_text=NOTEBOOK)
    entry.wait_for(timeout=60_000)
    entry.dblclick()
    page.locator(".jp-NotebookPanel").wait_for()
    page.get_by_text("| Idle").wait_for(timeout=60_000)

    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(r"^Run$")).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(r"^Run All Cells$")).click()

    def finished() -> dict | None:
        if page.get_by_text("| Idle").count() == 0 or page.locator(".jp-InputPrompt", has_text="[*]").count():
            return None
        page.locator(".jp-NotebookPanel").press("Control+s")
        notebook = saved_notebook(page, instance, "alice")
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
        return notebook if all(cell["execution_count"] for cell in code) else None

    notebook = wait_until(finished, RUN_WITHIN_S, "the run of Start here", pause_s=1)

    errors = [f"{o['ename']}: {o['evalue']}" for cell in notebook["cells"] for o in cell.get("outputs", []) if o["output_type"] == "error"]
    assert not errors
    plots_saved = [output for cell in notebook["cells"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(plots_saved) == 3, output_texts(notebook["cells"])
    # Hot is read at its path, what is cold says so with the line that asks for it, and comes back to its path.
    assert "Read from: /data/" in said_by(notebook, 'newest("hot")')
    assert "neve.restore(" in said_by(notebook, "except neve.ColdDataError")
    assert re.search(r"\bready\b", said_by(notebook, ".wait()"))
    assert "Read from: /data/" in said_by(notebook, "cold.read()\nprint")

    # The plots can be seen, not only found in the file.
    plots = page.locator(".jp-OutputArea img")
    assert plots.count() == 3
    for number in range(plots.count()):
        plots.nth(number).scroll_into_view_if_needed()
        assert plots.nth(number).bounding_box()["height"] > 100
    take_picture(page, "start-here", tmp_path)

    # The file with the plots lies in the container's home; /data is there and can't be written.
    assert "image/png" in docker_engine.docker("exec", containers[0], "cat", f"/home/jovyan/{NOTEBOOK}")
    assert docker_engine.docker("exec", containers[0], "ls", "/data")
    refused = docker_engine.docker("exec", containers[0], "sh", "-c", "for p in /data/*; do touch $p/x 2>&1 || echo refused; done")
    assert refused.count("refused") >= 1
    assert "touch" in refused


def test_the_dataset_page_lists_tiers_and_restores_one(page, instance, tmp_path):
    log_in(page, instance, "bob")
    page.wait_for_url(re.compile(r"/(user/bob|hub/)"))
    page.goto(f"{instance.url}/services/archiver/list")
    rows = page.locator("table.datasets tbody tr")
    wait_for_tiers(page, instance)
    page.goto(f"{instance.url}/services/archiver/list")
    assert rows.count() >= 3
    take_picture(page, "datasets", tmp_path)

    page.goto(f"{instance.url}/services/archiver/list?tier=deep")
    cold = rows.first
    row = page.locator(f"#{cold.get_attribute('id')}")
    assert row.locator(".tier-deep").count() == 1
    link = row.locator("a").first.get_attribute("href")
    row.get_by_role("button", name=re.compile(r"^Restore")).click()
    page.get_by_text("This is what it would mean").wait_for()
    take_picture(page, "quote", tmp_path)
    page.get_by_role("button", name="Restore it").click()

    # Its state is followed without a reload; then its own page says until when it is back.
    row.locator("progress, .good").first.wait_for()
    row.get_by_text(re.compile(r"Restored, until")).wait_for(timeout=RESTORED_WITHIN_S * 1000)
    take_picture(page, "restored", tmp_path)
    page.goto(f"{instance.url}{link}")
    assert page.locator("#main .tier-hot").count() >= 1
    assert "Restored, until" in page.inner_text("#main")


def test_the_page_browse_shows_a_dataset_and_what_bringing_another_back_takes(page, instance, tmp_path):
    log_in(page, instance, "bob")
    page.wait_for_url(re.compile(r"/(user/bob|hub/)"))
    wait_for_tiers(page, instance)
    page.goto(f"{instance.url}/services/archiver/browse")
    rows = page.locator(".list tbody tr")
    rows.filter(has_text="fast storage").first.wait_for()
    name = rows.filter(has_text="fast storage").first.get_attribute("data-name")
    page.get_by_role("button", name=name, exact=True).click()
    page.get_by_role("complementary", name=name).get_by_role("img", name="Preview of").wait_for()
    page.get_by_role("button", name="deep archive", exact=True).click()
    rows.filter(has_text="fast storage").first.wait_for(state="detached")
    rows.first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Bring the selected back").click()
    page.get_by_text(re.compile("to bring back, within")).wait_for()
    take_picture(page, "browse", tmp_path)
