"""Homes' backups on the embedded store: what comes back is what was there; who may reach them; nights that are cut off or fail."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from fixtures.processes import BIN, start, wait_until
from fixtures.requirements import require, require_command
from neve.private import write_private
from neve_hub import home_backup, settings_file, store
from neve_hub.instance import Found, Instance

from archiver import app, doctor, nights
from archiver.config import exactly, load
from archiver.errors import NotFound, WrongSetting, WrongUse

MB = 2**20
ODD = ["né vé", "new\nline", b"latin-\xe9".decode("utf-8", "surrogateescape"), "-dash", "*", "quote'\""]


@pytest.fixture(scope="module")
def here(tmp_path_factory, port_base):
    """An instance with nothing but its store, its buckets and two homes."""
    for command in ("restic", "bwrap"):
        require_command(command, what="backups")
    require("backups with their owners", None if os.geteuid() == 0 else "giving files to others takes root")
    home = tmp_path_factory.mktemp("backup") / "home"
    os.environ["NEVE_HOME"], os.environ["NEVE_PORT"] = str(home), str(port_base())
    try:
        file = settings_file.write_first(Instance(load()))
        file.write_text(file.read_text() + '\n[backup]\nbucket = "neve-homes"\n')
        here = Instance(load(file))
        for folder in (here.run, here.home / "hub", here.home / "homes"):
            folder.mkdir(parents=True, exist_ok=True)
        here.remember(Found(gateway=None, mounts=False, firewall=False))
        write_private(here.secrets / home_backup.PASSWORD, "long and secret")
        store.configure(here)
        weed = start(store.command(here), home / "store.log", env={"PATH": f"{BIN}:{os.environ['PATH']}"})
        try:
            store.wait(here, seconds=60)
            assert "bucket neve-homes" in app.setup(app.open_archive(here.settings, check=False))
            yield here
        finally:
            weed.stop()
    finally:
        del os.environ["NEVE_HOME"], os.environ["NEVE_PORT"]


@pytest.fixture
def alice(here):
    home = here.home / "homes" / "alice"
    shutil.rmtree(home, ignore_errors=True)
    (home / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(ODD):
        (home / "deep" / name).write_bytes(os.urandom(100 + number))
    (home / "big").write_bytes(os.urandom(3 * MB))
    (home / "empty").mkdir(mode=0o711)
    (home / "link").symlink_to("deep/er")
    (home / "away").symlink_to("/etc")
    (home / "nowhere").symlink_to("/no/such/thing")
    os.link(home / "big", home / "again")
    (home / "deep" / "-dash").chmod(0o4750)
    (home / "closed").write_bytes(b"x")
    (home / "closed").chmod(0o000)
    for place, folders, files in os.walk(home):
        for name in (*folders, *files):
            os.chown(Path(place) / name, 1000, 1001, follow_symlinks=False)
    os.chown(home, 1000, 1000)
    os.utime(home / "big", ns=(10**18, 10**18 + 123456789))
    return home


def seen(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below: kind and mode, owner, time, what is in it."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        inside = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        when = status.st_mtime_ns if path.is_file() and not path.is_symlink() else None
        found[str(path.relative_to(folder))] = (oct(status.st_mode), status.st_uid, status.st_gid, when, inside)
    return found


def objects(here: Instance, below: str) -> list[str]:
    listed = store.client(here, "homes").list_objects_v2(Bucket="neve-homes", Prefix=f"homes/{below}")
    return [item["Key"] for item in listed.get("Contents", ())]


def test_what_was_deleted_comes_back_as_it_was(here, alice, tmp_path):
    (here.home / "shared" / "p1").mkdir(parents=True, exist_ok=True)
    (here.home / "shared" / "p1" / "all.txt").write_text("ours")
    before = seen(alice)
    said = home_backup.night(here)
    assert (said.problem, said.saved) == ("", 2)
    (alice / "big").unlink()
    (alice / "deep" / "*").write_bytes(b"new")
    home_backup.restore(here, "/homes/alice", tmp_path / "alice")
    assert seen(tmp_path / "alice") == before
    assert (tmp_path / "alice" / "away").is_symlink()
    command = [BIN / "neve-run", "--config", here.home / "neve.toml", "backup"]
    subprocess.run([*command, "restore", "--shared", tmp_path / "shared"], check=True)
    assert (tmp_path / "shared" / "p1" / "all.txt").read_text() == "ours"
    listed = subprocess.run([*command, "list", "--user", "alice"], check=True, capture_output=True, text=True).stdout.split()
    assert listed[2] == "/homes/alice" and len(listed) == 3
    home_backup.restore(here, "/homes/alice", tmp_path / "by number", listed[0])
    assert seen(tmp_path / "by number") == before


def test_a_restore_writes_over_nothing_and_says_what_is_not_there(here, alice, tmp_path):
    home_backup.night(here)
    for target in (tmp_path, tmp_path / "absent" / "alice"):
        with pytest.raises(WrongUse, match="is there already, or the folder"):
            home_backup.restore(here, "/homes/alice", target)
    with pytest.raises(NotFound, match="There is no backup of /homes/carol"):
        home_backup.restore(here, "/homes/carol", tmp_path / "carol")
    with pytest.raises(WrongUse, match="no snapshot"):
        home_backup.restore(here, "/homes/alice", tmp_path / "alice", "--delete")
    assert list(tmp_path.iterdir()) == []


def test_what_lies_outside_a_home_cannot_be_read_through_it(here, alice, tmp_path):
    (tmp_path / "secret").write_text("theirs")
    (alice / "out").symlink_to(tmp_path)
    home_backup.night(here)
    for way in ("/homes/alice/out/secret", str(here.secrets / home_backup.PASSWORD), "/etc/passwd"):
        code, said = home_backup._restic(here, "backup", "--host", "try", way, reads=(alice, "/homes/alice"))
        assert code != 0 and "all target directories/files do not exist" in said, (way, said)


def test_its_keys_reach_this_bucket_only(here):
    mine = store.client(here, "homes")
    mine.put_object(Bucket="neve-homes", Key="x", Body=b"x")
    mine.delete_object(Bucket="neve-homes", Key="x")
    for attempt in (
        lambda: mine.list_objects_v2(Bucket="neve-hot"),
        lambda: mine.put_object(Bucket="neve-team", Key="x", Body=b"x"),
        lambda: mine.create_bucket(Bucket="neve-mine"),
        lambda: store.client(here, "mounts").list_objects_v2(Bucket="neve-homes"),
        lambda: store.client(here, "archiver").list_objects_v2(Bucket="neve-homes"),
    ):
        with pytest.raises(ClientError) as refused:
            attempt()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_backup_that_was_killed_is_made_up_for_and_told_no_secret(here, alice):
    home_backup.night(here)
    (alice / "large").write_bytes(os.urandom(200 * MB))
    code = "from neve_hub import home_backup as b; from neve_hub.instance import current; b.night(current())"
    cut = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "NEVE_CONFIG": str(here.home / "neve.toml")}, start_new_session=True)
    try:
        wait_until(lambda: commands("backup"), 30, "restic at work")
        wait_until(lambda: objects(here, "locks/"), 30, "its lock")
        words = "\n".join(commands("restic"))
        for secret in ("long and secret", *store.credentials(here)["homes"].values()):
            assert secret not in words
    finally:
        os.killpg(cut.pid, signal.SIGKILL)
        cut.wait()
    wait_until(lambda: not commands("restic"), 10, "the end of restic")
    assert objects(here, "locks/"), "it was killed while it worked"
    assert home_backup.due(home_backup.status(here), time(2, 0), datetime.now(UTC) + timedelta(days=1))
    said = home_backup.night(here)
    assert said.problem == "" and not objects(here, "locks/")


def commands(word: str) -> list[str]:
    """Command lines of bubblewrap's restic that have this word."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if line.startswith(("bwrap ", "restic ")) and word in line.split():
            found.append(line)
    return found


def test_what_is_wrong_is_told_and_lost_backups_are_not_begun_anew(here, alice):
    home_backup.night(here)
    archive = app.open_archive(here.settings)
    now = datetime.now(UTC)
    night = nights.last(here.settings, now)
    assert night is not None and night.why == "" and night.saved == 2
    (finding,) = [found for found in doctor.examine(archive) if found.what == "backups of homes"]
    assert finding.ok, finding
    late = nights.last(here.settings, now + timedelta(hours=37))
    assert late is not None and late.why.startswith("Homes were saved last ")
    admin = store.client(here, "setup")
    for key in objects(here, ""):
        admin.delete_object(Bucket="neve-homes", Key=key)
    said = home_backup.night(here)
    assert said.problem.startswith("The backups in neve-homes cannot be opened")
    assert not objects(here, "config")
    night = nights.last(here.settings, now)
    assert night is not None and night.why.startswith("Homes were not saved: The backups in neve-homes cannot be opened")
    (finding,) = [found for found in doctor.examine(archive) if found.what == "backups of homes"]
    assert not finding.ok and "neve-run backup now" in finding.detail
    (here.home / "hub" / "home-backup.json").unlink()
    assert home_backup.night(here).problem == ""


@pytest.mark.parametrize(("other", "of"), [("neve-hot", "tiers.hot"), ("neve-team", "team")])
def test_its_bucket_is_nothing_elses(other, of):
    team = {"bucket": "neve-team", "role_arn": "arn"}
    with pytest.raises(WrongSetting, match=rf"backup\.bucket is the bucket of {of}: backups need a bucket of their own"):
        exactly({"team": team, "backup": {"bucket": other}}, "here")


@pytest.mark.parametrize(
    ("said", "now", "is_due"),
    [
        ({}, "2026-01-05T12:00", True),
        ({"tried_at": "2026-01-05T02:00:10", "done_at": "2026-01-05T02:10"}, "2026-01-05T12:00", False),
        ({"tried_at": "2026-01-05T02:00:10", "done_at": "2026-01-05T02:10"}, "2026-01-06T01:59", False),
        ({"tried_at": "2026-01-05T02:00:10", "done_at": "2026-01-05T02:10"}, "2026-01-06T02:00", True),
        ({"tried_at": "2026-01-02T02:00:10", "done_at": "2026-01-02T02:10"}, "2026-01-06T01:00", True),  # it was switched off
        ({"tried_at": "2026-01-06T02:00", "done_at": "2026-01-05T02:10", "problem": "away"}, "2026-01-06T02:30", False),
        ({"tried_at": "2026-01-06T02:00", "done_at": "2026-01-05T02:10", "problem": "away"}, "2026-01-06T03:01", True),
        ({"tried_at": "2026-01-06T02:00", "done_at": "2026-01-05T02:10"}, "2026-01-06T02:01", True),  # cut off
    ],
)
def test_when_a_night_is_due(said, now, is_due):
    times = {name: f"{value}+00:00" if name != "problem" else value for name, value in said.items()}
    assert home_backup.due(home_backup.Status(**times), time(2, 0), datetime.fromisoformat(f"{now}+00:00")) is is_due
