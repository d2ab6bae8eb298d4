"""/data by s3fs, and /shared: what is mounted follows what is wanted, whatever is killed in between."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from fixtures.processes import BIN, wait_until
from hub.people import is_mounts_process
from neve_hub import mounts, public, store
from neve_hub import shared as sharing
from neve_hub.instance import Instance

from archiver.config import exactly, load

pytestmark = [pytest.mark.fuse, pytest.mark.usefixtures("fuse")]
BACK_WITHIN_S = 20
USER = "Zoé@lab.fr"  # a name that is no folder's name


@pytest.fixture(scope="module")
def here(hub):
    return Instance(load(hub.home / "neve.toml"))


@pytest.fixture(scope="module")
def bucket(here):
    s3 = store.client(here, "archiver")
    s3.put_object(Bucket="neve-hot", Key="p-one/i/d/file.txt", Body=b"one")
    s3.put_object(Bucket="neve-hot", Key="p-two/i/d/file.txt", Body=b"two")
    yield s3
    for key in ("p-one/i/d/file.txt", "p-two/i/d/file.txt"):
        s3.delete_object(Bucket="neve-hot", Key=key)


@pytest.fixture
def tree(here, bucket):
    """The /data of a user with two projects that have objects and one that has none."""
    mounts.want(here, USER, ["p-one", "p-two", "p-empty", "../secrets", "No Project"])
    place = mounts.tree(here, USER)
    wait_until(lambda: place.is_dir() and names(place) == {"p-one", "p-two", "p-empty"}, BACK_WITHIN_S, "the tree")
    yield place
    shared = mounts.shared_tree(here, USER)
    mounts.release(here, USER)
    wait_until(lambda: not mounts.mounted(place) and not mounts.mounted(shared), BACK_WITHIN_S, "the end of the trees")
    assert names(place) == listed(shared) == set()


@pytest.fixture
def shared(here, tree):
    """The same user's /shared."""
    place = mounts.shared_tree(here, USER)
    wait_until(lambda: names(place) == {"p-one", "p-two", "p-empty"}, BACK_WITHIN_S, "what is shared")
    return place


def listed(place: Path) -> set[str]:
    return {entry.name for entry in place.iterdir()}


def names(place: Path) -> set[str]:
    return {name for name in listed(place) if name in {mount.name for mount in mounts.mounted(place)}}


def s3fs_of(here: Instance, project: str) -> psutil.Process:
    place = str(here.data / "projects" / project)
    return next(process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] and place in process.info["cmdline"])


def reads(place: Path) -> bytes | None:
    """Read as another process would; None when it cannot be read within a second."""
    try:
        done = subprocess.run(["cat", str(place / "i/d/file.txt")], capture_output=True, timeout=1, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def test_the_tree_shows_the_users_projects_read_only(tree):
    assert reads(tree / "p-one") == b"one"
    assert listed(tree / "p-empty") == set()
    with pytest.raises(OSError, match="Read-only"):
        (tree / "p-one" / "new").write_text("x")
    assert (tree / "p-one/i/d/file.txt").stat().st_mode & 0o222 == 0
    assert (tree / "p-one/i/d/file.txt").stat().st_uid == 1000


def test_a_new_object_shows(tree, bucket):
    bucket.put_object(Bucket="neve-hot", Key="p-empty/i/d/file.txt", Body=b"new")
    try:
        wait_until(lambda: reads(tree / "p-empty") == b"new", 10, "the new object")
    finally:
        bucket.delete_object(Bucket="neve-hot", Key="p-empty/i/d/file.txt")


@pytest.fixture
def small_disk(tmp_path):
    """400 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "neve-test", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_what_is_read_leaves_room_on_the_disk(here, bucket, small_disk, tmp_path):
    """s3fs keeps what it has read of a file as long as that is open."""
    place, key, part = tmp_path / "mount", "p-one/i/d/large.raw", os.urandom(1 << 20)
    place.mkdir()
    bucket.put_object(Bucket="neve-hot", Key=key, Body=part * 250)
    command = mounts.s3fs_command(here.settings, here.secrets / "s3fs-passwd", "p-one", place, small_disk)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: place in mounts.mounted(tmp_path), BACK_WITHIN_S, "the mount")
        with (place / "i/d/large.raw").open("rb") as file:
            assert all(file.read(1 << 20) == part for _ in range(250))
            assert file.read(1) == b""
            left = os.statvfs(small_disk)
            assert left.f_bavail * left.f_frsize >= 250 << 20
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        process.wait(30)
        bucket.delete_object(Bucket="neve-hot", Key=key)


def test_a_killed_mount_comes_back_in_the_tree(here, tree):
    s3fs_of(here, "p-one").kill()
    wait_until(lambda: reads(tree / "p-one") == b"one", BACK_WITHIN_S, "the mount")


def test_a_hanging_mount_holds_up_no_other_and_comes_back(here, tree):
    hanging = s3fs_of(here, "p-one")
    hanging.send_signal(signal.SIGSTOP)
    s3fs_of(here, "p-two").kill()
    wait_until(lambda: reads(tree / "p-two") == b"two", BACK_WITHIN_S, "the mount beside the one that hangs")
    wait_until(lambda: reads(tree / "p-one") == b"one", BACK_WITHIN_S, "the mount that hung")
    assert not hanging.is_running()


def test_all_comes_back_when_the_mounts_process_is_killed(here, tree):
    """Containers hold on to the file system below, so it stays the same one."""
    before = mounts.mounted(here.data)[here.data]
    next(process for process in psutil.process_iter() if is_mounts_process(here, process)).kill()
    wait_until(lambda: any(is_mounts_process(here, process) for process in psutil.process_iter()), BACK_WITHIN_S, "the mounts process")
    wait_until(lambda: reads(tree / "p-one") == b"one" and reads(tree / "p-two") == b"two", BACK_WITHIN_S, "the tree")
    assert mounts.mounted(here.data)[here.data] == before


def test_a_project_that_is_lost_disappears(here, tree):
    mounts.want(here, USER, ["p-two"])
    wait_until(lambda: listed(tree) == {"p-two"}, BACK_WITHIN_S, "the loss")
    # The bind goes first, the mount behind it just after.
    wait_until(lambda: not (here.data / "projects" / "p-one").exists(), BACK_WITHIN_S, "the folder that is not mounted to be gone")


# Holds a project's folder and a file in it open, and reads on when it is told to.
HOLDER = """
import os, sys
folder, kept = os.open(sys.argv[1], os.O_RDONLY), open(sys.argv[1] + "/i/d/file.txt", "rb")
print("holds", flush=True)
sys.stdin.readline()
for read in (kept.read, lambda: os.listdir(folder), lambda: os.open("i/d/file.txt", os.O_RDONLY, dir_fd=folder)):
    try:
        print("read", read(), flush=True)
    except OSError as error:
        print("refused", error.strerror, flush=True)
"""


def test_what_is_lost_is_not_read_on_through_what_was_held_open(here, tree):
    mounts.want(here, "bob", ["p-one", "p-two"])
    theirs = mounts.tree(here, "bob")
    try:
        wait_until(lambda: theirs.is_dir() and reads(theirs / "p-one") == b"one", BACK_WITHIN_S, "bob's tree")
        two = s3fs_of(here, "p-two").pid
        with subprocess.Popen([sys.executable, "-c", HOLDER, theirs / "p-one"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "holds\n"
            mounts.want(here, "bob", [])
            wait_until(lambda: listed(theirs) == set(), BACK_WITHIN_S, "bob's loss")
            wait_until(lambda: reads(tree / "p-one") == b"one", BACK_WITHIN_S, "the other member's new mount")
            said, _ = holder.communicate("\n", timeout=30)
        assert said.count("refused") == 3 and "read" not in said, said
        assert s3fs_of(here, "p-two").pid == two, "what nobody held goes on as it is"
    finally:
        mounts.release(here, "bob")


def test_what_is_public_stands_in_everybodys_tree_until_it_is_not(here, tree, hub):
    def public(*words: str) -> None:
        subprocess.run([BIN / "archiver", "projects", "public", "p-open", *words], env=hub.running.env, check=True, cwd=here.home, timeout=60)

    subprocess.run([BIN / "archiver", "projects", "add", "p-open"], env=hub.running.env, check=True, cwd=here.home, timeout=60)
    public("--after", "2020-01-01")
    try:
        wait_until(lambda: "p-open" in listed(tree), 60, "the public project")
        mounts.want(here, USER, ["p-one", "p-two", "p-empty"])
        assert "p-open" in listed(tree)
        assert "p-open" not in listed(mounts.shared_tree(here, USER)), "readers are no members"
    finally:
        public("--never")
    wait_until(lambda: listed(tree) == {"p-one", "p-two", "p-empty"}, 60, "its end")


def test_the_latest_public_projects_are_shown_and_an_archiver_that_is_away_changes_nothing(tmp_path):
    here = Instance(exactly({"home": str(tmp_path), "port": 9, "hub": {"public_mounts": 2}}, "test"))
    here.run.mkdir()
    assert public.known(here) == []
    (here.run / "public.json").write_text('["new", "older", "oldest"]')
    here.secrets.mkdir()
    (here.secrets / "reader-token").write_text("x")
    with pytest.raises(httpx.HTTPError):
        public.ask(here)
    assert public.known(here) == ["new", "older"]


def test_what_is_wanted_is_written_in_one_step(here, tree):
    wanted = json.loads((here.wanted / f"{tree.name}.json").read_text())
    assert wanted["user"] == USER
    assert not [file for file in here.wanted.iterdir() if not file.name.endswith(".json")]


def lines_of(mountinfo: str, place: Path) -> list[list[str]]:
    return [line.split(" ") for line in mountinfo.splitlines() if line.split(" ")[4] == str(place)]


def test_what_is_shared_can_be_written_and_has_neither_setuid_nor_devices(here, shared):
    assert listed(shared) == {"p-one", "p-two", "p-empty"}, "names that are no project's have none"
    (shared / "p-one" / "notes.txt").write_text("ours")
    kept = here.home / "shared" / "p-one"
    assert (kept / "notes.txt").read_text() == "ours"
    assert (kept.stat().st_uid, kept.stat().st_gid) == (1000, 1000)
    assert (here.home / "shared").stat().st_mode & 0o777 == 0o700 and shared.stat().st_mode & 0o222 == 0
    [[_, _, _, _, _, options, *_]] = lines_of(Path("/proc/self/mountinfo").read_text(), shared / "p-one")
    assert {"nosuid", "nodev"} <= set(options.split(","))
    with pytest.raises(OSError) as across:
        os.link(shared / "p-one" / "notes.txt", shared / "p-two" / "notes.txt")
    assert across.value.errno == errno.EXDEV
    mounts.want(here, "bob", ["p-one"])
    theirs = mounts.shared_tree(here, "bob")
    try:
        wait_until(lambda: theirs.is_dir() and names(theirs) == {"p-one"}, BACK_WITHIN_S, "bob's")
        assert (theirs / "p-one" / "notes.txt").read_text() == "ours"
    finally:
        mounts.release(here, "bob")
    mounts.want(here, USER, ["p-two"])
    wait_until(lambda: listed(shared) == {"p-two"}, BACK_WITHIN_S, "the loss")
    wait_until(lambda: not (here.data / "shared" / "projects" / "p-one").exists(), BACK_WITHIN_S, "the mount that nobody has a part of")
    assert (kept / "notes.txt").read_text() == "ours", "what nobody is a member of any more stays"


def test_what_cannot_be_lent_takes_nothing_from_others(here, tree):
    kept = here.home / "shared"
    (kept / "p-link").symlink_to("/etc")
    (kept / "p-file").write_text("x")
    (kept / "p-full").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", kept / "p-full"], check=True)
    try:
        mounts.want(here, USER, ["p-file", "p-full", "p-link", "p-one"])
        shared = mounts.shared_tree(here, USER)
        wait_until(lambda: names(shared) == {"p-full", "p-one"} == listed(shared), BACK_WITHIN_S, "what can be lent")
        with pytest.raises(OSError) as full:
            (shared / "p-full" / "large").write_bytes(b"x" * 100_000)
        assert full.value.errno == errno.ENOSPC
        (shared / "p-one" / "small").write_text("goes on")
        said = (here.log / "mounts.log").read_text()
        assert "there is no /shared/p-link: " in said and "Links are not followed" in said and "there is no /shared/p-file: " in said
        wait_until(lambda: reads(tree / "p-one") == b"one", BACK_WITHIN_S, "/data beside it")
    finally:
        mounts.want(here, USER, [])
        wait_until(lambda: listed(shared) == set(), BACK_WITHIN_S, "its end")
        subprocess.run(["umount", kept / "p-full"], check=True)
        for name in ("p-link", "p-file"):
            (kept / name).unlink()


# A notebook as far as mounts go: a mount namespace of its own in which the tree at argv[1] is argv[2]. Each process holds p-one in its way.
NOTEBOOK = """
import os, socket, subprocess, sys, time
tree, shared = sys.argv[1:3]
subprocess.run(["mount", "--rbind", tree, shared], check=True)
subprocess.run(["mount", "--make-rslave", shared], check=True)
def writes():
    return os.open(shared + "/p-one/held", os.O_CREAT | os.O_WRONLY)
def maps():
    import mmap
    os.ftruncate(file := os.open(shared + "/p-one/mapped", os.O_CREAT | os.O_RDWR), 4096)
    kept = mmap.mmap(file, 4096)
    os.close(file)
    return kept
def works():
    os.chdir(shared + "/p-one")
def hides():
    pair = socket.socketpair()
    socket.send_fds(pair[0], [b"x"], [file := writes()])
    os.close(file)
    return pair
def nothing():
    return os.open(shared + "/p-two/other", os.O_CREAT | os.O_WRONLY)
for way in sys.argv[3:]:
    if not (child := os.fork()):
        kept = locals()[way]()
        os.write(1, f"{way} {os.getpid()}\\n".encode())  # at once: the others write there, too
        time.sleep(600)
time.sleep(600)
"""


@pytest.fixture
def notebook(shared, tmp_path):
    """`notebook(*ways)`: processes of a notebook, by how they hold on; the one beside them is `""`."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "shared").mkdir()

    def start(*ways: str) -> dict[str, psutil.Process]:
        command = ["unshare", "--mount", "--propagation", "unchanged", sys.executable, "-c", NOTEBOOK, str(shared), str(tmp_path / "shared"), *ways]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        said = [started[-1].stdout.readline().split() for _ in ways]
        return {"": psutil.Process(started[-1].pid), **{way: psutil.Process(int(pid)) for way, pid in said}}

    yield start
    for process in started:
        for child in psutil.Process(process.pid).children() if process.poll() is None else []:
            child.kill()
        process.kill()
        process.communicate()


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_who_holds_what_is_lost_is_ended_and_nobody_else(here, shared, notebook):
    held = notebook("writes", "maps", "works", "nothing")
    mounts.want(here, USER, ["p-two"])
    wait_until(lambda: listed(shared) == {"p-two"}, BACK_WITHIN_S, "the loss")
    assert {way for way, process in held.items() if alive(process)} == {"", "nothing"}


def test_a_notebook_that_hides_what_it_holds_is_ended(here, shared, notebook):
    held = notebook("hides", "writes", "nothing")
    mounts.want(here, USER, ["p-two"])
    wait_until(lambda: listed(shared) == {"p-two"}, BACK_WITHIN_S, "the loss")
    wait_until(lambda: not any(alive(process) for process in held.values()), 5, "the notebook's end")


def test_what_is_lost_while_nobody_mounts_goes_with_what_was_held(here, shared, notebook):
    held = notebook("writes", "nothing")
    mounting = next(process for process in psutil.process_iter() if is_mounts_process(here, process))
    mounting.suspend()
    mounts.want(here, USER, ["p-two"])
    mounting.kill()
    wait_until(lambda: listed(shared) == {"p-two"}, BACK_WITHIN_S, "the loss")
    assert {way for way, process in held.items() if alive(process)} == {"", "nothing"}


def test_who_has_more_open_than_is_looked_through_counts_as_holding_on(here, shared, notebook, monkeypatch):
    held = notebook("nothing")
    device = mounts.mounted(here.data)[here.data]
    assert sharing.end(here, shared / "p-one", device) == 0
    assert sharing.end(here, shared.parent / "bob" / "p-one", device, all_that_see_it=True) == 0, "another's notebook"
    monkeypatch.setattr(sharing, "_MOST", 20)
    assert sharing.end(here, shared / "p-one", device) == 2
    wait_until(lambda: not any(alive(process) for process in held.values()), 5, "their end")
