"""`neve send` with many small files against the archiver itself: in packs, each once, at its own path, killed at any moment."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fixtures.door import Door
from fixtures.sending import sources
from neve.send.journal import Journal
from neve.send.patience import Patience
from neve.send.reception import Reception
from neve.send.sender import send

from archiver import names
from archiver.check import check
from archiver.model import ObjectKind

NEVE = Path(sys.executable).with_name("neve")


@pytest.fixture
def door(doors: Callable[..., Door]) -> Door:
    """Archive and deep take bundles."""
    return doors(archive={"bundles": True}, deep={"bundles": True})


def filled(folder: Path, count: int, size_bytes: int) -> dict[bytes, bytes]:
    folder.mkdir()
    files = {f"scan{number:04}.dat".encode(): secrets.token_bytes(size_bytes) for number in range(count)}
    files |= {b"bytes \xff\xfe.bin": b"no text", b"new\nline": b"n", b"x" * 255: b"long", b"empty": b"", "\u00e9\U0001f600".encode(): b"e"}
    for name, data in files.items():
        (folder / os.fsdecode(name)).write_bytes(data)
    return files


def assert_all_there(door: Door, files: dict[bytes, bytes]) -> int:
    """Each file is received and stands at its own path; returns how many bundles archive holds."""
    door.settle()
    archive = door.bench.archive
    with archive.ledger.read() as tx:
        dataset = tx.dataset_named("saxs", "run42")
        assert dataset is not None
        bundles = {obj.id for obj in tx.objects(dataset.id) if obj.kind is ObjectKind.BUNDLE}
        held = [copy for copy in tx.copies(dataset.id) if copy.object_id in bundles]
        assert {file.path_raw for file in tx.files(dataset.id)} == set(files)
    for path, content in files.items():
        assert door.bench.read(dataset, names.text(path)) == content
    assert {copy.tier for copy in held} == {"archive", "deep"}
    assert check(archive) == []
    return sum(copy.tier == "archive" for copy in held)


def test_hundreds_of_small_files_arrive_together(door: Door, tmp_path: Path):
    files = filled(tmp_path / "run42", 500, 2000)
    reception, journal = Reception(door.url, door.key, Patience(longest_s=1)), Journal(tmp_path / "sent", door.url)
    with closing(reception), journal, door.working():
        outcome = send(reception, journal, "snow", "run42", sources(tmp_path / "run42"))
        blind = send(reception, None, "snow", "run42", sources(tmp_path / "run42"))
    assert (outcome.sent, outcome.failed, outcome.state) == (len(files), 0, "closed")
    assert (blind.sent, blind.already) == (0, len(files))
    assert assert_all_there(door, files) == 3


def test_killed_at_any_moment_each_file_is_there_once(door: Door, tmp_path: Path):
    """kill -9 of the sender after random times; then it runs to its end."""
    files = filled(tmp_path / "run42", 600, 3000)
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance, kills = random.Random(seed), 0
    env = {**os.environ, "NEVE_URL": door.url, "NEVE_KEY": door.key, "XDG_STATE_HOME": str(tmp_path / "state")}
    with door.working():
        for _ in range(4):
            one = subprocess.Popen([NEVE, "send", tmp_path / "run42", "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert one.stdout is not None
            for line in one.stdout:
                if b'"opened"' in line:
                    break
            try:
                one.wait(chance.uniform(0.05, 1.2))
            except subprocess.TimeoutExpired:
                one.kill()
                kills += 1
            said, trouble = one.communicate()
            assert one.returncode in {-9, 0}, (said, trouble)
        last = subprocess.run([NEVE, "send", tmp_path / "run42"], env=env, capture_output=True, timeout=180, check=False)
    assert kills
    assert (last.returncode, last.stderr) == (0, b"")
    assert last.stdout.endswith(b"; closed.\n")
    assert_all_there(door, files)
