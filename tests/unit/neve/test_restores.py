"""Asking for data back and waiting: the state is the server's, failures carry their reasons."""

import threading

import neve
import pytest
from neve import progress, restores
from neve.errors import NotFound, NotReadyInTime, PartlyRestored, RestoreFailed, ServiceUnavailable


@pytest.fixture
def lab(as_notebook):
    as_notebook.add("xas/scan7", {"scan.h5": (b"x" * 1000, "nexus")}, ["deep"])
    return as_notebook


def test_until_ready(lab):
    handle = neve.restore("scan7")
    assert handle.dataset == "xas/scan7"
    assert handle.wait(timeout=30) is handle
    assert handle.status == "ready"
    assert handle.ready_at is not None
    assert handle.expires_at > handle.ready_at
    assert "ready until" in repr(handle)
    assert lab.restores[1]["keep_days"] == 7


def test_files_and_days_are_passed_on(lab):
    neve.restore("xas/scan7", files="*.h5", days=3)
    assert (lab.restores[1]["files_glob"], lab.restores[1]["keep_days"]) == ("*.h5", 3)


def test_asking_again_joins_what_runs(lab):
    first = neve.restore("scan7")
    assert neve.restore("scan7").id == first.id
    assert neve.restore("scan7", files="other*").id != first.id
    assert neve.restore("scan7", days=30).id not in {first.id, 2}


def test_unknown_name(lab):
    with pytest.raises(NotFound, match="Did you mean xas/scan7"):
        neve.restore("xas/scan8")


def test_failed(lab):
    lab.script = ["queued", "failed"]
    with pytest.raises(RestoreFailed, match="no drive was free") as caught:
        neve.restore("scan7").wait(timeout=30)
    assert caught.value.reasons == ("no drive was free",)


def test_partly(lab):
    lab.script = ["copying", "partly_ready"]
    with pytest.raises(PartlyRestored) as caught:
        neve.restore("scan7").wait(timeout=30)
    assert caught.value.reasons == ("scan.h5: the tape is torn",)
    assert "the tape is torn" in str(caught.value)


def test_cancelled_by_another(lab):
    lab.script = ["queued"]
    handle = neve.restore("scan7")
    neve.restore("scan7").cancel()
    with pytest.raises(RestoreFailed, match="cancelled"):
        handle.wait(timeout=30)
    assert handle.status == "cancelled"


def test_time_out_leaves_it_running(lab):
    lab.script = ["queued", "recalling"]
    handle = neve.restore("scan7")
    with pytest.raises(NotReadyInTime, match="being fetched from the deep archive") as caught:
        handle.wait(timeout=1)
    assert isinstance(caught.value, TimeoutError)
    assert lab.restores[1]["state"] == "recalling"


def test_waiting_outlives_an_archiver_that_is_away(lab):
    handle = neve.restore("scan7")
    lab.fail += [(404, "text/html", b"no route")] * 2
    assert handle.wait(timeout=30).status == "ready"


def test_but_not_for_ever(lab, monkeypatch):
    monkeypatch.setattr(restores, "AWAY_S", 0.5)
    handle = neve.restore("scan7")
    lab.fail += [(404, "text/html", b"no route")] * 20
    with pytest.raises(ServiceUnavailable):
        handle.wait(timeout=30)


def test_states_are_asked_afresh_when_old(lab, monkeypatch):
    handle = neve.restore("scan7")
    asked = len(lab.seen)
    assert handle.status == "requested"
    assert len(lab.seen) == asked  # a second has not passed
    monkeypatch.setattr(restores, "FRESH_S", 0)
    assert [handle.status for _ in range(4)] == ["queued", "recalling", "copying", "ready"]


def test_interrupting_the_wait_leaves_it_running(lab, monkeypatch):
    lab.script = ["queued"]
    handle = neve.restore("scan7")

    def interrupt(_pause):
        raise KeyboardInterrupt

    monkeypatch.setattr(restores.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        handle.wait()
    assert lab.restores[1]["state"] == "queued"


def test_progress_lines(client, lab):
    rid = lab.start_restore(1)
    lab.step(rid), lab.step(rid), lab.step(rid)
    state = client.restore(rid)
    lab.restores[rid]["state"] = "copying"
    assert progress.fraction(state) in {0.5, 1.0}
    assert progress.progress_text(state).startswith(("being copied · 0 of 1 files · 500 B of 1.0 kB", "ready · 1 of 1 files"))


def test_on_a_terminal_one_line_is_updated(lab):
    """In a real pseudo-terminal: a bar that is redrawn, not a line per question."""
    import os
    import pty
    import subprocess
    import sys

    ours, theirs = pty.openpty()
    code = "import neve; print(neve.restore('scan7').wait(timeout=30).status)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    )
    os.close(theirs)
    shown = bytearray()

    def collect():
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                return
            if not piece:
                return
            shown.extend(piece)

    reader = threading.Thread(target=collect)
    reader.start()
    out, _ = process.communicate(timeout=60)
    reader.join(timeout=10)
    os.close(ours)
    assert out == b"ready\n"
    text = shown.decode()
    assert "xas/scan7" in text
    assert "1 of 1 files" in text
    assert text.count("\n") <= 2


def test_without_a_terminal_nothing_is_printed(lab, capfd):
    neve.restore("scan7").wait(timeout=30)
    assert capfd.readouterr() == ("", "")
