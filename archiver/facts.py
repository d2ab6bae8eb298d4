"""Facts of projects as a user office writes them: one project a row, in CSV (as Excel writes it, too) or JSON.

Law: nothing is guessed. What cannot be read as it is meant is refused, with its line and column, and with it the whole list. A column that is there
says all of its fact: an empty cell clears it. A column that is not there says nothing.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from archiver import names
from archiver.archive import Archive
from archiver.errors import WrongUse
from archiver.ledger import Transaction
from archiver.ledger.narrowing import Query
from archiver.ledger.projects import FACTS
from archiver.model import Project

COLUMNS = {
    "title": "title",
    "investigator": "pi",
    "start": "starts_at",
    "end": "ends_at",
    "embargo": "embargo_until",
    "public_after": "public_after",
    "quota": "quota_bytes",
}
"""What people call each fact."""
CALLED = {fact: column for column, fact in COLUMNS.items()}
UNTIL = frozenset({"ends_at", "embargo_until"})
"""Facts that last until their day is over."""
MEMBERS = "members"
MAX_BYTES = 16 * 2**20

_HEADER = ("name", *COLUMNS, MEMBERS)
_LONGEST = {"title": 500, "investigator": 200, MEMBERS: 20_000}
_FORMULA = ("=", "+", "-", "@")
_DAY = re.compile(r"(\d{4}-\d\d-\d\d)([T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,6})?)\s?([kKMGTP]i?B|B|)", re.ASCII)
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_SHOWN = 10  # lines with errors that are named


@dataclass(frozen=True)
class Row:
    """What a list says of one project, and where. `members`: None where it does not say."""

    place: str
    name: str
    facts: Mapping[str, Any]
    members: Sequence[str] | None


@dataclass(frozen=True)
class Comparison:
    """A list beside the ledger. `changed`: facts, each with what it was and what it would be. `published`: bytes that would become public now."""

    new: Sequence[Row]
    changed: Mapping[str, Mapping[str, tuple[Any, Any]]]
    unchanged: int
    missing: Sequence[str]
    published: Mapping[str, tuple[int, int]]  # project: datasets, bytes


def read(raw: bytes, file: str) -> list[Row]:
    """The rows of a list. Raises `WrongUse`: the first thing that is wrong, and where else something is."""
    if len(raw) > MAX_BYTES:
        raise WrongUse(f"{file} has more than {MAX_BYTES:,} bytes.", "A list of projects is smaller: see that it is the right file.")
    text = _text(raw, file)
    found: list[Row] = []
    wrong: list[tuple[str, WrongUse]] = []
    places: dict[str, str] = {}
    for place, cells in _of_json(text, file) if text.lstrip()[:1] in {"[", "{"} else _of_csv(text, file):
        try:
            one = row(place, cells, places)
        except WrongUse as error:
            wrong.append((place, error))
        else:
            places[one.name] = place
            found.append(one)
    if wrong:
        place, first = wrong[0]
        others = [where for where, _ in wrong[1:]]
        more = f" {len(others)} more wrong: {', '.join(others[:_SHOWN])}{', …' if len(others) > _SHOWN else ''}." if others else ""
        raise WrongUse(f"{file}, {place}, {first.detail}{more}", f"{first.next_step} Nothing was changed.")
    if not found:
        raise WrongUse(f"{file} names no project.", "Write one project a row, below a row of column names.")
    return found


def row(place: str, cells: Mapping[str, str], taken: Mapping[str, str] = MappingProxyType({})) -> Row:
    """What somebody wrote of one project at `place`. `taken`: names that stand elsewhere, and where. Raises `WrongUse`."""
    name = cells["name"].strip()
    try:
        names.unit("a project", name)
    except WrongUse as error:
        raise WrongUse(f"column name: {_cut(name)} cannot be the name of a project.", error.next_step) from None
    if name in taken:
        raise WrongUse(f"column name: {name} stands in {taken[name]} already.", "Leave one row for each project.")
    facts = {COLUMNS[column]: parse(column, text, f"column {column}") for column, text in cells.items() if column in COLUMNS}
    if "title" in facts:
        facts["title"] = facts["title"] or name
    return Row(place, name, facts, _members(cells[MEMBERS]) if MEMBERS in cells else None)


def parse(column: str, text: str, where: str) -> Any:
    """The value of a fact as somebody wrote it for `column`; None when it is empty. Raises `WrongUse` that names `where`."""
    text, fact = " ".join(text.split()), COLUMNS[column]
    if not text:
        return None
    if fact == "quota_bytes":
        return size(text, f"{where}: ")
    return _words(column, text, where) if column in _LONGEST else _when(text, where, until=fact in UNTIL)


def size(text: str, where: str = "") -> int:
    """Bytes, from `1234`, `500 GB` (10^9) or `2 TiB` (2^40). Raises `WrongUse`."""
    found = _SIZE.fullmatch(text)
    unit = found[2] if found else ""
    value = Decimal(found[1]) * (1024 if "i" in unit else 1000) ** _POWERS[unit.rstrip("iB")] if found else Decimal(-1)
    if not 0 <= value < 2**63:
        raise WrongUse(f"{where}{_cut(text)} is not a size.", "Write it as 500 GB, 2.5 TB or 2 TiB, or in bytes.")
    return int(value)


def written(fact: str, value: Any) -> str:
    """A fact for people, as it would be written in a list; empty when there is none."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        at = value.astimezone(UTC)
        if at.time() == time():
            return f"{at - timedelta(days=1) if fact in UNTIL else at:%Y-%m-%d}"
        return at.isoformat().replace("+00:00", "Z")
    if fact == "quota_bytes":
        units = [
            (step**power, f"{letter}{i}B") for power, letter in ((5, "P"), (4, "T"), (3, "G"), (2, "M")) for step, i in ((1000, ""), (1024, "i"))
        ]
        return next((f"{value // unit} {name}" for unit, name in units if value and value % unit == 0), f"{value} B")
    return str(value)


def compare(tx: Transaction, rows: Iterable[Row]) -> Comparison:
    """What a list would change. Raises `WrongUse` when facts contradict each other, those that the ledger keeps included."""
    had = {p.name: p for p in tx.projects()}
    new, changed, published, named = [], {}, {}, set()
    for row in rows:
        named.add(row.name)
        old = had.get(row.name)
        after = replace(old or Project(row.name, row.name, tx.at), **row.facts)
        if after.starts_at and after.ends_at and after.ends_at <= after.starts_at:
            raise WrongUse(
                f"{row.place}: it would end ({written('ends_at', after.ends_at)}) before it starts ({written('starts_at', after.starts_at)}).",
                "Mend start or end. Nothing was changed.",
            )
        if old is None:
            new.append(row)
            continue
        difference = {fact: (getattr(old, fact), getattr(after, fact)) for fact in FACTS if getattr(old, fact) != getattr(after, fact)}
        if difference:
            changed[row.name] = difference
        if _public(after, tx.at) and not _public(old, tx.at) and (datasets := tx.count(Query(project=row.name))):
            published[row.name] = (datasets, tx.project_bytes(row.name))
    return Comparison(new, changed, len(named) - len(new) - len(changed), sorted(set(had) - named), published)


def carry_out(archive: Archive, actor: str, rows: Sequence[Row], *, publish: bool, dry_run: bool = False) -> Comparison:
    """Give projects their facts, all in one transaction. Raises `WrongUse`.

    Nothing is changed for a `dry_run`, nor where data would become public at once (`published`) and `publish` does not say that it is meant.
    """
    if dry_run:
        with archive.ledger.read() as tx:
            return compare(tx, rows)
    with archive.ledger.begin(actor) as tx:
        found = compare(tx, rows)
        if publish or not found.published:
            changed = {name: {fact: after for fact, (_, after) in changes.items()} for name, changes in found.changed.items()}
            tx.put_projects({row.name: row.facts for row in found.new} | changed)
        return found


def _public(project: Project, at: datetime) -> bool:
    return project.public_from is not None and project.public_from <= at


def _text(raw: bytes, file: str) -> str:
    try:
        text = raw.decode("utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise WrongUse(f"{file}, line {line}: the text is not UTF-8.", "Save it as “CSV UTF-8” (Excel has that among its file types).") from None
    if not text.strip():
        raise WrongUse(f"{file} is empty.", "Write one project a row, below a row of column names.")
    return text


def _of_json(text: str, file: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Of a list of objects, or `{"projects": […]}`."""
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise WrongUse(f"{file} is not valid JSON: {error}.", "Mend it; it is a list of objects, one a project.") from None
    rows = document.get("projects") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WrongUse(f"{file} is no list of projects.", 'Write it as [{"name": "snow-physics", "title": "Snow physics"}].')
    for number, row in enumerate(rows, start=1):
        place = f"project {number}"
        columns = _columns(f"{file}, {place}", list(row))
        yield place, {column: _plain(f"{file}, {place}", column, value) for column, value in zip(columns, row.values(), strict=True)}


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a name stands twice in one object")
    return found


def _plain(where: str, column: str, value: Any) -> str:
    if column == MEMBERS and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ";".join(value)
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int) and not isinstance(value, bool) and column == "quota":
        return str(value)
    raise WrongUse(f"{where}, column {column}: this is no text.", "Write it in quotes. Nothing was changed.")


def _of_csv(text: str, file: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    first = text.lstrip().splitlines()[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    columns: list[str] = []
    line = 1
    try:
        for cells in reader:
            place, line = f"line {line}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            while len(cells) > len(columns or _HEADER) and not cells[-1].strip():
                cells.pop()  # Excel's empty columns at the right
            if not columns:
                columns = _columns(f"{file}, {place}", cells)
                continue
            if len(cells) != len(columns):
                raise WrongUse(
                    f"{file}, {place}: there are {len(cells)} cells below {len(columns)} column names.",
                    "Put a text that holds the separator in quotes. Nothing was changed.",
                )
            yield place, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise WrongUse(f"{file}, line {line}: this is not valid CSV ({error}).", "Mend that row; a quote within quotes is doubled.") from None


def _columns(where: str, header: Sequence[str]) -> list[str]:
    columns = ["_".join(re.split(r"[\s_-]+", name.strip().lower())) for name in header]
    for written_, column in zip(header, columns, strict=True):
        if column not in _HEADER:
            near = difflib.get_close_matches(column, _HEADER, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"The columns are {', '.join(_HEADER)}."
            raise WrongUse(f"{where}: no column is called {_cut(written_)}.", hint)
        if columns.count(column) > 1:
            raise WrongUse(f"{where}: the column {column} stands there twice.", "Leave one of them.")
    if "name" not in columns:
        raise WrongUse(f"{where}: the column name is missing.", f"The columns are {', '.join(_HEADER)}; all but name may be left out.")
    return columns


def _members(text: str) -> list[str]:
    return list(dict.fromkeys(_words(MEMBERS, one, f"column {MEMBERS}") for one in re.split(r"[\s,;]+", text) if one))


def _words(column: str, text: str, where: str) -> str:
    if len(text) > _LONGEST[column]:
        raise WrongUse(f"{where}: this has {len(text):,} characters.", f"At most {_LONGEST[column]} are kept: shorten it.")
    if not text.isprintable():
        raise WrongUse(f"{where}: {_cut(text)} has a character that cannot be shown.", "Write it anew, without what was pasted.")
    if text.startswith(_FORMULA):
        raise WrongUse(f"{where}: {_cut(text)} is what a spreadsheet takes for a formula.", "Begin it with a letter or a digit.")
    return text


def _when(text: str, where: str, *, until: bool) -> datetime:
    found = _DAY.fullmatch(text)
    try:
        at = datetime.fromisoformat(text) if found else None
        if at and found and not found[2] and until:
            at += timedelta(days=1)
        at = at.replace(tzinfo=UTC) if at and at.tzinfo is None else at and at.astimezone(UTC)
    except (ValueError, OverflowError):
        at = None
    if at is None:
        raise WrongUse(f"{where}: {_cut(text)} is not a day.", "Write it as 2027-03-01, or with a time as 2027-03-01T12:00:00Z.")
    return at


def _cut(text: str) -> str:
    """What somebody wrote, safe to show and not too long."""
    return repr(text) if len(text) <= 60 else f"{text[:58]!r}…"
