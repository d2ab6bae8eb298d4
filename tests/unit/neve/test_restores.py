"""Asking for data back and waiting: the state is the server's, failures carry their reasons."""

import threading
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer

import neve
import pytest
from neve import progress, restores
from neve.errors import Conflict, NotFound, NotReadyInTime, PartlyRestored, QuoteExpired, RestoreFailed, ServiceUnavailable, WrongUse


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


def test_denied_says_the_admins_reason_and_whom_to_ask(lab):
    lab.script = ["awaiting_approval", "denied"]
    handle = neve.restore("scan7")
    with pytest.raises(RestoreFailed) as caught:
        handle.wait(timeout=30)
    assert str(caught.value) == "An admin denied the restore of xas/scan7. Talk to them, or ask for less:\n  too much before the maintenance"
    assert (handle.status, handle.reasons) == ("denied", ("too much before the maintenance",))
    assert "denied" in repr(handle)


def test_what_waits_for_an_admin_says_so_and_promises_nothing(lab, client):
    lab.script = ["awaiting_approval"]
    handle = neve.restore("scan7")
    with pytest.raises(NotReadyInTime) as caught:
        handle.wait(timeout=0.5)
    assert caught.value.detail == "xas/scan7 is not back yet (waiting for an admin's approval)."
    assert handle.promised_by is None
    state = client.restore(handle.id)
    assert progress.progress_text(state) == "waiting for an admin's approval · 0 of 1 files · 0 B of 1.0 kB"


def test_what_waits_for_room_says_so(lab, client):
    lab.script = ["queued"]
    handle = neve.restore("scan7")
    lab.restores[handle.id]["error"] = "Waits for room in fast storage; it goes on by itself."
    text = progress.progress_text(client.restore(handle.id))
    assert "waiting for its turn" in text
    assert "Waits for room in fast storage" in text
    assert "at the latest" in text


def test_extend(lab, monkeypatch):
    monkeypatch.setattr(restores, "FRESH_S", 60)
    lab.script = ["ready"]
    handle = neve.restore("scan7", days=3).wait(timeout=30)
    end = handle.expires_at
    assert handle.extend(4) is handle
    assert handle.expires_at == end + timedelta(days=4), "at once, not when it is asked for again"
    assert handle.info.keep_days == 7
    lab.fail.append((409, "application/problem+json", b'{"code": "over-quota", "detail": "Too much.", "next_step": "End something."}'))
    with pytest.raises(neve.OverQuota, match="End something"):
        handle.extend(1)
    assert handle.info.keep_days == 7


def test_quote_says_it_in_a_line_and_brings_nothing_back(lab):
    said = neve.quote("scan7", days=3)
    assert said.datasets == ("xas/scan7",)
    assert (said.size_bytes, said.absent_bytes, said.recall_bytes, said.days, said.fits) == (1000, 1000, 2000, 3, True)
    assert said.expires_at == datetime(2026, 11, 1, 9, tzinfo=UTC)
    assert str(said) == "xas/scan7: 1.0 kB of 1.0 kB to bring back; within 3 days, as promised; 3 days; cost unknown."
    assert lab.restores == {}
    assert lab.quoted["quote-1"] == {"dataset": "xas/scan7", "files": None, "days": 3}


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ({"needs_approval": True}, "; an admin has to approve it."),
        ({"room": {"left_bytes": 10, "fits": False}}, "; more than your quota, or the room there is now."),
        ({"quotas": [{"fits": True}, {"fits": False}]}, "; more than your quota, or the room there is now."),
        ({"ready": {"at_least_s": 60, "at_most_s": 7200, "learned": True, "observations": 30}}, "1 minute to 2 hours, as it was before;"),
        ({"absent_bytes": 0}, "xas/scan7: all 1.0 kB are in fast storage."),
    ],
)
def test_what_a_quote_says(lab, says, text):
    lab.quote_says = says
    assert text in str(neve.quote("scan7"))


def test_a_quote_is_taken_up_as_it_was_said(lab):
    handle = neve.restore(neve.quote("scan7", files="*.h5", days=2))
    assert (handle.dataset, lab.restores[1]["files_glob"], lab.restores[1]["keep_days"]) == ("xas/scan7", "*.h5", 2)
    said = neve.quote("scan7")
    with pytest.raises(WrongUse, match="new quote"):
        neve.restore(said, days=5)
    lab.fail.append((409, "application/problem+json", b'{"code": "quote-expired", "detail": "Too old.", "next_step": "Ask for a new one."}'))
    with pytest.raises(QuoteExpired, match="Ask for a new one") as caught:
        neve.restore(said)
    assert isinstance(caught.value, Conflict)
    assert len(lab.restores) == 1


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


def test_a_token_that_ends_during_the_wait_ends_the_wait_only(lab):
    handle = neve.restore("scan7")
    lab.fail += [(401, "text/html", b"")]
    with pytest.raises(neve.NotSignedIn, match="Stop your server in the hub's control panel and start it again"):
        handle.wait(timeout=30)
    assert neve.restore("scan7").id == handle.id  # it goes on, and is found again
    assert handle.wait(timeout=30).status == "ready"


def test_the_network_is_cut_during_the_wait(lab):
    """Connections are refused, not answered with a status."""
    handle = neve.restore("scan7")
    port = lab.server.server_port
    lab.stop()
    waited = threading.Thread(target=handle.wait, kwargs={"timeout": 60, "progress": False})
    waited.start()
    threading.Event().wait(0.8)
    assert waited.is_alive()
    lab.server = ThreadingHTTPServer(("127.0.0.1", port), lab._handler())
    lab.server.daemon_threads = True
    lab.thread = threading.Thread(target=lab.server.serve_forever, kwargs={"poll_interval": 0.02})
    lab.thread.start()
    waited.join(60)
    assert handle.status == "ready"


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
