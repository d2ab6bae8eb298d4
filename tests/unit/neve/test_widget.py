"""The button: what its traits say, from the server's state; the browser's part is in test_widget_in_browser.py."""

import threading

import pytest
from fixtures.processes import wait_until
from neve import widget
from neve.widget import TEXTS, RestoreButton, restore_button


@pytest.fixture
def lab(as_notebook, monkeypatch):
    monkeypatch.setattr(widget, "FIRST_PAUSE_S", 0.02)
    as_notebook.add("xas/scan7", {"scan.h5": (b"x" * 1000, "nexus")}, ["deep"])
    as_notebook.add("saxs/run1", {"scan.h5": (b"x" * 1000, "nexus")}, ["hot"])
    as_notebook.add("saxs/run2", {"scan.h5": (b"x" * 1000, "nexus")}, ["archive"])
    as_notebook.add("saxs/live", {"scan.h5": (b"x" * 1000, "nexus")}, [])
    as_notebook.add("saxs/gone", {}, [], state="erased", readable="never")
    return as_notebook


@pytest.fixture
def button(lab):
    made = []

    def make(name):
        made.append(restore_button(name))
        return made[-1]

    yield make
    for card in made:
        card.close()
        if card._worker is not None:
            card._worker.join(timeout=10)
            assert not card._worker.is_alive()


def until(card, state):
    wait_until(lambda: card.state == state, 15, f"the card says {state}", pause_s=0.01)


def test_deep_from_button_to_ready(button, lab):
    card = button("scan7")
    assert (card.name, card.tier, card.tier_text, card.size_text) == ("xas/scan7", "deep", "deep archive", "1.0 kB")
    assert (card.state, card.message, card.button_text) == ("idle", "Back within 3 days of asking.", TEXTS["ask"])
    assert card.button_label == "Bring xas/scan7 back into fast storage"
    seen = []
    card.observe(lambda change: seen.append(change["new"]), "message")
    card._on_message(card, {"do": "press"}, [])
    until(card, "ready")
    assert card.tier == "hot"
    assert card.message.startswith("Ready until 20")
    assert card.button_text == ""
    assert seen[0] == TEXTS["asking"]
    assert "On its way back: being copied." in seen
    card._worker.join(timeout=10)
    assert not card._worker.is_alive()


def test_progress_shows_bytes_and_files(button, lab):
    lab.script = ["copying"]
    card = button("scan7")
    card.press()
    until(card, "running")
    wait_until(lambda: card.done == 0.5, 15, "half is copied")
    assert "0 of 1 files · 500 B of 1.0 kB" in card.progress_text


def test_running_again_shows_what_runs_and_asks_nothing(button, lab):
    lab.script = ["recalling"]
    lab.start_restore(1)
    card = button("scan7")
    until(card, "running")
    assert card.button_text == ""
    card.press()
    assert lab.asked("POST", "restores") == []


def test_two_presses_ask_once(button, lab):
    lab.script = ["queued"]
    card = button("scan7")
    card.press()
    card.press()
    until(card, "running")
    assert len(lab.asked("POST", "restores")) == 1


def test_other_states(button):
    hot, archive, live = button("saxs/run1"), button("saxs/run2"), button("saxs/live")
    assert hot.message.startswith("Ready until")
    assert hot.button_text == ""
    assert "read in place" in archive.message
    assert "Back within 4 hours" in archive.message
    assert archive.button_text == TEXTS["ask"]
    assert (live.message, live.button_text) == (TEXTS["arriving"], "")
    gone = button("saxs/gone")
    assert (gone.message, gone.button_text) == (TEXTS["erased"], "")


def test_unknown_name_is_a_sentence_in_the_card(button):
    card = button("scan8")
    assert card.state == "error"
    assert "Did you mean xas/scan7" in card.error
    assert card.button_text == TEXTS["retry"]


def test_error_then_try_again(button, lab):
    lab.fail += [(500, "text/html", b"")]
    card = button("scan7")
    assert "is not the archiver" in card.error
    card.press()
    until(card, "idle")
    assert card.error == ""


def test_refused(button, lab):
    card = button("scan7")
    real = lab.answer
    lab.answer = lambda method, *rest: lab.problem(403, "not-allowed") if method == "POST" else real(method, *rest)
    card.press()
    until(card, "error")
    assert card.error == "It is not-allowed. Do this."


def test_partly_and_failed_say_why(button, lab):
    lab.script = ["partly_ready"]
    card = button("scan7")
    card.press()
    until(card, "partly_ready")
    assert card.reasons == ["scan.h5: the tape is torn"]
    assert card.button_text == TEXTS["ask_again"]
    lab.script = ["failed"]
    card.press()
    until(card, "idle")
    assert card.reasons == ["no drive was free"]
    assert "The last restore is failed." in card.message


def test_an_admin_is_waited_for_and_a_no_is_told_when_the_cell_runs_again(button, lab):
    lab.script = ["awaiting_approval"]
    card = button("scan7")
    card.press()
    wait_until(lambda: card.message == TEXTS["approval"], 15, "the card says whose word it waits for", pause_s=0.01)
    assert "at the latest" not in card.progress_text
    lab.scripts[1].append("denied")
    until(card, "idle")
    for shown in (card, button("scan7")):
        assert "The last restore is denied." in shown.message
        assert shown.reasons == ["too much before the maintenance"]
        assert shown.button_text == TEXTS["ask"]


def test_archiver_is_away_for_a_while(button, lab):
    lab.script = ["queued"] * 3 + ["ready"]
    card = button("scan7")
    card.press()
    until(card, "running")
    lab.fail += [(404, "text/html", b"no route")]
    until(card, "ready")
    assert card.error == ""


def test_closing_ends_the_thread(button, lab):
    lab.script = ["recalling"]
    card = button("scan7")
    card.press()
    until(card, "running")
    worker = card._worker
    card.close()
    worker.join(timeout=10)
    assert not worker.is_alive()
    asked = len(lab.seen)
    threading.Event().wait(0.2)
    assert len(lab.seen) == asked


def test_what_goes_to_the_browser_has_no_secret(button, lab):
    card = button("scan7")
    state = str(card.get_state())
    assert "secret-token" not in state
    assert "xas/scan7" in state


def test_all_words_are_in_the_table():
    """The browser's part holds no words of its own."""
    import re

    code = str(RestoreButton._esm)
    strings = set(re.findall(r'"([^"]*)"', code))
    assert not [text for text in strings if re.search(r"[A-Z][a-z]+ [a-z]", text)]
