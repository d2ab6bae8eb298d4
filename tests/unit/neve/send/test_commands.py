"""`neve send` as a process: exit codes, sentences, lines of JSON, kills, memory; the same from one file without packages."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

NEVE = [Path(sys.executable).with_name("neve"), "send"]
MODULE = [sys.executable, "-m", "neve.send", "send"]
BUILD = Path(__file__).resolve().parents[4] / "images" / "neve-send" / "build.py"


@pytest.fixture
def env(archiver, tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NEVE_", "JUPYTERHUB_"))}
    return {**kept, "NEVE_URL": archiver.url, "NEVE_KEY": archiver.key, "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "200"}


def run(env, *arguments, command=NEVE, **more):
    return subprocess.run([*command, *arguments], capture_output=True, env={**env, **more}, timeout=60, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("command", [NEVE, MODULE])
def test_a_folder_is_sent_and_closed(archiver, env, folder, command):
    (folder / "a.dat").write_bytes(b"a" * 1000)
    (folder / "b.dat").write_bytes(b"b" * 500)
    done = run(env, folder, command=command)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"saxs/run42: 2 files sent (1.5 kB); closed.\n"
    assert archiver.content() == {b"a.dat": b"a" * 1000, b"b.dat": b"b" * 500}
    again = run(env, folder, "--name", "run42", "--project", "p1", "--no-close", command=command)
    assert again.stdout == b"saxs/run42: 0 files sent (0 B), 2 there already; closed.\n"


def test_lines_of_json_and_nothing_else(archiver, env, folder):
    name = b"\xff \n.dat"
    (folder / os.fsdecode(name)).write_bytes(b"x")
    os.mkfifo(folder / "pipe")
    done = run(env, folder, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [line["event"] for line in lines]
    assert kinds[0] == "opened"
    assert kinds[-1] == "end"
    assert set(kinds) == {"opened", "skipped", "sent", "progress", "proving", "closed", "end"}
    (sent,) = [line for line in lines if line["event"] == "sent"]
    assert (sent["path"], sent["path_base64"], sent["sha256"]) == ("\\xff \\n.dat", "/yAKLmRhdA==", hashlib.sha256(b"x").hexdigest())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", sent["at"])
    assert lines[-1] | {"at": ""} == {
        "event": "end", "at": "", "dataset": "saxs/run42", "state": "closed", "sent": 1, "already": 0, "failed": 0, "bytes_sent": 1, "ok": True,
    }  # fmt: skip


def test_every_event_is_documented():
    import neve.send.events

    here = Path(neve.send.events.__file__).parent
    sources = "".join((here / f"{name}.py").read_text("utf-8") for name in ("commands", "sender", "run", "whole", "parts", "patience"))
    told = set(re.findall(r'(?:Event|of_file)\(\s*"([a-z]+)"', sources))
    documented = set(re.findall(r"^\| `([a-z]+)`", neve.send.events.__doc__, re.MULTILINE))
    assert {"opened", "sent", "waiting", "end"} <= told
    assert told <= documented


def test_failures_are_named_and_the_exit_code_says_so(archiver, env, folder):
    archiver.file_max_bytes = 10
    (folder / "good").write_bytes(b"x")
    (folder / "big").write_bytes(b"x" * 11)
    (folder / "bad").write_bytes(b"bad")
    (folder / "bad.sha256").write_text(f"{'0' * 64}  bad\n")
    done = run(env, folder)
    assert done.returncode == 1
    assert done.stdout == b"saxs/run42: 1 file sent (1 B), 3 not received; left open.\n", done.stderr
    said = done.stderr.decode()
    assert "big has 11 B (11 bytes); the archiver takes files up to 10 B (10 bytes)" in said
    assert f"bad has the SHA-256 {hashlib.sha256(b'bad').hexdigest()}, but its manifest says {'0' * 64}; it is not received" in said
    assert "bad.sha256 has 70 B" in said, "the manifest is a file like others"
    assert set(archiver.content()) == {b"good"}


@pytest.mark.parametrize(
    ("arguments", "more", "code", "sentence"),
    [
        (["{folder}"], {"NEVE_KEY": "neve_wrong"}, 1, "The key is not known, or was revoked."),
        (["{folder}"], {"NEVE_KEY": ""}, 2, "There is no key"),
        (["{folder}"], {"NEVE_KEY": "two words"}, 1, "characters that no key has"),
        (["{folder}"], {"NEVE_URL": ""}, 2, "Nobody said where the archiver is"),
        (["{folder}"], {"NEVE_URL": "data.example.org"}, 2, "is no address"),
        (["{folder}", "--key-file", "/nowhere"], {}, 1, "The key file /nowhere cannot be read"),
        (["{folder}/gone"], {}, 2, "There is no"),
        (["{folder}", "{folder}/a"], {}, 2, "the dataset's name must be said"),
        (["{folder}", "--sums", "/nowhere"], {}, 2, "/nowhere cannot be read"),
        (["{folder}", "--journal", "/proc/nowhere/x"], {}, 2, "cannot be opened"),
    ],
)
def test_wrong_use(archiver, env, folder, arguments, more, code, sentence):
    (folder / "a").write_bytes(b"a")
    arguments = [text.format(folder=folder) for text in arguments]
    done = run(env, *arguments, **more)
    assert (done.returncode, done.stdout) == (code, b"")
    assert sentence in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    line = json.loads(run(env, *arguments, "--json", **more).stdout.splitlines()[-1])
    assert line["event"] == "error"
    assert sentence in line["detail"]
    assert archiver.files == {}


def test_a_key_from_a_file_and_never_on_the_command_line(archiver, env, folder, tmp_path):
    (folder / "a").write_bytes(b"a")
    (tmp_path / "key").write_text(f"\ufeff{archiver.key}\r\n", "utf-8")
    assert run(env, folder, "--key-file", tmp_path / "key", NEVE_KEY="").returncode == 0
    assert run(env, folder, NEVE_KEY="", NEVE_KEY_FILE=str(tmp_path / "key")).returncode == 0
    assert b"--key " not in run(env, "--help").stdout


def test_in_a_notebook_its_token_goes_to_its_archiver_only(archiver, env, folder):
    (folder / "a").write_bytes(b"a")
    here = {"NEVE_URL": "", "NEVE_KEY": "", "NEVE_API_URL": archiver.url, "JUPYTERHUB_API_TOKEN": archiver.key}
    assert run(env, folder, **here).returncode == 0
    elsewhere = run(env, folder, "--url", "http://127.0.0.1:1/", **here)
    assert (elsewhere.returncode, b"There is no key" in elsewhere.stderr) == (2, True)


def test_a_path_that_is_no_text(archiver, env, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.dat")
    path.write_bytes(b"x")
    for command in (NEVE, MODULE):
        assert run(env, path, "--name", "r", command=command).returncode == 0
    assert archiver.content("r") == {b"\xff.dat": b"x"}


def test_half_a_body_of_a_sender_who_was_killed_is_nothing(archiver, env, folder):
    (folder / "a").write_bytes(os.urandom(100))

    def half(_method, path, handler):
        if path.startswith("/store/"):
            archiver.faults.remove(half)
            handler.rfile = io.BytesIO(handler.rfile.read(50))  # then the connection ended
        return False

    archiver.faults.append(half)
    done = run(env, folder)
    assert done.returncode == 0, done.stderr
    assert archiver.content() == {b"a": (folder / "a").read_bytes()}
    assert archiver.bytes_in == 100


def test_killed_again_and_again_nothing_is_sent_twice(archiver, env, folder):
    """kill -9 at the third whole body or part that comes, until it is through."""
    files = {f"small{number:03}": os.urandom(100) for number in range(30)}
    files |= {f"file{number:02}": os.urandom(100_000) for number in range(20)}  # too large for packs
    files |= {"large": os.urandom(1_500_000), "other": os.urandom(900_000)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    count, come, gate = [0], threading.Event(), threading.Event()

    def hold(method, path, _handler):
        if path.startswith("/store/"):
            count[0] += 1
            if count[0] >= 3:
                come.set()
                gate.wait(30)
        return False

    archiver.faults.append(hold)
    kills = 0
    while True:
        count[0] = 0
        come.clear()
        gate.clear()
        process = subprocess.Popen([*NEVE, folder, "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            # What was held when it was killed can still come whole: how many runs it takes is not told in advance.
            deadline = time.monotonic() + 30
            while not come.wait(0.05) and process.poll() is None:
                assert time.monotonic() < deadline
        finally:
            if come.is_set():
                process.kill()
            out, err = process.communicate(timeout=60)
            gate.set()
        if not come.is_set():
            assert process.returncode == 0, (out + err).decode()
            break
        deadline = time.monotonic() + 30
        while archiver.at_once and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        kills += 1
    assert kills >= 3
    assert archiver.content() == {name.encode(): data for name, data in files.items()}
    assert all(times == 1 for times in archiver.times.values()), "a body that had come was sent again"
    around = sum(pack.size_bytes - sum(file.size_bytes for file in pack.members) for pack in archiver.packs.values())  # headers and padding
    assert archiver.bytes_in == sum(map(len, files.values())) + around


def test_ctrl_c_is_a_sentence(archiver, env, folder, faults):
    (folder / "a").write_bytes(b"a")
    archiver.faults.append(faults.Times(10**6, faults.to_store, faults.cut))
    process = subprocess.Popen([*NEVE, folder], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    waiting = process.stderr.readline()
    assert b"waiting, and going on by itself" in waiting
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (1, b"", b"neve: Stopped; nothing is lost. Run the same command again and it goes on.\n")


def test_a_reader_of_the_lines_that_ends_does_not_end_the_sending(archiver, env, folder):
    for number in range(300):
        (folder / f"f{number}").write_bytes(b"x")
    process = subprocess.Popen([*NEVE, folder, "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0
    process.stderr.close()
    assert len(archiver.content()) == 300


def test_a_bar_on_a_terminal(archiver, env, folder):
    (folder / "a").write_bytes(os.urandom(700_000))
    (folder / "link").symlink_to("a")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*NEVE, folder], env={**env, "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            seen += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    assert process.stdout.read() == b"saxs/run42: 1 file sent (700 kB); closed.\n"
    process.stdout.close()
    assert process.wait(30) == 0
    text = seen.decode()
    assert "saxs/run42" in text
    assert "700.0/700.0 kB" in text
    assert "link is a link; links are not followed." in text


@pytest.mark.parametrize("size_bytes", [512 << 20, pytest.param(6 << 30, marks=pytest.mark.long)])
def test_memory_does_not_grow_with_a_file(archiver, env, folder, size_bytes):
    """In parts of 16 MiB, of which four are held at a time."""
    archiver.sink, archiver.part_bytes = True, 16 << 20
    with (folder / "large").open("wb") as file:
        file.truncate(size_bytes)
    process = subprocess.Popen([*NEVE, folder], env=env, stdout=subprocess.PIPE)
    most_kb = 0
    while process.poll() is None:  # not ru_maxrss, which a child begins with at its parent's
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text("utf-8"))
        most_kb = int(found[1]) if found else most_kb
        threading.Event().wait(0.01)
    assert process.returncode == 0
    assert b"1 file sent" in process.stdout.read()
    process.stdout.close()
    assert 60_000 < most_kb < 160_000


def test_light_to_import():
    heavy = {"pandas", "xarray", "h5py", "boto3", "numpy", "archiver", "pydantic"}
    code = f"import sys, neve.send.__main__, neve.send.sender; print([name for name in sys.modules if name in {heavy}])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_one_file_without_packages(archiver, env, folder, tmp_path):
    """neve-send.pyz on a Python that sees nothing but its standard library."""
    made = tmp_path / "neve-send.pyz"
    subprocess.run([sys.executable, BUILD, made], check=True, capture_output=True, timeout=120)
    (folder / "a").write_bytes(b"a" * 300_000)
    bare = [sys.executable, "-S", "-I", made]
    said = run(env, "--help", command=[*bare, "send"])
    assert (said.returncode, said.stderr) == (0, b"")
    assert b"--no-close" in said.stdout
    assert run(env, "--help", command=[*bare, "watch"]).returncode == 0
    done = run(env, folder, command=[*bare, "send"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"saxs/run42: 1 file sent (300 kB); closed.\n", b"")
    assert archiver.content() == {b"a": b"a" * 300_000}
    wrong = run(env, folder, NEVE_KEY="neve_wrong", command=[*bare, "send"])
    assert (wrong.returncode, wrong.stdout) == (1, b"")
    assert b"neve: The key is not known" in wrong.stderr
