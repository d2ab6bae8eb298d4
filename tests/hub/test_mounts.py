"""/data by s3fs: what is mounted follows what is wanted, whatever is killed in between."""

from __future__ import annotations

import json
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
    mounts.release(here, USER)
    wait_until(lambda: not mounts.mounted(place), BACK_WITHIN_S, "the end of the tree")
    assert names(place) == set()


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
