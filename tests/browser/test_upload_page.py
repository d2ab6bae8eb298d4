"""The page "Add data" in a real browser, its bytes going to a real store: complete, once, whatever is paused, reloaded or cut off."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from fixtures.door import Door, sign_in
from fixtures.processes import PATIENCE
from fixtures.site import ALL

pytestmark = pytest.mark.browser

PART = 5 * 2**20
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
HOSTILE = "<img src=x onerror=alert(1)> \"'&amp;\n{{ 7*7 }} 🧊\u202egpj.txt"


@pytest.fixture
def door(doors: Callable[..., Door]) -> Door:
    """Parts as small as S3 has them."""
    return doors(f"[reception]\nparts_above_bytes = {PART}\nfile_max_bytes = {100 * PART}\n", worker=f"part_bytes = {PART}")


@pytest.fixture
def alice(page, door: Door):
    """alice's page, in snow, with all that it said of our own scripts' faults."""
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security Policy" in message.text else None)
    sign_in(page, door, "alice", "snow", path="upload")
    yield page
    assert faults == []


@pytest.fixture
def sent(page) -> list[tuple[str, int]]:
    """Every (path, part) that the store took, part 0 being a whole file."""
    taken: list[tuple[str, int]] = []

    def note(response) -> None:
        if response.request.method == "PUT" and response.ok:
            split = urlsplit(response.url)
            taken.append((split.path.rpartition("/")[2], int(parse_qs(split.query).get("partNumber", ["0"])[0])))

    page.on("response", note)
    return taken


def fill(page, dataset: str) -> None:
    page.get_by_label("Instrument").select_option("saxs")
    page.get_by_label("Dataset", exact=True).fill(dataset)


def choose(page, *files: Path) -> None:
    page.locator("#files-input").set_input_files(list(files))


def drop(page, *paths: Path) -> None:
    """Files and folders are dragged from outside the browser onto the area."""
    box = page.locator("#drop").bounding_box()
    where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 20}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    devtools = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, **where, "data": data})
    devtools.detach()


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def state_of(page, path: str):
    return page.locator("tr", has=page.locator("bdi", has_text=path)).locator("td.state > span")


def takes_a_part(response) -> bool:
    return response.request.method == "PUT" and response.ok and "partNumber=" in response.url


def ended(page, sentence: str) -> None:
    page.locator("#end-counts", has_text=sentence).wait_for()


def content(door: Door, name: str) -> dict[str, bytes | None]:
    """What stands in the store of a dataset's received files."""
    with door.bench.archive.ledger.read() as tx:
        dataset = tx.dataset_named("saxs", name)
        return {file.path: door.bench.read(dataset, file.path) for file in tx.files(dataset.id) if file.state == "received"}


def write(folder: Path, **files: bytes) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def large(path: Path, parts: float) -> Path:
    """A file whose parts all differ."""
    path.write_bytes(b"".join(bytes([number + 1]) * min(PART, int(parts * PART) - number * PART) for number in range(int(parts) + 1)))
    return path


class Slow:
    """A network that takes a part in a second, longer on a slow machine, until it is quick again."""

    def __init__(self, page) -> None:
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.send("Network.enable")
        self._limit(int(PART / PATIENCE))

    def _limit(self, upload_bytes_s: int) -> None:
        limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": upload_bytes_s}
        self._devtools.send("Network.emulateNetworkConditions", limits)

    def end(self) -> None:
        self._limit(-1)


def test_a_folder_is_dropped_sent_proven_closed_and_looked_at(alice, door: Door, sent, tmp_path):
    folder = write(tmp_path / "run-42", **{"a.txt": b"one", "sub/deep/b.bin": bytes(70_000), "sub/empty": b""})
    (folder / HOSTILE).write_bytes(b"hostile")
    alice.goto(f"{door.url}/")
    alice.get_by_role("link", name="Add data").first.click()
    alice.get_by_label("Instrument").select_option("saxs")
    drop(alice, folder)
    alice.locator("tbody#rows tr").nth(3).wait_for()
    assert alice.get_by_label("Dataset", exact=True).input_value() == "run-42", "the folder's name is what a dataset is mostly called"
    with door.working():
        press(alice, "Send")
        ended(alice, "4 files received.")
        assert alice.locator("#end-state").inner_text() == "The dataset is closed."
    paths = {"run-42/a.txt": b"one", "run-42/sub/deep/b.bin": bytes(70_000), "run-42/sub/empty": b"", f"run-42/{HOSTILE}": b"hostile"}
    assert content(door, "run-42") == paths
    assert alice.locator("bdi", has_text="onerror").inner_text() == f"run-42/{HOSTILE}"
    assert alice.locator("#rows img").count() == 0
    alice.get_by_role("link", name="Look at saxs/run-42").click()
    alice.get_by_role("heading", name="saxs/run-42").wait_for()

    # The same again is no work, and says so.
    alice.go_back()
    fill(alice, "run-42")
    drop(alice, folder)
    before = len(sent)
    with door.working():
        press(alice, "Send")
        ended(alice, "4 had been received already.")
    assert state_of(alice, "a.txt").inner_text() == "received already"
    assert len(sent) == before


def test_a_large_file_is_paused_reloaded_and_goes_on_where_it_was(alice, door: Door, sent, tmp_path):
    file, small = large(tmp_path / "detector.bin", 6.5), write(tmp_path / "s", **{"log.txt": b"log"})
    slow = Slow(alice)
    fill(alice, "big")
    choose(alice, file, small / "log.txt")
    with alice.expect_response(takes_a_part):
        press(alice, "Send")
    state_of(alice, "detector.bin").filter(has_text="being sent").wait_for()
    press(alice, "Pause")
    assert alice.locator("#said").inner_text() == "Paused."
    state_of(alice, "detector.bin").filter(has_text="waiting").wait_for()

    # Resumed, and cut off once more in the middle, by a reload: what the tab's user is warned of.
    with alice.expect_response(takes_a_part):
        press(alice, "Resume")
    warned: list[str] = []
    alice.once("dialog", lambda dialog: (warned.append(dialog.type), dialog.accept()))
    alice.reload()
    assert warned == ["beforeunload"]
    assert 2 <= len({one for one in sent if one[0] == "detector.bin"}) < 7
    slow.end()

    # The page knows where it was; the same files, added again, go on.
    assert alice.get_by_label("Dataset", exact=True).input_value() == "big"
    assert alice.locator("#going-on").is_visible()
    choose(alice, file, small / "log.txt")
    with door.working():
        press(alice, "Send")
        ended(alice, "file")
    assert alice.locator("#end-state").inner_text() == "The dataset is closed."
    assert content(door, "big") == {"detector.bin": file.read_bytes(), "log.txt": b"log"}
    # The answer for a part that the reload cut off is not seen; what was seen to be taken is never taken again.
    parts = [number for path, number in sent if path == "detector.bin"]
    assert len(parts) == len(set(parts)) and set(parts) <= set(range(1, 8))
    assert [one for one in sent if one[0] == "log.txt"] == [("log.txt", 0)]


def test_a_network_that_is_cut_is_waited_for_and_said(alice, door: Door, tmp_path):
    fill(alice, "cut")
    choose(alice, large(tmp_path / "a.bin", 1.5), *write(tmp_path / "w", **{"b.txt": b"b"}).iterdir())
    alice.context.set_offline(True)
    press(alice, "Send")
    alice.locator("#notice-text", has_text="This computer has no network.").wait_for()
    alice.context.set_offline(False)
    with door.working():
        ended(alice, "2 files received.")
    assert not alice.locator("#notice").is_visible()
    assert set(content(door, "cut")) == {"a.bin", "b.txt"}


def test_an_ended_session_is_signed_in_again_and_it_goes_on(alice, door: Door, tmp_path):
    fill(alice, "session")
    slow = Slow(alice)
    choose(alice, large(tmp_path / "a.bin", 5.5))
    with alice.expect_response(takes_a_part):
        press(alice, "Send")
    alice.context.clear_cookies()
    slow.end()
    link = alice.get_by_role("link", name="Sign in again")
    link.wait_for()
    other = alice.context.new_page()
    sign_in(other, door, "alice", "snow", path="upload")
    other.close()
    with door.working():
        ended(alice, "1 file received.")


def test_what_is_refused_is_told_and_removed_and_the_rest_is_kept(alice, door: Door, sent, tmp_path):
    slow = Slow(alice)
    fill(alice, "some")
    gone = write(tmp_path / "w", **{"gone.txt": b"gone", "good.txt": b"good", "NEVE-ARCHIVED.txt": b"no"})
    choose(alice, *sorted(gone.iterdir()), large(tmp_path / "unwanted.bin", 6.5))
    (gone / "gone.txt").unlink()
    press(alice, "Send")
    alice.get_by_text("The browser cannot read this file any more").wait_for()
    press(alice, "Remove: unwanted.bin")
    slow.end()
    with door.working():
        ended(alice, "1 was not received.")
        assert "stays open" in alice.locator("#end-state").inner_text()
        press(alice, "Remove: gone.txt")
        alice.get_by_text("The dataset is closed.").wait_for()
    assert content(door, "some")["good.txt"] == b"good"
    assert list(door.bench.archive.tiers["hot"].uploads()) == []


def test_a_sending_is_cancelled_and_leaves_nothing_behind(alice, door: Door, tmp_path):
    slow = Slow(alice)
    fill(alice, "never-mind")
    choose(alice, large(tmp_path / "a.bin", 6.5))
    with alice.expect_response(takes_a_part):
        press(alice, "Send")
    press(alice, "Cancel")
    press(alice, "Cancel the sending")
    alice.locator("#upload[data-phase=empty]").wait_for()
    slow.end()
    assert alice.get_by_label("Dataset", exact=True).is_enabled()
    assert content(door, "never-mind") == {}
    assert list(door.bench.archive.tiers["hot"].uploads()) == []


def test_it_speaks_french_to_those_who_ask_for_it(browser, door: Door, tmp_path):
    context = browser.new_context(locale="fr-FR", viewport={"width": 390, "height": 800})
    page = context.new_page()
    sign_in(page, door, "alice", "snow", path="upload")
    assert page.locator("html").get_attribute("lang") == "fr"
    page.get_by_role("heading", name="Ajouter des données").wait_for()
    page.get_by_label("Instrument").select_option("saxs")
    page.locator("#files-input").set_input_files(write(tmp_path / "w", **{"a.txt": b"12"}) / "a.txt")
    press(page, "Envoyer")
    assert page.locator("#notice-text").inner_text() == "Indiquez d’abord où le ranger : Jeu de données."
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than a phone"
    context.close()


def test_without_the_right_or_a_project_there_is_no_page_but_the_next_step(page, door: Door):
    sign_in(page, door, "reader", "snow", scopes=ALL, path="")
    page.get_by_role("heading", name="Datasets").wait_for()
    assert page.get_by_role("link", name="Add data").count() == 0
    answer = page.goto(f"{door.url}/upload")
    assert answer.status == 403
    assert "custom:archiver:ingest" in page.inner_text("main")
    assert "ask an admin" in page.inner_text("main")

    page.context.clear_cookies()
    sign_in(page, door, "eve", path="upload")
    page.get_by_text("You are in no project yet.").wait_for()
    assert page.locator("#upload").count() == 0
    policy = page.request.get(f"{door.url}/upload").headers["content-security-policy"]
    assert re.fullmatch(r"default-src 'self';.*; connect-src 'self' http://127\.0\.0\.1:\d+", policy)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the facilities' files are not at {DATA}")
def test_facilities_own_files_go_in_byte_for_byte(alice, door: Door):
    fill(alice, "facilities")
    truth = {f"data/{path.relative_to(DATA)}": path.read_bytes() for path in DATA.rglob("*") if path.is_file()}
    drop(alice, DATA)
    alice.locator("tbody#rows tr").nth(len(truth) - 1).wait_for()
    with door.working():
        press(alice, "Send")
        ended(alice, f"{len(truth)} files received.")
    assert content(door, "facilities") == truth
