"""What people see: the table on a terminal, the lines of a log."""

from __future__ import annotations

import io

from neve.send.events import Event
from neve.send.grouping import Place
from neve.send.ready import Seen
from neve.send.sightings import Count, Row
from neve.send.watch import Status
from neve.send.watch_display import Lines, Screen
from rich.console import Console


def row(name, reason, first_at=0.0):
    return Row(name, Seen(1, 1), first_at, 0.0, 1, Place("run42", name), "waiting", reason, 0.0, 0)


def test_the_table_says_what_waits_why_and_what_is_sent():
    status = Status(
        Count(waiting=2, ready=3, sending=4, refused=1, bytes_left=10, oldest_at=0.0), "run42", 5, 2_500_000, 6,
        [row(b"run42/scan.h5", "an HDF5 file that a program has open for writing"), row(b"run42/\x1b[31m\xff[bold].dat", "")], 7200,
    )  # fmt: skip
    out = io.StringIO()
    screen = Screen(Console(file=out, width=120, force_terminal=True, color_system=None), lambda: status)
    screen(Event("progress", {"files_done": 2, "bytes_done": 1_000_000}))
    screen(Event("closed", {"dataset": "saxs/run41", "state": "closed"}))
    screen(Event("state", {"oldest": []}))
    with screen.live():
        pass
    shown = out.getvalue()
    for text in ("waiting   2", "oldest 2 hours", "ready     3", "run42  2 files, 1.0 MB", "refused   1", "received  5", "2.5 MB", "deleted   6"):
        assert text in shown, text
    assert "run42/scan.h5" in shown
    assert "an HDF5 file that a program has open for writing" in shown
    assert "saxs/run41 is closed." in shown
    assert "\x1b[31m" not in shown  # a file's name does not colour the screen
    assert "[bold]" in shown


def test_lines_say_the_state_when_it_changed_and_not_too_often():
    said, now = [], [0.0]
    lines = Lines(said.append, lambda: now[0])

    def state(waiting):
        oldest = [{"path": "a.h5", "reason": "an HDF5 file of which 1 of 2 bytes are there", "age_s": 7200}]
        lines(Event("state", {"received": 1, "sending": 0, "ready": 0, "waiting": waiting, "refused": 0, "oldest": oldest}))

    state(1)
    assert said == ["1 received, 0 sending, 0 ready, 1 waiting, 0 refused; a.h5 for 2 hours: an HDF5 file of which 1 of 2 bytes are there."]
    now[0] = 100
    state(2)
    assert len(said) == 1
    now[0] = 700
    state(1)
    assert len(said) == 1  # nothing new
    state(2)
    assert len(said) == 2


def test_a_line_for_what_matters_and_none_for_the_rest():
    said = []
    lines = Lines(said.append)
    for event in [
        Event("watching", {"inbox": "/inbox", "events": "network mounts send none"}),
        Event("scanned", {"files": 1}),
        Event("sent", {"path": "a"}),
        Event("failed", {"path": "a.dat", "reason": "has 3 B; the archiver takes files up to 2 B"}),
        Event("waiting", {"reason": "The archiver does not answer"}),
        Event("deleted", {"dataset_id": 1, "files": 2, "bytes": 3000}),
        Event("error", {"code": "x", "detail": "The key was revoked.", "next_step": "Ask for another."}),
    ]:
        lines(event)
    assert said == [
        "Watching /inbox (looked through again and again: network mounts send none).",
        "a.dat has 3 B; the archiver takes files up to 2 B.",
        "The archiver does not answer; waiting, and going on by itself.",
        "2 source file(s) deleted (3.0 kB): two proven copies each.",
        "The key was revoked. Ask for another.",
    ]
