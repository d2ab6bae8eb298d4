"""Two that add the same thing at the same moment: one of them does, or both find it there; neither meets a fault of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from fixtures.archive import Bench, settings_toml
from fixtures.postgres import Postgres
from fixtures.store import S3Store

from archiver import addresses, cli, facts, instruments, remark, upload
from archiver.api import problems
from archiver.archive import Archive
from archiver.keys import Sender
from archiver.ledger.store import Moved

SENDER = Sender("alice", None, ("snow",))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, store: S3Store) -> Iterator[Bench]:
    folder: Path = tmp_path_factory.mktemp("moment")
    (folder / "home").mkdir()
    text = settings_toml(folder / "home", store, store.buckets("hot", "archive", "deep"))
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        text += f'[ledger]\nurl = "{postgres.ledger()}"\n'
    (folder / "neve.toml").write_text(text, "utf-8")
    made = Bench(folder, folder / "neve.toml")
    with made.archive.ledger.begin() as tx:
        tx.open_dataset("snow", "saxs", "run1", "snow/saxs/2026/03/run1", None)
    yield made
    made.give_back()


def add_project(archive: Archive) -> str:
    facts.carry_out(archive, "admin", [facts.row("here", {"name": "glaciers", "title": "Glaciers"})], publish=False)
    return "glaciers"


def set_quota(archive: Archive) -> None:
    with archive.ledger.begin() as tx:
        tx.set_quota("user", "alice", 1000)


def at_once(archive: Archive, table: str, act: Callable[[Archive], object]) -> list[object]:
    """What two get of it, an answer or an error, when both have looked before either adds its row."""
    meeting, found = threading.Barrier(2), list[object]()

    def wait(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(f"INSERT INTO {table} "):
            with suppress(threading.BrokenBarrierError):
                meeting.wait(0.5)  # on SQLite the other waits for the ledger, and never comes

    def one() -> None:
        try:
            found.append(act(archive))
        except Exception as error:  # noqa: BLE001  # it is what is looked at
            found.append(error)

    engine = archive.ledger.engine
    sa.event.listen(engine, "before_cursor_execute", wait)
    try:
        both = [threading.Thread(target=one) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(30)
    finally:
        sa.event.remove(engine, "before_cursor_execute", wait)
    return found


@pytest.mark.parametrize(
    ("table", "act"),
    [
        ("project", add_project),
        ("instrument", lambda archive: instruments.put(archive, "admin", "raman", "Raman", [], new=True)),
        ("quota", set_quota),
        ("address", lambda archive: addresses.put(archive, "alice", "alice@lab.example", None, wants=True, renew_secret=False)),
        ("tag", lambda archive: remark.say(archive, "alice", 1, only=None, add=["silver"], remove=[], comment=None)),
    ],
    ids=["project", "instrument", "quota", "address", "tag"],
)
def test_who_comes_second_is_told_so(bench: Bench, table: str, act: Callable[[Archive], object]):
    found = at_once(bench.archive, table, act)
    errors = [problems.public(one) for one in found if isinstance(one, Exception)]
    assert len(found) == 2
    assert len(errors) < 2
    for error in errors:
        assert (error.code, error.status) == ("conflict", 409), found
        assert error.detail.endswith(".") and error.next_step
    with bench.archive.ledger.read() as tx:
        names = sa.select(sa.func.count()).select_from(sa.table(table))
        assert tx.connection.execute(names).scalar() in {1, 3}  # one row more: two projects, and instruments, are there from the start


def test_both_find_the_dataset_that_one_has_opened(bench: Bench):
    first, second = at_once(bench.archive, "dataset", lambda archive: upload.open_dataset(archive, SENDER, "run7", "snow", "saxs").id)
    assert first == second
    first, second = at_once(bench.archive, "instrument", lambda archive: upload.open_dataset(archive, SENDER, "mine", "snow", None).full_name)
    assert first == second == "results/mine"


def test_the_command_line_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def second(**_: object) -> None:
        raise Moved("another writer was first")

    monkeypatch.setattr(cli, "cli", second)
    monkeypatch.setattr("archiver.app.look_for_cycles_rarely", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "Somebody else changed this at the same moment. Look at it again, then try again.\n"
