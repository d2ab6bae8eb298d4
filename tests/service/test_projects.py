"""`archiver projects …` on SQLite and PostgreSQL: the user office's list enters as a whole or not at all, and publishes nothing unasked."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fixtures.command import archiver
from fixtures.ledgers import put_ledger

from archiver.ledger import Ledger
from archiver.model import DatasetState, Project


@dataclass
class Office:
    """A ledger with the projects snow (two closed datasets) and ice-cores, and the hand that brings lists."""

    folder: Path
    ledger: Ledger

    def run(self, *words: str | Path) -> CompletedProcess[str]:
        return archiver("--config", self.folder / "neve.toml", "projects", *words, cwd=self.folder)

    def brings(self, text: str, *options: str) -> CompletedProcess[str]:
        (self.folder / "list.csv").write_text(text, "utf-8")
        return self.run("import", "list.csv", *options)

    def all(self) -> dict[str, Project]:
        with self.ledger.read() as tx:
            return {p.name: p for p in tx.projects()}

    def changes(self, project: str) -> list[dict[str, list[object]]]:
        with self.ledger.read() as tx:
            return [dict(c.detail) for c in tx.project_changes(project, 10)]


@pytest.fixture(params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    url = put_ledger(f"sqlite:///{tmp_path}/neve.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgres").ledger()
    (tmp_path / "neve.toml").write_text(f'home = "{tmp_path}"\n[ledger]\nurl = "{url}"\n', "utf-8")
    ledger = Ledger(url)
    with ledger.begin() as tx:
        tx.add_project("snow", "Snow")
        tx.add_project("ice-cores", "Ice")
        tx.add_instrument("saxs", "SAXS")
        for name, size in (("run1", 1000), ("run2", 234)):
            made = tx.open_dataset("snow", "saxs", name, f"snow/saxs/2026/03/{name}", None)
            tx.update_dataset(made.id, state=DatasetState.CLOSED, closed_at=tx.at, size_bytes=size, file_count=1)
    yield Office(tmp_path, ledger)
    ledger.dispose()


def refused(answer: CompletedProcess[str], code: int, *says: str) -> None:
    assert (answer.returncode, answer.stdout) == (code, ""), answer
    assert answer.stderr.count("\n") == 1, answer.stderr
    for text in says:
        assert text in answer.stderr, answer.stderr


LIST = "name;title;investigator;embargo;quota\nsnow;Snow physics;Ada;2099-03-01;2 TiB\nglaciers;Glaciers;Bob;;\n"


def test_a_list_enters_once_and_says_what_it_changed(office: Office):
    before = office.all()
    tried = office.brings(LIST, "--dry-run")
    assert (tried.returncode, tried.stderr) == (0, "")
    assert tried.stdout.splitlines() == [
        "new      glaciers: title Glaciers, investigator Bob",
        "changes  snow: title Snow → Snow physics; investigator none → Ada; embargo none → 2099-03-01; quota none → 2 TiB",
        "1 would be new, 1 would be changed, 0 as they were.",
        "Not in the list, and left as they are (1): ice-cores",
    ]
    assert office.all() == before
    done = json.loads(office.brings(LIST, "--json").stdout)
    assert done == {
        "dry_run": False,
        "new": [{"name": "glaciers", "title": "Glaciers", "investigator": "Bob", "embargo": None, "quota": None}],
        "changed": [
            {
                "name": "snow",
                "title": ["Snow", "Snow physics"],
                "investigator": [None, "Ada"],
                "embargo": [None, "2099-03-02T00:00:00Z"],
                "quota": [None, 2 * 2**40],
            }
        ],
        "unchanged": 0,
        "missing": ["ice-cores"],
        "published": [],
        "membership": None,
    }
    after = office.all()
    assert (after["snow"].title, after["snow"].pi, after["snow"].quota_bytes) == ("Snow physics", "Ada", 2 * 2**40)
    assert after["snow"].embargo_until == datetime(2099, 3, 2, tzinfo=UTC)
    assert after["snow"].created_at == before["snow"].created_at
    assert (after["glaciers"].pi, after["glaciers"].quota_bytes, after["ice-cores"]) == ("Bob", None, before["ice-cores"])
    assert office.changes("snow")[0] == {
        "title": ["Snow", "Snow physics"],
        "pi": [None, "Ada"],
        "embargo_until": [None, "2099-03-02T00:00:00+00:00"],
        "quota_bytes": [None, 2 * 2**40],
    }
    written = {name: office.changes(name) for name in after}
    again = office.brings(LIST)
    assert again.stdout.splitlines()[0] == "Nothing to change: 2 project(s) are as the list says."
    assert {name: office.changes(name) for name in after} == written
    # An empty cell clears; a column that is not there says nothing.
    cleared = office.brings("name,quota\nsnow,\n")
    assert "changes  snow: quota 2 TiB → none" in cleared.stdout
    assert (office.all()["snow"].quota_bytes, office.all()["snow"].pi) == (None, "Ada")


def test_one_bad_row_and_nothing_is_changed(office: Office):
    before = office.all()
    refused(office.brings(LIST + "desert;Desert;=cmd;;\n"), 2, "list.csv, line 4, column investigator: '=cmd'", "Nothing was changed.")
    refused(office.brings("name,start,end\ndesert,,\nsnow,2027-02-01,2027-01-31\n"), 2, "line 3: it would end (2027-01-31) before it starts")
    refused(office.brings("name,titel\nsnow,x\n"), 2, "Did you mean title?")
    refused(office.run("import", "nowhere.csv"), 1, "nowhere.csv cannot be read: No such file or directory.")
    refused(office.run("import", "."), 1, "cannot be read: Is a directory.")
    assert office.all() == before
    # What the ledger keeps counts too.
    assert office.brings("name,start\nsnow,2027-02-01\n").returncode == 0
    refused(office.brings("name,end\nsnow,2027-01-31\n"), 2, "line 2: it would end (2027-01-31) before it starts (2027-02-01)")


def test_no_data_become_public_at_once_unless_it_is_said(office: Office):
    public = "name,embargo,public_after\nsnow,2026-01-01,2026-02-01\nice-cores,,2026-02-01\n"
    shown = office.brings(public, "--dry-run")
    assert "Public at once, so --publish has to be said: snow (2 dataset(s), 1,234 bytes)" in shown.stdout
    refused(office.brings(public), 1, "Data would become public now: snow (2 dataset(s), 1,234 bytes).", "Say --publish if that is meant")
    assert office.all()["ice-cores"].public_after is None
    # Later, or under an embargo, is not now.
    later = office.brings("name,embargo,public_after\nsnow,2099-01-01,2026-02-01\n")
    assert (later.returncode, office.all()["snow"].public_after) == (0, datetime(2026, 2, 1, tzinfo=UTC))
    # The embargo alone taken away makes them public; ice-cores has no data.
    refused(office.brings("name,embargo\nsnow,\n"), 1, "snow (2 dataset(s), 1,234 bytes)")
    done = office.brings(public, "--publish")
    assert "Public now: snow (2 dataset(s), 1,234 bytes)" in done.stdout
    with office.ledger.read() as tx:
        assert tx.public_projects() == ("ice-cores", "snow")
    assert office.brings(public).returncode == 0  # they are public already


def test_members_are_said_not_to_be_carried_out(office: Office):
    assert "The members of 1 project(s) are not carried out: membership is set on the hub's admin page." in office.brings(
        "name;members\nsnow;alice, bob\nice-cores;\n"
    ).stdout.replace("\n", " ")
    with (office.folder / "neve.toml").open("a") as settings:
        settings.write('[login]\nissuer = "https://login.lab.example"\nallowed_groups = ["*"]\nclient_secret_file = "secret"\n')
    assert "are left aside: the facility's login alone says who is in which" in office.brings("name;members\nsnow;alice\n").stdout


def test_ten_thousand_projects_within_seconds(office: Office):
    def rows(quota: str) -> str:
        return "name,title,investigator,start,end,quota\n" + "".join(f"p{n:05},Title {n},Ada,2026-01-01,2026-12-31,{quota}\n" for n in range(10_000))

    begun = time.monotonic()
    assert "10,000 new, 0 changed, 0 as they were." in office.brings(rows("1 TB")).stdout
    assert "0 new, 10,000 changed, 0 as they were." in office.brings(rows("2 TB")).stdout
    assert "Nothing to change: 10,000 project(s)" in office.brings(rows("2 TB")).stdout
    took = time.monotonic() - begun
    assert took < 30, took
    assert len(office.changes("p09999")) == 2
    assert office.all()["p09999"].quota_bytes == 2 * 10**12


def test_single_facts_are_set_and_cleared_and_the_list_tells_them(office: Office):
    said = office.run("set", "snow", "--investigator", "A. Lovelace", "--end", "2028-12-31", "--quota", "2 TiB")
    assert said.returncode == 0, said.stderr
    assert said.stdout == "changes  snow: investigator none → A. Lovelace; end none → 2028-12-31; quota none → 2 TiB\n"
    assert office.run("set", "snow", "--end", "2028-12-31").stdout == "Nothing to change.\n"
    assert office.run("list").stdout.splitlines() == [
        "ice-cores  Ice  0 bytes",
        "snow  Snow  1,234 bytes, investigator A. Lovelace, end 2028-12-31, quota 2 TiB",
    ]
    [_, snow] = json.loads(office.run("list", "--json").stdout)
    assert snow == {
        "name": "snow",
        "title": "Snow",
        "pi": "A. Lovelace",
        "starts_at": None,
        "ends_at": "2029-01-01T00:00:00Z",
        "embargo_until": None,
        "public_after": None,
        "quota_bytes": 2 * 2**40,
        "size_bytes": 1234,
    }
    assert office.run("set", "snow", "--quota", "", "--title", "").returncode == 0
    assert (office.all()["snow"].quota_bytes, office.all()["snow"].title) == (None, "snow")
    with office.ledger.read() as tx:
        assert {change.actor for change in tx.project_changes("snow", 2)} == {getpass.getuser()}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["snow"], 2, "Nothing is said of the project. Give at least one fact, such as --end 2028-12-31."),
        (["nobody", "--end", "2028-12-31"], 1, "There is no project 'nobody'. `archiver projects list` names them."),
        (["snow", "--end", "soon"], 2, "--end: 'soon' is not a day. Write it as 2027-03-01"),
        (["snow", "--quota", "much"], 2, "--quota: 'much' is not a size. Write it as 500 GB"),
        (
            ["snow", "--start", "2028-01-02", "--end", "2027-01-01"],
            2,
            "snow: it would end (2027-01-01) before it starts (2028-01-02)",
        ),
        (
            ["snow", "--public-after", "2020-01-01"],
            1,
            "Data would become public now: snow (2 dataset(s), 1,234 bytes). Say --publish",
        ),
        (["snow", "--title", "=HYPERLINK(1)"], 2, "is what a spreadsheet takes for a formula"),
    ],
)
def test_what_cannot_be_set_is_said_and_changes_nothing(office: Office, words: list[str], code: int, says: str):
    before = office.all()
    refused(office.run("set", *words), code, says)
    assert office.all() == before
