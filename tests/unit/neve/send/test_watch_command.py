"""`neve watch` as a process: its lines, its exit codes, and that a kill at any moment loses and doubles nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from fixtures.processes import REPO
from fixtures.watching import put
from neve.send.agent import Agent, load
from neve.send.alone import Alone

pytestmark = pytest.mark.timeout(60)
SEND = REPO / "extensions" / "neve" / "send"
KEY = "neve_" + "k" * 43


@pytest.fixture
def neve(tmp_path, inbox, archiver):
    """Starts `neve watch` with these arguments and settings; ended after the test."""
    running = []
    key_file = put(tmp_path / "key", f"{KEY}\n".encode())
    environment = {
        **os.environ,
        "NEVE_URL": archiver.url,
        "NEVE_KEY_FILE": str(key_file),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "LOCALAPPDATA": str(tmp_path),
    }

    def start(*arguments, **settings):
        config = put(
            tmp_path / "agent.toml", "".join(f"{name} = {json.dumps(value)}\n" for name, value in {"still_s": 1, **settings}.items()).encode()
        )
        command = [str(Path(sys.executable).with_name("neve"))]
        process = subprocess.Popen(
            [*command, "watch", str(inbox), "--config", str(config), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True, encoding="utf-8",
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def until(process, kind):
    """Read the lines of --json up to the first of this kind."""
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == kind:
            return event
    raise AssertionError(f"it ended without {kind}: {process.communicate()}")


def test_once(neve, inbox, archiver):
    put(inbox / "run42" / "a.dat", b"abc")
    code, out, err = ended(neve("--once", "--json", close_after_minutes=0))
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events][:2] == ["watching", "scanned"]
    assert events[-1]["event"] == "state"
    assert (events[-1]["received"], events[-1]["waiting"]) == (1, 0)
    assert archiver.content() == {b"a.dat": b"abc"}
    assert archiver.datasets[1]["state"] == "closed"
    assert archiver.reports[0]["waiting"] == 1


def test_a_refused_file_is_exit_1(neve, inbox, archiver):
    archiver.file_max_bytes = 2
    put(inbox / "run42" / "a.dat", b"abc")
    code, out, err = ended(neve("--once"))
    assert (code, out) == (1, "")
    assert "takes files up to 2 B" in err


def test_a_wrong_key_is_exit_1_with_a_sentence(neve, inbox, archiver):
    archiver.key = "another"
    code, _, err = ended(neve())
    assert code == 1
    assert "not known, or was revoked" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_wrong_settings_are_exit_2(neve, inbox):
    code, _, err = ended(neve(stil_s=3))
    assert (code, err.splitlines()[0].startswith("neve: There is no setting 'stil_s'")) == (2, True)


@pytest.mark.parametrize("by", ["SIGTERM", "SIGINT"])
def test_it_ends_in_order_when_asked(neve, inbox, archiver, by):
    process = neve("--json")
    until(process, "scanned")
    process.send_signal(getattr(signal, by))
    code, out, err = ended(process)
    assert (code, err) == (0, "")
    assert json.loads(out.splitlines()[-1])["event"] == "state"


def test_events_bring_a_new_file_in_without_a_scan(neve, inbox, archiver):
    pytest.importorskip("watchfiles")
    process = neve("--json", scan_minutes=60)
    assert until(process, "watching")["events"] == "on"
    until(process, "scanned")
    put(inbox / "run42" / "a.dat", b"abc")
    assert until(process, "sent")["path"] == "a.dat"


def test_an_inbox_has_one_agent(neve, inbox):
    first = neve("--json")
    until(first, "watching")
    code, _, err = ended(neve("--json"))
    assert code == 1
    assert "watched by another process" in err
    first.kill()  # the lock goes with its process
    first.wait(timeout=60)
    code, _, err = ended(neve("--once"))
    assert (code, "watched by another" in err) == (0, False)


@pytest.mark.parametrize("moment", ["opened", "sent", "closed"])
def test_killed_and_started_again_each_file_is_there_once(neve, inbox, archiver, moment):
    files = {f"{number:03}.dat": bytes([number]) * 3000 for number in range(60)} | {"large.dat": os.urandom(700_000)}
    for name, data in files.items():
        put(inbox / "run42" / name, data)
    put(inbox / "run42" / ".complete", b"")
    process = neve("--json")
    until(process, moment)
    process.kill()
    process.wait(timeout=60)
    code, _, err = ended(neve("--once"))
    assert code == 0, err
    content = {name.encode(): data for name, data in files.items()} | {b".complete": b""}
    assert archiver.content() == content
    assert len([file for file in archiver.files.values() if file.state == "received"]) == len(content)
    assert archiver.datasets[1]["state"] == "closed"


# Settings


def test_the_example_says_each_setting_with_its_default(tmp_path):
    text = (SEND / "agent.example.toml").read_text("utf-8")
    shown = tomllib.loads(
        "\n".join(
            line.removeprefix("#").strip() if line.startswith("#") and " = " in line and not line.startswith("# ") else line
            for line in text.splitlines()
        )
    )
    assert shown.pop("inbox")
    default = Agent(inbox=tmp_path)
    assert shown == {
        item.name: list(value) if isinstance(value := getattr(default, item.name), tuple) else value for item in fields(Agent) if item.name != "inbox"
    }


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("inbox = 3", "inbox = 3 cannot be. It is a text"),
        ("inbox = 'gone'", "is no folder"),
        ("still_s = 0", "The least is 1"),
        ("still_s = '3'", "It is a number"),
        ("markers = '*.done'", "It is a list of texts"),
        ("by = 'folder'", "one of first-folder, deepest-folder, pattern, field"),
        ("by = 'pattern'", "go together"),
        ("pattern = '(?P<dataset>x)'", "go together"),
        ("by = 'field'", "go together"),
        ("delete_after = 'receipt'", "one of never, two-copies"),
        ("delete_after_days = 3", "deletes nothing"),
        ("key = 'neve_secret'", "There is no setting 'key'"),
        ("still_s = ", "is no TOML"),
        ("events = true", "It is a text"),
    ],
)
def test_settings_that_cannot_be(tmp_path, settings, says):
    from neve.errors import NeveError

    config = put(tmp_path / "agent.toml", (settings if "inbox" in settings else f"inbox = '.'\n{settings}").encode())
    with pytest.raises(NeveError) as error:
        load(config)
    assert says in str(error.value)
    assert error.value.exit_code == 2


def test_where_the_inbox_is(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    config = put(tmp_path / "agent.toml", b"inbox = 'a'\nproject = 'ice'")
    assert load(config).inbox == tmp_path / "a"  # beside the settings
    monkeypatch.chdir(tmp_path)
    assert load(config, inbox=Path("b"), project=None).inbox == tmp_path / "b"
    assert load(None, inbox=Path("b"), project="p").project == "p"
    assert load(config, project="p").project == "p"


def test_the_lock_is_free_after_close(tmp_path):
    first = Alone(tmp_path / "state" / "x.lock", "the inbox")
    first.close()
    Alone(tmp_path / "state" / "x.lock", "the inbox").close()


@pytest.mark.skipif(not Path("/usr/bin/systemd-analyze").exists(), reason="no systemd here")
def test_the_unit_is_one_that_systemd_takes():
    with tempfile.TemporaryDirectory() as folder:
        unit = Path(folder) / "neve-watch@saxs.service"
        unit.write_text((SEND / "neve-watch@.service").read_text("utf-8").replace("/opt/neve/bin/neve", "/bin/true"), "utf-8")
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    assert "neve-watch" not in done.stderr, done.stderr
