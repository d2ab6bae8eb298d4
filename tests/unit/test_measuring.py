"""How much a home holds: symbolic links, hard links, holes, odd names, depth, time, and an owner who moves folders meanwhile."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from neve_hub import measuring

MB = 2**20


def fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(os.urandom(size))
        os.fsync(file.fileno())


def about(size: int) -> tuple[int, int]:
    return size, size + 200_000  # folders take blocks too


def measured(home: Path, within_s: float = 30.0) -> measuring.Usage:
    return measuring.measure(home, within_s)


def test_what_is_on_the_disk_counts_once_and_links_lead_nowhere(tmp_path):
    home, outside = tmp_path / "home", tmp_path / "outside"
    fill(outside / "much", 20 * MB)
    fill(home / "big" / "deep" / "file", 5 * MB)
    fill(home / ".cache" / "file", 3 * MB)
    fill(home / "small" / "file", 2 * MB)
    fill(home / "tiny" / "file", MB)
    fill(home / "here", MB)
    fill(home / ".local" / "share" / "Trash" / "files" / "old", 4 * MB)
    (home / "again").mkdir()
    for number in range(3):
        os.link(home / "here", home / "again" / str(number))
    with (home / "holes").open("wb") as holes:
        holes.truncate(10**12)
    (home / "link").symlink_to(outside)
    (home / "self").symlink_to(home)
    os.mkfifo(home / "pipe")
    usage = measured(home)
    least, most = about(16 * MB)
    assert least <= usage.used_bytes <= most and usage.whole
    assert [name for name, _ in usage.largest] == ["big", ".local", ".cache"]
    assert least - 11 * MB <= usage.largest[0][1] <= most - 11 * MB
    assert 4 * MB <= usage.trash_bytes <= 4 * MB + 100_000


def test_names_of_any_bytes_are_told_in_print(tmp_path):
    for name in (b"caf\xe9\n", "né\u202evé".encode(), b"x" * 255):
        fill(tmp_path / os.fsdecode(name) / "f", MB)
    names = {name for name, _ in measured(tmp_path).largest}
    assert names == {"caf\ufffd\ufffd", "né\ufffdvé", "x" * 60 + "…"}


def test_a_home_that_is_a_link_or_is_not_there_is_not_measured(tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    for name in ("link", "absent"):
        with pytest.raises(OSError, match=name):
            measured(tmp_path / name)


def test_where_time_or_depth_ends_it_is_an_at_least(tmp_path):
    fill(tmp_path / "a" / "file", MB)
    assert not measured(tmp_path, -1).whole
    deep = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # its path is longer than any path may be
        os.mkdir("d", dir_fd=deep)
        deep, above = os.open("d", os.O_RDONLY, dir_fd=deep), deep
        os.close(above)
    os.close(deep)
    usage = measured(tmp_path)
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # pytest's own way to remove it knows less depth
    assert not usage.whole and usage.used_bytes >= MB


def test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(tmp_path, monkeypatch):
    home, outside = tmp_path / "home", tmp_path / "outside"
    fill(outside / "much", 20 * MB)
    fill(home / "d" / "file", MB)
    opened = os.open

    def late(path: object, flags: int, **where: int) -> int:
        """What its owner does between the look at a folder and its opening."""
        if path == "d":
            (home / "d").rename(home / "was")
            (home / "d").symlink_to(outside)
        return opened(path, flags, **where)

    monkeypatch.setattr(os, "open", late)
    assert measured(home).used_bytes < 2 * MB
    assert (home / "d").is_symlink()
