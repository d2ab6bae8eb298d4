"""Taking data home: whole, checked, gone on with; from a real store by its links."""

import hashlib
import json
import os
import threading
from pathlib import Path

import neve
import pytest
from neve.cli import app
from neve.downloading import PART
from neve.errors import ColdDataError, NotFound
from typer.testing import CliRunner

BIG = os.urandom(3 * 2**20 + 17)


@pytest.fixture
def home(lab, tmp_path, monkeypatch):
    folder = tmp_path / "laptop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    lab.add("saxs/home", {"big.h5": (BIG, "nexus"), "sub/é x.csv": (b"1,2\n", "csv"), "empty": (b"", None)}, ["hot"], age_days=2)
    return folder


def number(lab, name):
    return next(number for number, dataset in lab.datasets.items() if dataset["full_name"] == name)


def read(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_whole(home):
    came = []
    done = neve.download("saxs/home", progress=came.append)
    assert (done.folder, done.fetched, done.already, done.failed) == (Path("home"), 3, 0, {})
    assert read(home) == {"home/big.h5": BIG, "home/empty": b"", "home/sub/é x.csv": b"1,2\n"}
    assert sum(came) == done.size_bytes == len(BIG) + 4


def test_again_fetches_nothing(home, lab):
    neve.download("home")
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    done = neve.download("home")
    assert (done.fetched, done.already) == (0, 3)
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


def test_some_files_elsewhere(home, tmp_path):
    done = neve.download("home", tmp_path / "disk", files="*.h5")
    assert read(tmp_path / "disk") == {"home/big.h5": BIG}
    assert done.fetched == 1


def test_what_was_cut_short_is_gone_on_with(home):
    (home / "home").mkdir()
    (home / "home" / f"big.h5{PART}").write_bytes(BIG[: 2**20])
    asked = []
    neve.download("home", files="big.h5", progress=asked.append)
    assert asked[0] == 2**20  # known before anything came
    assert read(home) == {"home/big.h5": BIG}


@pytest.mark.parametrize("stale", [b"another file's bytes", BIG + b"more", b"\0" * len(BIG)])
def test_what_does_not_belong_to_it_is_begun_anew(home, stale):
    (home / "home").mkdir()
    (home / "home" / f"big.h5{PART}").write_bytes(stale)
    assert neve.download("home").failed == {}
    assert (home / "home" / "big.h5").read_bytes() == BIG
    assert not list(home.rglob(f"*{PART}"))


def test_nothing_is_overwritten(home):
    (home / "home").mkdir()
    (home / "home" / "big.h5").write_bytes(b"my own")
    done = neve.download("home")
    assert list(done.failed) == ["big.h5"]
    assert "is there, and is another file than big.h5" in done.failed["big.h5"]
    assert (home / "home" / "big.h5").read_bytes() == b"my own"
    assert done.fetched == 2


def test_wrong_bytes_are_not_kept(home, lab):
    copy = lab.files[number(lab, "saxs/home")][0]["copies"][0]
    copy["version_id"] = lab.s3.put_object(Bucket=copy["bucket"], Key=copy["key"], Body=b"x" * len(BIG))["VersionId"]
    done = neve.download("home")
    assert "came with another SHA-256" in done.failed["big.h5"]
    assert set(read(home)) == {"home/empty", "home/sub/é x.csv"}


def test_a_member_of_a_bundle(home, lab):
    file = lab.files[number(lab, "saxs/home")][0]
    copy = file["copies"][0]
    copy["version_id"] = lab.s3.put_object(Bucket=copy["bucket"], Key=copy["key"], Body=b"head" * 128 + BIG + b"tail")["VersionId"]
    lab.ranges[file["id"]] = f"bytes=512-{512 + len(BIG) - 1}"
    assert neve.download("home").failed == {}
    assert (home / "home" / "big.h5").read_bytes() == BIG


def test_links_that_are_too_old_are_asked_for_anew(home, lab):
    link, aged = lab.link, []

    def first_one_is_too_old(number, file):
        url = link(number, file)
        if not aged and file["path"] == "big.h5":
            aged.append(1)
            return url.replace("X-Amz-Signature=", "X-Amz-Signature=0")
        return url

    lab.link = first_one_is_too_old
    assert neve.download("home").failed == {}
    assert (home / "home" / "big.h5").read_bytes() == BIG


def test_names_stay_inside_the_folder(home, lab):
    names = ["../../out", "a/../../b", "/etc/x", "A", "a", "c\nd"]
    which = lab.add("saxs/hostile", {str(at): (b"%d" % at, None) for at in range(len(names))}, ["hot"], age_days=3)
    for at, name in enumerate(names):
        lab.files[which][at]["path"] = name
        lab.bodies[which, name] = b"%d" % at
    done = neve.download("hostile")
    assert done.failed == {}
    found = read(home)
    assert all(name.startswith("hostile/") for name in found)
    assert sorted(found.values()) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert len({name.casefold() for name in found}) == 6


def test_cold(home):
    with pytest.raises(ColdDataError) as caught:
        neve.download("scan7")
    assert (caught.value.dataset, caught.value.back_within) == ("xas/scan7", "3 days")
    with pytest.raises(NotFound, match="Did you mean"):
        neve.download("saxs/home9")
    assert list(home.iterdir()) == []


def test_a_full_disk_is_a_sentence(home, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert "No space left on device" in neve.download("home").failed["big.h5"]


def test_on_the_command_line(home, lab):
    answer = CliRunner().invoke(app, ["download", "home", "--to", str(home / "x"), "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout) == [
        {"dataset": "saxs/home", "folder": str(home / "x" / "home"), "fetched": 3, "already": 0, "size_bytes": len(BIG) + 4, "failed": {}}
    ]
    (home / "x" / "home" / "empty").write_bytes(b"not empty")
    answer = CliRunner().invoke(app, ["download", "home", "--to", str(home / "x")])
    assert answer.exit_code == 1
    assert "saxs/home: 0 file(s), 0 B into" in answer.stdout
    assert "empty of saxs/home is missing" in answer.stderr


def test_waiting_for_what_is_cold(home, lab):
    answer = CliRunner().invoke(app, ["download", "scan7", "--wait"])
    assert answer.exit_code == 0, answer.output
    assert (
        hashlib.sha256((home / "scan7" / "scan.h5").read_bytes()).digest() == hashlib.sha256(lab.bodies[number(lab, "xas/scan7"), "scan.h5"]).digest()
    )
    assert len(lab.restores) == 1
    assert threading.active_count() < 20
