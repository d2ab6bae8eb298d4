"""A user office's list of projects is read as it is meant, or refused with its line and column."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from archiver import facts
from archiver.errors import WrongUse


def day(*of: int) -> datetime:
    return datetime(*of, tzinfo=UTC)


LIST = (
    "Name;Title;Investigator;Start;End;Embargo;Public-after;QUOTA;Members;;\r\n"
    '\r\nsnow;"Snow; a\nstudy";Ådá  Lovelace;2026-01-01;2026-12-31;2027-03-01T12:00:00+02:00;2028-01-01;2 TiB;alice, bob;;\r\n'
    "ice-cores;;;;;;;500 GB;;;\r\n"
)


@pytest.mark.parametrize(
    "raw",
    [
        LIST.encode(),
        b"\xef\xbb\xbf" + LIST.encode(),  # Excel's “CSV UTF-8”
        LIST.replace(";;\r", "\r").replace(";", "\t").replace("Snow\t", "Snow;").encode("utf-16"),  # Excel's “Unicode text”
    ],
    ids=["plain", "bom", "utf-16"],
)
def test_a_list_as_excel_writes_it(raw: bytes):
    snow, ice = facts.read(raw, "list.csv")
    assert (snow.place, snow.name, snow.members) == ("line 3", "snow", ["alice", "bob"])
    assert snow.facts == {
        "title": "Snow; a study",
        "pi": "Ådá Lovelace",
        "starts_at": day(2026, 1, 1),
        "ends_at": day(2027, 1, 1),  # until the day is over
        "embargo_until": day(2027, 3, 1, 10),
        "public_after": day(2028, 1, 1),
        "quota_bytes": 2 * 2**40,
    }
    assert (ice.place, ice.members) == ("line 5", [])
    assert ice.facts == {**dict.fromkeys(facts.COLUMNS.values()), "title": "ice-cores", "quota_bytes": 500 * 10**9}


def test_json_says_the_same_and_what_is_left_out_is_not_said():
    rows = [{"name": "snow", "title": "Snow", "quota": 10**12, "members": ["alice", "bob"]}, {"name": "ice-cores", "end": None}]
    for document in (rows, {"projects": rows}):
        snow, ice = facts.read(json.dumps(document).encode(), "list.json")
        assert (snow.facts, snow.members) == ({"title": "Snow", "quota_bytes": 10**12}, ["alice", "bob"])
        assert (ice.facts, ice.members) == ({"ends_at": None}, None)


@pytest.mark.parametrize("column", facts.COLUMNS)
@pytest.mark.parametrize("text", ["2026-12-31", "2026-12-31T12:30:00Z", "512 MiB", "1500 GB", "1 B", "0"])
def test_what_is_shown_can_be_read_again(column: str, text: str):
    try:
        value = facts.parse(column, text, "here")
    except WrongUse:
        return
    assert facts.parse(column, facts.written(facts.COLUMNS[column], value), "here") == value


WRONG = {
    b"": "is empty",
    b"\xff\xfe": "is empty",
    "name,title\nsnow,Été\n".encode("latin-1"): "line 2: the text is not UTF-8. Save it as “CSV UTF-8”",
    b"name,title\n": "names no project",
    b"name,titel\nsnow,x\n": "no column is called 'titel'. Did you mean title?",
    b"name,colour\nsnow,x\n": "no column is called 'colour'. The columns are name, title",
    b"title\nx\n": "the column name is missing",
    b"name,title,Title\nsnow,x,y\n": "the column title stands there twice",
    b"name,title\nsnow,Snow, and more\n": "line 2: there are 3 cells below 2 column names",
    b'name,title\nsnow,"Snow\n': "line 2: this is not valid CSV",
    b"name,title\nsnow,x\nsnow,y\n": "line 3, column name: snow stands in line 2 already",
    b"name\nNo Spaces\n../x\nok1\n": "line 2, column name: 'No Spaces' cannot be the name of a project. 1 more wrong: line 3.",
    b"name,title\nsnow,=cmd|' /C calc'!A0\n": "column title: \"=cmd|' /C calc'!A0\" is what a spreadsheet takes for a formula",
    b"name,investigator\nsnow,@SUM(A1)\n": "column investigator: '@SUM(A1)' is what a spreadsheet takes for a formula",
    b"name,title\nsnow,bell\x07\n": r"column title: 'bell\x07' has a character that cannot be shown",
    b"name,title\nsnow,nul\0\n": r"column title: 'nul\x00' has a character that cannot be shown",
    "name,title\nsnow,a\u202eb\n".encode(): r"column title: 'a\u202eb' has a character that cannot be shown",
    b"name,title\nsnow," + b"x" * 501 + b"\n": "column title: this has 501 characters",
    b"name,title\nsnow," + b"x" * 200_000 + b"\n": "line 2: this is not valid CSV (field larger than field limit",
    b"name,end\nsnow,01/03/2027\n": "column end: '01/03/2027' is not a day. Write it as 2027-03-01",
    b"name,end\nsnow,2027-02-30\n": "column end: '2027-02-30' is not a day",
    b"name,end\nsnow,9999-12-31\n": "column end: '9999-12-31' is not a day",
    b"name,start\nsnow,0001-01-01T00:00:00+02:00\n": "column start: '0001-01-01T00:00:00+02:00' is not a day",
    b"name,quota\nsnow,-5\n": "column quota: '-5' is not a size. Write it as 500 GB",
    b"name;quota\nsnow;2,5 TB\n": "column quota: '2,5 TB' is not a size",
    b"name,quota\nsnow,9223372036854775808\n": "is not a size",
    b"name,quota\nsnow,10000 PB\n": "is not a size",
    b"[": "is not valid JSON",
    b"[" * 100_000: "is not valid JSON",
    b'{"a": 1}': "is no list of projects",
    b'["snow"]': "is no list of projects",
    b"[]": "names no project",
    b'[{"name": "snow", "name": "ice"}]': "a name stands twice in one object",
    b'[{"name": "snow", "quota": true}]': "project 1, column quota: this is no text",
    b'[{"name": "snow", "quota": -5}]': "project 1, column quota: '-5' is not a size",
    b'[{"name": "snow", "title": "\\ud800"}]': r"'\ud800' has a character that cannot be shown",
    b'[{"name": "snow", "title": ["x"]}]': "project 1, column title: this is no text",
    b'[{"title": "x"}]': "the column name is missing",
    b"[{}]": "the column name is missing",
    b"x" * (facts.MAX_BYTES + 1): "has more than 16,777,216 bytes",
}


@pytest.mark.parametrize(("raw", "says"), WRONG.items(), ids=range(len(WRONG)))
def test_a_hostile_or_broken_list_is_refused_with_where_and_why(raw: bytes, says: str):
    with pytest.raises(WrongUse) as refused:
        facts.read(raw, "list")
    said = str(refused.value)
    assert says in said
    assert said.startswith("list")
    assert said.isprintable(), said
    assert len(said) < 400


def test_each_wrong_line_is_named_up_to_ten():
    with pytest.raises(WrongUse) as refused:
        facts.read(("name,quota\n" + "".join(f"p{n:03},many\n" for n in range(20))).encode(), "list")
    assert "line 2, column quota" in refused.value.detail
    assert refused.value.detail.endswith("19 more wrong: " + ", ".join(f"line {n}" for n in range(3, 13)) + ", ….")
