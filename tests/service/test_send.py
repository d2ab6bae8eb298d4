"""`send()` against the archiver itself: the real API, a real store, a worker that proves."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fixtures.sending import sources
from neve.errors import NotSignedIn
from neve.send.journal import Journal
from neve.send.patience import Patience
from neve.send.reception import Reception
from neve.send.sender import send

MIB = 1 << 20
NEVE = Path(sys.executable).with_name("neve")


@pytest.fixture
def reception(door):
    connected = Reception(door.url, door.key, Patience(longest_s=1))
    yield connected
    connected.close()


def received(door, name="run42") -> dict[bytes, bytes]:
    """What the ledger says is received, with the bytes that the store gives."""
    with door.bench.archive.ledger.read() as tx:
        dataset = tx.dataset_named("saxs", name)
        files = {file.path_raw: file.path for file in tx.files(dataset.id) if file.state == "received"}
    return {raw: door.bench.read(dataset, path) for raw, path in files.items()}


def test_files_of_every_size_and_name_arrive_once(door, reception, tmp_path):
    folder = tmp_path / "run42"
    folder.mkdir()
    files = {
        b"empty": b"",
        b"small.txt": b"abc",
        b"one part less one": secrets.token_bytes(16 * MIB - 1),
        b"large.h5": secrets.token_bytes(40 * MIB + 17),
        "Größe + % & # 'q\" 🧊.dat".encode(): b"emoji",
        b"new\nline": b"n",
        b"bytes \xff\xfe.bin": b"no text",
        b"A": b"upper",
        b"a": b"lower",
        "\u00e9".encode(): b"composed",
        "e\u0301".encode(): b"decomposed",
        b"x" * 255: b"long",
    }
    for name, data in files.items():
        (folder / os.fsdecode(name)).write_bytes(data)
    with Journal(tmp_path / "sent.sqlite3", reception.url) as journal, door.working():
        outcome = send(reception, journal, "snow", "run42", sources(folder), close=False)
        assert (outcome.sent, outcome.failed, outcome.failures) == (len(files), 0, [])
        again = send(reception, journal, "snow", "run42", sources(folder), close=False)
        assert (again.sent, again.already, again.bytes_sent) == (0, len(files), 0)
        blind = send(reception, None, None, "run42", sources(folder))
        assert (blind.sent, blind.already, blind.state) == (0, len(files), "closed")
        assert {entry.state for entry in journal.entries()} == {"received"}
    assert received(door) == files
    assert list(door.bench.archive.tiers["hot"].uploads()) == []


def process(door, folder, tmp_path, *arguments):
    env = {**os.environ, "NEVE_URL": door.url, "NEVE_KEY": door.key, "XDG_STATE_HOME": str(tmp_path / "state")}
    return subprocess.Popen([NEVE, "send", folder, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def versions(door) -> dict[str, int]:
    """How often each key of the hot bucket was written."""
    tier = door.bench.archive.tiers["hot"]
    found: dict[str, int] = {}
    for page in tier.client.get_paginator("list_object_versions").paginate(Bucket=tier.bucket, Prefix="snow/"):
        for version in page.get("Versions", []):
            found[version["Key"]] = found.get(version["Key"], 0) + 1
    return found


def test_killed_at_any_moment_each_file_is_there_once(door, tmp_path):
    """kill -9 of the sender after random times; then it runs to its end."""
    folder = tmp_path / "run42"
    folder.mkdir()
    files = {f"small{number:03}".encode(): secrets.token_bytes(5000) for number in range(150)}
    files |= {b"large": secrets.token_bytes(33 * MIB + 1), b"other": secrets.token_bytes(17 * MIB)}
    for name, data in files.items():
        (folder / os.fsdecode(name)).write_bytes(data)
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance, kills = random.Random(seed), 0
    with door.working():
        for _ in range(4):
            one = process(door, folder, tmp_path, "--json")
            for line in one.stdout:
                if b'"opened"' in line:
                    break
            try:
                one.wait(chance.uniform(0.05, 0.6))
            except subprocess.TimeoutExpired:
                one.kill()
                kills += 1
            said, trouble = one.communicate()
            assert one.returncode in {-9, 0}, (said, trouble)  # after some kills there may be little left, and it is quicker
        last = process(door, folder, tmp_path)
        out, err = last.communicate(timeout=120)
    assert kills
    assert (last.returncode, err) == (0, b"")
    assert out.endswith(b"; closed.\n")
    assert received(door) == files
    assert set(versions(door).values()) == {1}, "nothing was written twice"
    assert list(door.bench.archive.tiers["hot"].uploads()) == []


def test_a_revoked_key_and_a_file_over_the_limit(doors, tmp_path):
    door = doors("\n[reception]\nfile_max_bytes = 1000000\n")
    folder = tmp_path / "run42"
    folder.mkdir()
    (folder / "a").write_bytes(b"a")
    (folder / "big").write_bytes(b"b" * 1000001)
    with closing(Reception(door.url, door.key, Patience(longest_s=1))) as reception:
        with door.working():
            outcome = send(reception, None, None, "run42", sources(folder))
        assert (outcome.sent, outcome.failed, outcome.state) == (1, 1, "open")
        assert outcome.failures[0].sentence == "big has 1.0 MB (1000001 bytes); the archiver takes files up to 1.0 MB (1000000 bytes)"
        with door.bench.archive.ledger.begin() as tx:
            assert tx.revoke_keys("saxs") == 1
        with pytest.raises(NotSignedIn, match="revoked"):
            send(reception, None, None, "run42", sources(folder))


def test_late_files_and_other_content_go_where_they_belong(door, reception, tmp_path):
    folder = tmp_path / "run42"
    folder.mkdir()
    (folder / "a").write_bytes(b"first")
    with door.working():
        send(reception, None, None, "run42", sources(folder), close=False)
        (folder / "a").write_bytes(b"second")
        assert send(reception, None, None, "run42", sources(folder)).sent == 1
        (folder / "a").write_bytes(b"the third")
        (folder / "late").write_bytes(b"late")
        outcome = send(reception, None, None, "run42", sources(folder))
    assert (outcome.sent, outcome.state) == (2, "closed")
    assert received(door) == {b"a": b"first", b"a@v2": b"second"}
    assert received(door, "run42+1") == {b"a": b"the third", b"late": b"late"}


def test_sums_that_do_not_match_leave_nothing(door, reception, tmp_path):
    folder = tmp_path / "run42"
    folder.mkdir()
    files = {b"small": b"s" * 100, b"middle": b"m" * (3 * MIB), b"large": b"l" * (17 * MIB)}
    for name, data in files.items():
        (folder / os.fsdecode(name)).write_bytes(data)
    (folder / "good").write_bytes(b"good")
    with door.working():
        outcome = send(reception, None, None, "run42", sources(folder), sums=dict.fromkeys(files, "0" * 64))
    assert (outcome.sent, outcome.failed, outcome.state) == (1, 3, "open")
    assert received(door) == {b"good": b"good"}
    assert [key.rpartition("/")[2] for key in versions(door)] == ["good"]
