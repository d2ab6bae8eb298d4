"""Searching the ledger, on both databases: what is found, in which order, how much of it, and to whom it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from bench import lots
from fixtures.ledgers import put_ledger
from fixtures.postgres import Postgres

from archiver.ledger import Ledger, Transaction, counting, narrowing, searching
from archiver.ledger import tables as t
from archiver.ledger.narrowing import Measured, Query
from archiver.ledger.searching import Sort
from archiver.model import DatasetState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SNOW, ICE = ["snow"], ["ice-cores"]
OPEN = DatasetState.OPEN


def filled(url: str) -> Ledger:
    """Twelve datasets in two projects, twenty days apart, with metadata, tags and comments."""
    made = Ledger(url, lambda: NOW)
    with made.begin("ana") as tx:
        for project in ("snow", "ice-cores", "empty"):
            tx.add_project(project, project)
        for instrument in ("saxs", "weather"):
            tx.add_instrument(instrument, instrument)
        for number in range(12):
            project, instrument = ("snow", "saxs") if number < 8 else ("ice-cores", "weather")
            dataset = tx.open_dataset(project, instrument, f"{instrument}-run042{number}", f"p{number}", None)
            tx.update_dataset(
                dataset.id,
                acquired_at=NOW - timedelta(days=number * 20, seconds=number),
                title=("Névé am Gletscher", "STRAßE und Eis", "dry powder")[number % 3],
                format="nexus" if number % 2 else "csv",
                tier=("hot", "archive", "deep")[number // 4],
                size_bytes=1000 - number,
                metadata={
                    "sample": {"name": ("Silver", "gold")[number % 2], "grains": [number, number * 2]},
                    "energy_kev": 8 + number / 2,
                    "user": f"user{number}",
                    "odd": None if number == 3 else "12",
                },
            )
            if number in {1, 2, 9}:
                tx.set_tags(tx.dataset(dataset.id), ["calibration", f"t{number}"])
            if number == 5:
                tx.add_comment(dataset.id, "ana", "The beam was lost at noon.")
    return made


def _url(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "sqlite":
        return put_ledger(f"sqlite:///{folder}/neve.sqlite")
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.ledger()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One that is only read."""
    made = filled(_url(request, tmp_path_factory.mktemp("searching")))
    yield made
    made.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def changing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """One that the test changes."""
    made = filled(_url(request, tmp_path))
    yield made
    made.dispose()


def numbers(tx: Transaction, query: Query, **more: object) -> list[int]:
    return [d.id - 1 for d in tx.search(query, 50, **more)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), list(range(12))),
        (Query(text="run0421"), [1, 10, 11]),
        (Query(text="RUN0421 SAXS"), [1]),
        (Query(text="saxs/saxs-run0424"), [4]),
        (Query(text="NÉVÉ"), [0, 3, 6, 9]),
        (Query(text="Ne\u0301ve\u0301"), [0, 3, 6, 9]),
        (Query(text="strasse"), [1, 4, 7, 10]),
        (Query(text="silver powder"), [2, 8]),
        (Query(text="user7"), [7]),
        (Query(text="beam noon"), [5]),
        (Query(text="calib"), [1, 2, 9]),
        (Query(text="sample"), []),
        (Query(text="0"), list(range(12))),
        (Query(text="2 t"), [1, 2, 4, 5, 7, 10, 11, 0, 3, 6, 8, 9]),
        (Query(text="zz"), []),
        (Query(projects=ICE), [8, 9, 10, 11]),
        (Query(projects=ICE, text="silver"), [8, 10]),
        (Query(projects=ICE, project="snow"), []),
        (Query(projects=SNOW, project="snow", tier="archive"), [4, 5, 6, 7]),
        (Query(projects=[], text="silver"), []),
        (Query(projects=["nobody's"]), []),
        (Query(tier="deep", format="nexus"), [9, 11]),
        (Query(state=OPEN), list(range(12))),
        (Query(state=DatasetState.CLOSED), []),
        (Query(state=OPEN, text="silver powder"), [2, 8]),
        (Query(state=OPEN, tags=("calibration",), tier="hot"), [1, 2]),
        (Query(state=OPEN, said=(("sample.name", "GOLD"),), projects=ICE), [9, 11]),
        (Query(state=OPEN, measured=(Measured("energy_kev", least=13),)), [10, 11]),
        (Query(state=OPEN, name="saxs-run0423"), [3]),
        (Query(state=OPEN, project="snow", since=NOW - timedelta(days=40, minutes=1), until=NOW), [1, 2]),
        (Query(state=DatasetState.CLOSED, since=NOW - timedelta(days=40, minutes=1)), []),
        (Query(name="saxs-run0423"), [3]),
        (Query(name="weather/saxs-run0423"), []),
        (Query(since=NOW - timedelta(days=40, minutes=1), until=NOW), [1, 2]),
        (Query(since=NOW), [0]),
        (Query(tags=("calibration",)), [1, 2, 9]),
        (Query(tags=("calibration", "t9")), [9]),
        (Query(text="silver", tags=["calibration"]), [2]),
        (Query(projects=SNOW, tags=("calibration",)), [1, 2]),
        (Query(measured=(Measured("energy_kev", least=13),)), [10, 11]),
        (Query(measured=(Measured("energy_kev", least=13, least_open=True),)), [11]),
        (Query(measured=(Measured("energy_kev", 8, 9, most_open=True),), text="silver"), [0]),
        (Query(measured=(Measured("sample.grains", 4, 4),)), [2, 4]),
        (Query(measured=(Measured("odd", 12, 12),)), []),
        (Query(said=(("odd", "12"),)), [n for n in range(12) if n != 3]),
        (Query(said=(("sample.name", "GOLD"),), projects=ICE), [9, 11]),
        (Query(said=(("sample.name", "gol"),)), []),
        (Query(said=(("sample.name", None),), tier="hot"), [0, 1, 2, 3]),
        (Query(said=(("name", None),)), []),
    ],
)
@pytest.mark.parametrize("few", [searching._FEW, 0], ids=["one by one", "by indexes"])
def test_what_is_found(ledger: Ledger, query: Query, found: list[int], few: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(searching, "_FEW", few)
    with ledger.read() as tx:
        assert numbers(tx, query) == sorted(found)
        assert tx.count(query) == len(found)


@pytest.mark.parametrize("most", [narrowing._MOST_KEPT, 1], ids=["kept", "thrown away"])
@pytest.mark.parametrize("few", [searching._FEW, 0], ids=["one by one", "by indexes"])
def test_a_statement_is_put_together_once_for_each_form_and_holds_no_value(ledger: Ledger, few: int, most: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(searching, "_FEW", few)
    monkeypatch.setattr(narrowing, "_MOST_KEPT", most)
    monkeypatch.setattr(narrowing, "_KEPT", {})
    alike: list[list[tuple[Query, set[int]]]] = [
        [(Query(SNOW, text="silver"), {0, 2, 4, 6}), (Query(ICE, text="user9"), {9}), (Query(SNOW, text="user7"), {7})],
        [(Query(tier="deep", format="nexus"), {9, 11}), (Query(tier="hot", format="csv"), {0, 2})],
        [(Query(ICE, tags=("calibration",)), {9}), (Query(SNOW, tags=("t1",)), {1})],
        [(Query(measured=(Measured("energy_kev", least=13),)), {10, 11}), (Query(measured=(Measured("sample.grains", least=20),)), {10, 11})],
        [(Query(since=NOW - timedelta(days=40, minutes=1), until=NOW), {1, 2}), (Query(since=NOW - timedelta(days=20, minutes=1), until=NOW), {1})],
        [(Query(name="saxs/saxs-run0423"), {3}), (Query(name="weather/weather-run0428"), {8})],
    ]
    for questions in alike:
        for number, (query, found) in enumerate(questions):
            with ledger.read() as tx:
                assert set(numbers(tx, query)) == found, query
                assert tx.count(query) == len(found)
                assert sum(v.count for v in tx.facets(query)["project"]) == len(found)
            if number == 0:
                held = dict(narrowing._KEPT)
            elif most > 1:
                assert narrowing._KEPT.keys() - held.keys() <= {key for key in narrowing._KEPT if query.since}, "a range may be of other parts"
    assert len(narrowing._KEPT) <= most


@pytest.mark.parametrize(
    "text",
    [
        '"', "'", '""', 'silver" OR "gold', "silver OR gold", "NEAR(silver gold)", "silver AND", "-silver", "words:silver", "silv*", "^silver", "(",
        "*", "%", "_", "s_lver", "%silver%", "\\", "\\%", "\0", "silver\0", "\ud800", "\U0010ffff", "\ue000\ue001\ue002", "'; DROP TABLE dataset; --",
        "{words} : silver", "+", "a" * 10_000, "silver " * 1500, "🧊🧊🧊",
    ],
)  # fmt: skip
@pytest.mark.parametrize("few", [searching._FEW, 0], ids=["one by one", "by indexes"])
def test_hostile_words_are_plain_text(ledger: Ledger, text: str, few: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(searching, "_FEW", few)
    plain = {"silver\0", "silver " * 1500}
    everything = {"\0", "\ud800", "\U0010ffff", "\ue000\ue001\ue002"}  # nothing that could be typed is left of them
    with ledger.read() as tx:
        found = numbers(tx, Query(text=text))
        assert found == ([0, 2, 4, 6, 8, 10] if text in plain else list(range(12)) if text in everything else [])
        tx.facets(Query(text=text))
        if "\ud800" not in text:
            assert tx.complete(text, None, 10).tags == []


@pytest.mark.parametrize("few", [searching._FEW, 0], ids=["one by one", "by indexes"])
def test_pages_in_every_order_while_data_arrive(changing: Ledger, few: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(searching, "_FEW", few)
    named = sorted(range(12), key=lambda n: ("saxs" if n < 8 else "weather") + f"-run042{n}")
    orders = {
        Sort.NEWEST: ("place", list(range(12))),
        Sort.OLDEST: ("place", list(range(11, -1, -1))),
        Sort.NAME: ("name", named),
        Sort.LARGEST: ("size_bytes", list(range(12))),
        Sort.SMALLEST: ("size_bytes", list(range(11, -1, -1))),
    }
    late = 0
    for sort, (by, order) in orders.items():
        wide = Query(measured=(Measured("energy_kev", 1),))
        for query in (Query(), Query(text="run042"), Query(projects=SNOW, text="silver"), wide, Query(tags=("calibration",))):
            with changing.read() as tx:
                expected = [n for n in order if n in numbers(tx, query)]
            seen: list[int] = []
            cursor = None
            while True:
                with changing.begin() as tx:
                    page = tx.search(query, 2, cursor, sort)
                    seen += [d.id - 1 for d in page]
                    if len(page) < 2:
                        break
                    cursor = (getattr(page[-1], by), page[-1].id)
                    if len(seen) < 6:
                        late += 1
                        tx.open_dataset("ice-cores", "saxs", f"a{late}", f"late{late}", None)
            assert [n for n in seen if n < 12] == expected, (sort, query)
            assert len(set(seen)) == len(seen)


def test_facets_count_what_fits_and_nothing_else(ledger: Ledger):
    def told(query: Query) -> dict[str, dict[str, int]]:
        with ledger.read() as tx:
            return {name: {v.value: v.count for v in values} for name, values in tx.facets(query).items()}

    everything = told(Query())
    assert everything["project"] == {"snow": 8, "ice-cores": 4}
    assert everything["tier"] == {"hot": 4, "archive": 4, "deep": 4}
    assert everything["format"] == {"csv": 6, "nexus": 6}
    assert everything["year"] == {"2026": 3, "2025": 9}
    assert list(everything["month"]) == sorted(everything["month"], reverse=True)
    assert sum(everything["month"].values()) == 12
    assert everything["tag"] == {"calibration": 3, "t1": 1, "t2": 1, "t9": 1}
    theirs = told(Query(projects=ICE))
    assert (theirs["project"], theirs["instrument"], theirs["tag"]) == ({"ice-cores": 4}, {"weather": 4}, {"calibration": 1, "t9": 1})
    assert told(Query(projects=ICE, text="silver")) == told(Query(projects=ICE, said=(("sample.name", "silver"),)))
    assert told(Query(projects=SNOW, text="silver"))["tier"] == {"hot": 2, "archive": 2}
    assert told(Query(tier="hot"))["tag"] == {"calibration": 2, "t1": 1, "t2": 1}
    nothing = {name: {} for name in ("project", "instrument", "tier", "format", "year", "month", "tag")}
    assert told(Query(projects=[])) == told(Query(projects=ICE, project="snow")) == told(Query(text="nowhere")) == nothing


def test_counts_end_where_they_are_said_to(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "COUNTED", 5)
    with ledger.read() as tx:
        assert tx.count(Query()) == tx.count(Query(text="run042")) == 6
        projects = tx.facets(Query())["project"]
        assert [(v.value, v.count, v.more) for v in projects] == [("snow", 5, True), ("ice-cores", 4, False)]
        newest = tx.facets(Query(text="run042"))
        assert [(v.value, v.count, v.more) for v in newest["tier"]] == [("hot", 4, True), ("archive", 2, True)], "of the newest that fit"
        monkeypatch.setattr(counting, "_TAGGED", 3)
        assert [(v.value, v.count, v.more) for v in tx.facets(Query())["tag"]] == [("calibration", 2, True), ("t1", 1, True), ("t2", 1, True)]
        assert [(v.value, v.count, v.more) for v in tx.facets(Query(tier="hot", format="csv"))["tag"]] == [
            ("calibration", 1, False),
            ("t2", 1, False),
        ]


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (None, None),
        ((2025, 9, 1), None),
        ((2025, 9, 3), (2026, 1, 1)),
        ((2025, 10, 12, 12, 1), (2025, 10, 22)),
        ((2025, 1, 1), (2026, 1, 1)),
        ((2024, 6, 5), (2026, 2, 9, 11, 59)),
        (None, (2025, 12, 1)),
        ((2026, 1, 31), (2026, 2, 28)),
        ((1, 1, 1), (9999, 12, 31, 23, 59)),
        ((9999, 12, 31), None),
        ((2026, 1, 1), (2026, 1, 1)),
    ],
)
def test_any_range_is_counted_as_its_rows_are(ledger: Ledger, since: tuple[int, ...] | None, until: tuple[int, ...] | None):
    """By whole years, months and what is cut off: the same as one by one."""
    begins, ends = (None if at is None else datetime(*at, tzinfo=UTC) for at in (since, until))  # type: ignore[arg-type, misc]
    for query in (Query(since=begins, until=ends), Query(projects=ICE, since=begins, until=ends), Query(tier="archive", since=begins, until=ends)):
        with ledger.read() as tx:
            found = tx.search(query, 50)
            facets = {name: {v.value: v.count for v in values} for name, values in tx.facets(query).items()}
            assert tx.count(query) == len(found)
        for name, of in (("year", "%Y"), ("month", "%Y-%m")):
            assert facets[name] == Counter(d.acquired_at.strftime(of) for d in found if d.acquired_at)
        assert facets["project"] == Counter(d.project for d in found)
        assert facets["format"] == Counter(d.format for d in found)


@pytest.mark.parametrize("most", [1, 3, 4, 24])
def test_the_latest_months_are_told_however_many_years_lie_between(changing: Ledger, most: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "_MONTHS", most)
    with changing.begin() as tx:
        for number, years in ((10, 2), (11, 3), (12, 9)):
            tx.update_dataset(number, acquired_at=NOW - timedelta(days=366 * years))
    for narrowed in (Query(), Query(ICE), Query(ICE, format="csv"), Query(format="nexus", until=NOW - timedelta(days=40))):
        for query in (narrowed, replace(narrowed, since=NOW - timedelta(days=366 * 4))):
            with changing.read() as tx:
                every = Counter(d.acquired_at.strftime("%Y-%m") for d in tx.search(query, 50) if d.acquired_at)
                told = {v.value: v.count for v in tx.facets(query)["month"]}
            assert told == {month: every[month] for month in sorted(every, reverse=True)[:most]}, query


def test_the_tally_is_what_the_datasets_are(changing: Ledger):
    """After every change, in the transaction that made it; nothing is left of what no dataset is any more."""

    def tallied(tx: Transaction) -> list[tuple[object, ...]]:
        return [tuple(row) for row in tx.connection.execute(sa.select(t.tally).order_by(*t.tally.c))]

    def counted(tx: Transaction) -> list[tuple[object, ...]]:
        kinds: Counter[tuple[object, ...]] = Counter()
        for d in tx.connection.execute(sa.select(t.dataset)):
            for period in (d.month // 100, d.month):
                kinds[period, d.instrument, d.tier or "", d.format or "", d.state.value, d.project] += 1
        return sorted((*kind, n) for kind, n in kinds.items())

    with changing.begin() as tx:
        assert tallied(tx) == counted(tx)
        tx.update_dataset(1, tier="deep")
        tx.update_dataset(2, tier=None, format=None)
        tx.update_dataset(3, acquired_at=NOW - timedelta(days=900))
        tx.close_dataset(4)
        tx.open_dataset("empty", "weather", "new", "new", None)
        assert tallied(tx) == counted(tx)
        assert tx.count(Query(project="empty")) == 1
    with changing.begin() as tx:
        for table in (t.tag, t.comment, t.event):
            tx.connection.execute(sa.delete(table).where(table.c.dataset_id <= 8))
        tx.connection.execute(sa.delete(t.dataset).where(t.dataset.c.id <= 8))
        assert tallied(tx) == counted(tx)
        assert len(tallied(tx)) > 0


def test_completion_tells_what_is_theirs(ledger: Ledger):
    with ledger.read() as tx:
        assert tx.complete("saxs-run0", None, 3).names == ["saxs-run0420", "saxs-run0421", "saxs-run0422"]
        assert tx.complete("weather/weather-run0421", None, 9).names == ["weather/weather-run04210", "weather/weather-run04211"]
        assert tx.complete("", SNOW, 50).names == [f"saxs-run042{n}" for n in range(8)]
        assert tx.complete("weather", SNOW, 9).names == []
        assert tx.complete("t", SNOW, 9).tags == ["t1", "t2"]
        assert tx.complete("t", [], 9).tags == []
        assert tx.complete("SAMPLE", ICE, 9).fields == ["sample.grains", "sample.name"]
        assert tx.complete("s", ["empty"], 9).fields == []


def test_the_index_follows_every_change(changing: Ledger):
    with changing.begin("ana") as tx:
        tx.update_dataset(1, title="other", metadata={"energy_kev": 99})
        tx.set_tags(tx.dataset(2), [])
        tx.update_dataset(12, acquired_at=NOW + timedelta(minutes=1))
        comment = tx.comments(6)[0]
        tx.change_comment(comment, "All is well.")
    with changing.read() as tx:
        assert numbers(tx, Query(text="other")) == [0]
        assert numbers(tx, Query(text="silver"))[0] == 2
        assert numbers(tx, Query(measured=(Measured("energy_kev", 50),))) == [0]
        assert numbers(tx, Query(tags=("calibration",))) == numbers(tx, Query(text="calibration")) == [2, 9]
        assert numbers(tx, Query())[0] == 11
        assert numbers(tx, Query(text="beam")) == []
        assert numbers(tx, Query(text="well")) == [5]
        rows = tx.connection.execute(sa.select(sa.func.count()).select_from(t.search)).scalar()
        assert rows == 12
    with changing.begin("ana") as tx:
        tx.remove_comment(tx.comments(6)[0])
    with changing.read() as tx:
        assert numbers(tx, Query(text="well")) == []
        kinds = [e.kind for e in tx.events(6)]
        assert kinds[-3:] == ["comment.added", "comment.changed", "comment.removed"]
        if changing.url.get_backend_name() == "sqlite":
            tx.connection.exec_driver_sql("SELECT count(*) FROM search_fts WHERE search_fts MATCH '\"all\"'").scalar_one()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Of 4,000 datasets in 5 projects."""
    made = Ledger(_url(request, tmp_path_factory.mktemp("large")), lambda: lots.NOW)
    lots.fill(made, 4000, 5)
    yield made
    made.dispose()


def rows_touched(ledger: Ledger, ask: Callable[[Transaction], object]) -> float:
    """By all statements of a question: on PostgreSQL those that its plans have read or passed over; on SQLite steps of its machine, as parts of those
    that grouping all datasets takes."""
    with ledger.read() as tx:
        if ledger.url.get_backend_name() == "sqlite":
            raw, steps = tx.connection.connection.driver_connection, [0]

            def step() -> None:
                steps[0] += 1

            raw.set_progress_handler(step, 10)  # type: ignore[union-attr]
            tx.connection.exec_driver_sql("SELECT instrument, tier, format, month / 100, count(*) FROM dataset GROUP BY 1, 2, 3, 4").all()
            every, steps[0] = steps[0], 0
            ask(tx)
            raw.set_progress_handler(None, 0)  # type: ignore[union-attr]
            return 4000 * steps[0] / every
        for way in ("seqscan", "hashjoin", "mergejoin"):  # right for a table as small as this
            tx.connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        said: list[tuple[str, Any]] = []

        def note(_conn: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
            said.append((statement, parameters))

        sa.event.listen(ledger.engine, "before_cursor_execute", note)
        try:
            ask(tx)
        finally:
            sa.event.remove(ledger.engine, "before_cursor_execute", note)
        plans = [tx.connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {s}", p).scalar_one()[0]["Plan"] for s, p in said]

    def read(plan: dict[str, Any]) -> float:
        own = 0 if "Scan" not in plan["Node Type"] or plan["Node Type"] in {"CTE Scan", "Subquery Scan"} else plan["Actual Rows"]
        passed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        return (own + passed) * plan["Actual Loops"] + sum(read(part) for part in plan.get("Plans", ()))

    return sum(read(plan) for plan in plans)


def test_no_question_reads_all_datasets(large: Ledger, monkeypatch: pytest.MonkeyPatch):
    """Whatever fits, a page, a count and facets read no more rows than they need: here a third of all at the most."""
    for module, name, limit in ((counting, "COUNTED", 60), (counting, "_TAGGED", 40), (searching, "_FEW", 40), (searching, "_NEWEST", 400)):
        monkeypatch.setattr(module, name, limit)
    monkeypatch.setattr(searching, "_FETCHED", 40)
    mine, word = tuple(lots.project(n) for n in range(4)), lots.INSTRUMENTS[0]
    year = {"since": lots.NOW - timedelta(days=900), "until": lots.NOW - timedelta(days=500)}
    touched = {}
    for projects in (None, mine):
        for query in (Query(projects), Query(projects, tier="deep"), Query(projects, instrument=word), Query(projects, **year)):  # type: ignore[arg-type]
            touched |= {("page", query): rows_touched(large, lambda tx, q=query: tx.search(q, 20))}
            touched |= {("count", query): rows_touched(large, lambda tx, q=query: tx.count(q))}
            touched |= {("facets", query): rows_touched(large, lambda tx, q=query: tx.facets(q))}
        query = Query(projects, text=word)
        touched |= {("page", query): rows_touched(large, lambda tx, q=query: tx.search(q, 20))}
        touched |= {("completion", query): rows_touched(large, lambda tx, p=projects: tx.complete("saxs-run000", p, 10))}
    assert {question: rows for question, rows in touched.items() if rows > 4000 / 3} == {}


def test_sqlite_goes_by_the_indexes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    """Plans read bounded rows: words by their index in the order of places, columns by one index that holds all of them."""
    if ledger.url.get_backend_name() != "sqlite":
        pytest.skip("PostgreSQL's plans depend on what it has counted: test_no_question_reads_all_datasets")
    monkeypatch.setattr(searching, "_FEW", 0)
    monkeypatch.setattr(searching, "_FETCHED", 0)
    plans = []

    def note(_conn: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith(("SELECT", "WITH")):
            plans.append((statement, parameters))

    def asked(query: Query, **more: object) -> str:
        plans.clear()
        sa.event.listen(ledger.engine, "before_cursor_execute", note)
        try:
            with ledger.read() as tx:
                tx._page(query, 50, None, Sort.NEWEST, **more)  # type: ignore[arg-type]
                said = [tx.connection.exec_driver_sql("EXPLAIN QUERY PLAN " + s, p).all() for s, p in list(plans)]
        finally:
            sa.event.remove(ledger.engine, "before_cursor_execute", note)
        return "\n".join(row[3] for plan in said for row in plan)

    by_words = asked(Query(text="silver", projects=("snow", "empty")))
    assert "SCAN search_fts VIRTUAL TABLE INDEX" in by_words
    assert "TEMP B-TREE FOR ORDER BY" not in by_words
    assert "SCAN dataset\n" not in by_words + "\n"
    by_tag = asked(Query(projects=("snow", "empty"), tags=("calibration",), tier="hot", since=NOW - timedelta(days=90)))
    assert "SEARCH tag USING COVERING INDEX ix_tag_tag_place_project (tag=? AND place>?)" in by_tag, by_tag
    assert "SEARCH dataset USING COVERING INDEX ix_dataset_walk (place=?)" in by_tag, by_tag
    assert "TEMP B-TREE FOR ORDER BY" not in by_tag
    walked = asked(Query(projects=("snow", "empty"), tier="hot"))
    assert "USING COVERING INDEX ix_dataset_walk" in walked, walked
    assert "TEMP B-TREE FOR ORDER BY" not in walked


@pytest.mark.parametrize(
    ("query", "way"),
    [
        (Query(ICE, instrument="weather", since=NOW - timedelta(days=300)), "COVERING INDEX ix_dataset_cube (project=?)"),
        (Query(SNOW, instrument="saxs", since=NOW - timedelta(days=30)), "COVERING INDEX ix_dataset_walk (place>?)"),
        (Query(("snow", "empty"), instrument="saxs", since=NOW - timedelta(days=30)), "COVERING INDEX ix_dataset_walk (place>?)"),
    ],
)
def test_sqlite_looks_few_up_by_their_projects_or_by_their_time(ledger: Ledger, query: Query, way: str):
    """Whichever leaves fewer; left to itself it takes any index of a column that is asked for."""
    if ledger.url.get_backend_name() != "sqlite":
        pytest.skip("PostgreSQL counts before it goes")
    with ledger.read() as tx:
        asked = tx._seen(replace(query, measured=(Measured("energy_kev", 1),)))
        select = tx._fitting(asked, t.dataset.c.id)[1]
        made = select(searching.form_of(asked))[0].compile(ledger.engine, compile_kwargs={"render_postcompile": True})
        values = {**made.params, **tx._values(asked)}
        plan = tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {made}", tuple(values[name] for name in made.positiontup or ())).all()
        assert way in "\n".join(row[3] for row in plan), plan


def test_few_are_looked_at_one_by_one_unless_fewer_have_the_words(ledger: Ledger):
    if ledger.url.get_backend_name() != "sqlite":
        pytest.skip("PostgreSQL counts before it goes")
    with ledger.read() as tx:
        assert tx._fitting(tx._seen(Query(ICE, text="silver")), t.dataset.c.id)[0] == "one by one project"
        assert tx._fitting(tx._seen(Query(ICE, text="user9")), t.dataset.c.id)[0] == "words"
