"""Events are a hint: what they say, when there are none, and when there are too many."""

from __future__ import annotations

import threading

import pytest
from fixtures.watching import put
from neve.send import noticing
from neve.send.noticing import Noticing, is_remote, kind_of_mount

MOUNTS = r"""
/dev/sda1 / ext4 rw 0 0
server:/export /data nfs4 rw 0 0
//srv/share /mnt/with\040space cifs rw 0 0
user@host: /home/me/remote fuse.sshfs rw 0 0
/dev/sdb /data/local xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/home/me", "ext4"),
        ("/data", "nfs4"),
        ("/data/inbox", "nfs4"),
        ("/database", "ext4"),
        ("/data/local/inbox", "xfs"),
        ("/mnt/with space/x", "cifs"),
        ("/home/me/remote/x", "fuse.sshfs"),
    ],
)
def test_which_file_system_a_folder_lies_on(path, kind):
    assert kind_of_mount(MOUNTS, path) == kind


def test_network_mounts_are_looked_through_instead(tmp_path, monkeypatch):
    assert not is_remote(tmp_path)
    monkeypatch.setattr(noticing, "kind_of_mount", lambda _mounts, _path: "fuse.sshfs")
    watched = Noticing(tmp_path, lambda: None)
    assert watched.why_not == "network mounts send none"
    assert watched.taken() == []
    watched.close()


def test_without_the_library_and_when_off(tmp_path, monkeypatch):
    assert Noticing(tmp_path, lambda: None, wanted=False).why_not == "they are off"
    monkeypatch.setattr(noticing.importlib.util, "find_spec", lambda _name: None)
    assert Noticing(tmp_path, lambda: None).why_not == "watchfiles is not installed"


def test_what_happens_right_after_the_start_is_told(tmp_path):
    pytest.importorskip("watchfiles")
    woken = threading.Event()
    watched = Noticing(tmp_path, woken.set)
    try:
        assert watched.why_not == ""
        path = put(tmp_path / "a.dat")
        assert woken.wait(30)
        assert path in watched.taken()
        assert watched.taken() == []
    finally:
        watched.close()


def test_too_many_to_hold_is_a_scan(tmp_path):
    woken = []
    watched = Noticing(tmp_path, lambda: woken.append(1), wanted=False)
    watched.note({f"/inbox/{number}" for number in range(5_001)})
    assert watched.taken() is None
    assert watched.taken() == []
    assert woken
