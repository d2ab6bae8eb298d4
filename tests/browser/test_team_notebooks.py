"""Team notebooks in JupyterLab: a notebook that two people save, a big file, and what is said while the store is away."""

from __future__ import annotations

import re
import secrets
from urllib.parse import quote

import nbformat
import pytest
from fixtures.processes import wait_until

pytestmark = pytest.mark.browser
WITHIN_MS = 60_000


def opened(page, lab, path: str = "") -> None:
    page.goto(f"{lab.http.base_url}lab{quote(path and '/tree/' + path)}?reset&token={lab.token}")
    page.locator(".jp-DirListing-content").first.wait_for(timeout=WITHIN_MS)


def test_who_saves_second_is_told_and_chooses(page, labs, team_door):
    lab = labs("alice")
    path, nb = "team/snow/our fit + é.ipynb", nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os; print(os.getcwd(), 6 * 7)")])
    nb.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    assert lab.ask("PUT", path, {"type": "notebook", "content": nb}).status_code == 201
    opened(page, lab, path)
    page.get_by_text("| Idle").wait_for(timeout=WITHIN_MS)
    page.locator(".jp-Cell .jp-InputArea-editor").first.click()
    page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output", has_text=f"{lab.home} 42").wait_for(timeout=WITHIN_MS)

    def saved() -> list[str]:
        body = team_door.objects("snow")[f"snow/{path.removeprefix('team/snow/')}"]
        return [cell.source for cell in nbformat.reads(body.decode(), as_version=4).cells]

    def save() -> None:
        page.locator(".jp-NotebookPanel").press("Control+s")

    with page.expect_response(lambda answer: answer.request.method == "PUT" and answer.status == 200):
        save()
    assert saved()[0].endswith("6 * 7)")
    nb.cells[0].source = "'of a colleague'"
    team_door.s3.put_object(Bucket=team_door.bucket, Key=f"snow/{path.removeprefix('team/snow/')}", Body=nbformat.writes(nb).encode())
    page.locator(".jp-Cell .jp-InputArea-editor").first.click()
    page.keyboard.type("# mine\n")
    save()
    dialog = page.locator(".jp-Dialog", has_text="has changed on disk")
    dialog.wait_for()
    assert saved() == ["'of a colleague'"]
    with page.expect_response(lambda answer: answer.request.method == "PUT" and answer.status == 200):
        dialog.get_by_role("button", name="Overwrite").click()
    assert any("# mine" in cell for cell in saved())
    versions = lab.ask("GET", f"{path}/checkpoints").json()
    assert len(versions) == 4

    # The colleague's is offered among the checkpoints, the newest first.
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^File$")).click()
    page.locator(".lm-Menu-itemLabel:visible", has_text="Revert Notebook to Checkpoint").click()
    dialog = page.locator(".jp-Dialog")
    dialog.locator("select").select_option(index=1)
    dialog.get_by_role("button", name="Ok").click()
    page.locator(".jp-Dialog").get_by_role("button", name="Revert").click()
    page.locator(".jp-Cell", has_text="'of a colleague'").wait_for()
    assert saved() == ["'of a colleague'"]


def test_a_big_file_goes_up_and_a_store_that_is_away_is_named(page, labs, team_door, free_port, tmp_path):
    content = secrets.token_bytes(17 << 20)  # above 15 MiB the lab sends pieces
    (tmp_path / "big + é.bin").write_bytes(content)
    opened(page, labs("alice"), "team/snow")
    with page.expect_file_chooser() as chooser:
        page.locator("[data-command='filebrowser:upload'], [title^='Upload']").first.click()
    chooser.value.set_files(tmp_path / "big + é.bin")
    page.locator(".jp-Dialog").get_by_role("button", name="Upload").click()  # it is that big, says the lab
    wait_until(lambda: team_door.objects("snow") == {"snow/big + é.bin": content}, 60, "the big file in the store")
    page.locator(".jp-DirListing-item", has_text="big + é.bin").wait_for(timeout=WITHIN_MS)

    lab = labs("bob", NEVE_S3_URL=f"http://127.0.0.1:{free_port()}")
    opened(page, lab)
    page.locator(".jp-DirListing-item", has_text=re.compile("^team")).dblclick()
    page.locator(".jp-DirListing-item", has_text="ice-cores").dblclick()
    page.locator(".jp-DirListing-item", has_text="NEVE-AWAY.txt").dblclick()
    page.locator(".jp-FileEditor", has_text="The store of team notebooks cannot be reached").wait_for(timeout=WITHIN_MS)
