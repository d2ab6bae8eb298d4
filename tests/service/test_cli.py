"""`archiver …` as a person types it, against the real store: what it says, its exit code, its JSON, and that nothing is half-done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from fixtures.archive import Bench
from fixtures.command import archiver
from typer.testing import CliRunner

from archiver import chores
from archiver.archive import Archive
from archiver.chores import Chore
from archiver.cli import cli
from archiver.errors import StoreUnavailable
from archiver.ledger.leases import Lease

BIN = Path(sys.executable).parent


def run(bench: Bench, *words: str | Path, env: dict[str, str] | None = None, config: Path | None = None):
    return archiver("--config", config or bench.settings_file, *words, env=env, cwd=bench.folder)


def fails(answer, code: int, *says: str):
    assert answer.returncode == code, answer
    assert "Traceback" not in answer.stderr
    for text in says:
        assert text in answer.stderr, answer.stderr
    return answer


def test_the_script_itself(bench: Bench):
    done = subprocess.run([BIN / "archiver", "--config", bench.settings_file, "status", "nothing"], capture_output=True, text=True, timeout=120)
    fails(done, 1, "There is no dataset 'nothing'")


def test_the_whole_way_by_command_line(bench: Bench):
    folder = bench.write("run1", {"a.bin": b"abc", "sub/b.bin": b"x" * 5000})
    got = run(bench, "ingest", folder, "--project", "snow", "--instrument", "saxs", "--json")
    assert got.returncode == 0, got.stderr
    assert [(d["dataset"], d["state"], d["received"], d["already_there"]) for d in json.loads(got.stdout)] == [("saxs/run1", "closed", 2, 0)]
    again = json.loads(run(bench, "ingest", folder, "--project", "snow", "--instrument", "saxs", "--json").stdout)
    assert [(d["dataset"], d["received"], d["already_there"]) for d in again] == [("saxs/run1", 0, 2)]
    planned = json.loads(run(bench, "tier", "--dry-run", "--json", "--now", "2026-03-01T13:00:00Z").stdout)["copies"]
    assert {(p["project"], p["tier"], p["objects"]) for p in planned} == {("snow", "archive", 3), ("snow", "deep", 3)}
    assert run(bench, "worker", "--once").returncode == 0
    shown = json.loads(run(bench, "status", "run1", "--json").stdout)
    assert shown["tiers"] == ["hot", "archive", "deep"]
    assert {f["path"]: f["size_bytes"] for f in shown["files"]} == {"a.bin": 3, "sub/b.bin": 5000}
    # What archive has to let go is the reaper's; then hot, whose stub came first (no grace left at a later time).
    tiered = run(bench, "tier", "--now", "2030-01-01")
    assert "2 copies in archive are left to `archiver reaper`" in tiered.stdout, tiered
    assert run(bench, "reaper", "--once", "--now", "2030-01-01").returncode == 0
    assert run(bench, "tier", "--now", "2030-01-02").returncode == 0
    assert json.loads(run(bench, "status", "saxs/run1", "--json").stdout)["tier"] == "deep"
    back = json.loads(run(bench, "restore", "run1", "--days", "2", "--json").stdout)
    assert (back["state"], back["files_total"], back["keep_days"]) == ("requested", 2, 2)
    assert run(bench, "worker", "--once").returncode == 0
    check = run(bench, "ledger", "check")
    assert (check.returncode, check.stdout.strip()) == (0, "Every invariant holds.")
    text = run(bench, "status").stdout
    assert "1 datasets" in text
    assert "hot" in text


def test_status_names_the_chores_whose_last_run_failed(bench: Bench):
    def broken(_archive: Archive) -> None:
        raise StoreUnavailable("The store of tier deep does not answer.", "Start it.")

    def do(name: str, run_it: Callable[[Archive], None]) -> None:
        chores.do_due(bench.archive, Lease("w", timedelta(minutes=1)), [Chore(name, timedelta(days=1), run_it)])

    do("anchors", lambda _archive: None)
    do("drill", broken)
    do("fixity", broken)
    bench.turn(days=1)
    do("fixity", lambda _archive: None)
    status = ["--config", str(bench.settings_file), "status"]
    failed = json.loads(CliRunner().invoke(cli, [*status, "--json"]).stdout)["chores_failed"]
    assert failed == [{"name": "drill", "at": "2026-03-01T12:00:00Z", "error": "The store of tier deep does not answer. Start it."}]
    told = [line for line in CliRunner().invoke(cli, status).stdout.splitlines() if "chore" in line]
    assert told == ["the chore drill failed at 2026-03-01T12:00:00Z and comes back: The store of tier deep does not answer. Start it."]


def test_doctor_says_what_is_there_and_what_is_not(bench: Bench, tmp_path: Path):
    healthy = run(bench, "doctor", "--json")
    assert healthy.returncode == 0, healthy.stdout
    assert [f["what"] for f in json.loads(healthy.stdout)][:2] == ["ledger", "home"]
    assert bench.keys("hot") == []  # the probe is gone
    broken = tmp_path / "broken.toml"
    text = bench.settings_file.read_text()
    broken.write_text(text.replace(f'bucket = "{bench.archive.tiers["deep"].bucket}"', 'bucket = "not-there-at-all"'))
    answer = run(bench, "doctor", config=broken)
    assert answer.returncode == 1
    assert "BAD  tier deep" in answer.stdout
    assert "archiver setup" in answer.stdout


BAD: list[tuple[list[str], int, str]] = [
    (
        ["ingest", "/nowhere/at/all", "--project", "snow", "--instrument", "saxs"],
        1,
        "/nowhere/at/all cannot be read: No such file or directory. Check",
    ),
    (["ingest", "{file}", "--project", "nobody", "--instrument", "saxs"], 1, "There is no project 'nobody' (known: ice-cores, snow)"),
    (["ingest", "{file}", "--project", "snow", "--instrument", "sacks"], 1, "There is no instrument 'sacks'"),
    (["ingest", "{file}", "--project", "snow", "--instrument", "saxs", "--dataset", "a/b"], 2, "cannot be the name of a dataset"),
    (["ingest", "{empty}", "--project", "snow", "--instrument", "saxs"], 1, "There is no file in"),
    (["ingest", "{file}", "--project", "snow"], 2, "--instrument"),
    (["status", "nothing"], 1, "There is no dataset 'nothing'"),
    (["restore", "nothing"], 1, "There is no dataset 'nothing'"),
    (["tier", "--now", "yesterday"], 2, "'yesterday' is not a time"),
    (["projects", "add", "No Spaces"], 2, "cannot be the name of a project"),
    (["frobnicate"], 2, "frobnicate"),
]


def test_bad_input_is_one_sentence_and_changes_nothing(bench: Bench, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for words, code, says in BAD:
        filled = [w.format(file=tmp_path / "file", empty=tmp_path / "empty") for w in words]
        answer = fails(run(bench, *filled), code, says)
        if "Usage" not in answer.stderr:
            assert len(answer.stderr.strip().splitlines()) == 1, words
        with bench.archive.ledger.read() as tx:
            assert tx.states()["dataset"] == {}, words
    assert bench.keys("hot") == []


def test_restore_refuses_absurd_days_and_empty_selections(bench: Bench):
    bench.ingest("run1", {"a": b"a"})
    for words, says in (
        (["--days", "0"], "0 days"),
        (["--days", "-3"], "-3 days"),
        (["--days", "5000"], "5000 days"),
        (["--files", "*.zip"], "matches"),
    ):
        fails(run(bench, "restore", "run1", *words), 2, says)
    with bench.archive.ledger.read() as tx:
        assert tx.states()["restore"] == {}


def test_an_unreadable_file_stops_before_anything_is_written(bench: Bench):
    folder = bench.write("run1", {"a": b"a", "b": b"b"})
    (folder / "c").symlink_to(folder / "nowhere")  # links are not followed and not received
    (folder / "a").unlink()
    os.mkfifo(folder / "a")
    got = run(bench, "ingest", folder, "--project", "snow", "--instrument", "saxs", "--json")
    assert json.loads(got.stdout)[0]["received"] == 1
    fails(run(bench, "ingest", folder / "a", "--project", "snow", "--instrument", "saxs"), 1, "neither a file nor a folder")


def test_a_store_that_is_down_is_said_and_the_same_command_goes_on_later(bench: Bench, tmp_path: Path):
    folder = bench.write("run1", {"a": b"a"})
    down = tmp_path / "down.toml"
    down.write_text(bench.settings_file.read_text().replace(bench.archive.tiers["hot"].endpoint_url, "http://127.0.0.1:9"))
    fails(run(bench, "ingest", folder, "--project", "snow", "--instrument", "saxs", config=down), 1, "The store of tier hot", "cannot be used")
    with bench.archive.ledger.read() as tx:
        assert tx.states()["dataset"] == {"open": 1}
    got = run(bench, "ingest", folder, "--project", "snow", "--instrument", "saxs", "--json")
    assert json.loads(got.stdout)[0]["state"] == "closed"


def test_wrong_settings_and_a_missing_ledger_stop_the_start(bench: Bench, tmp_path: Path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("prot = 1")
    fails(run(bench, "status", config=wrong), 2, "prot: is not a setting")
    fails(run(bench, "status", env={"NEVE_HOME": str(tmp_path / "elsewhere")}), 1, "There is no ledger", "archiver setup")
    swapped = tmp_path / "swapped.toml"
    hot, deep = (bench.archive.tiers[t].bucket for t in ("hot", "deep"))
    swapped.write_text(bench.settings_file.read_text().replace(hot, "@").replace(deep, hot).replace("@", deep))
    fails(run(bench, "worker", "--once", config=swapped), 2, "carries the marker")
