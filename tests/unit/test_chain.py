"""Chains: whatever is changed, left out, put in or moved in a history is found, and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import chain
from archiver.model import Event

NAME = "saxs/run1"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def append(events: list[Event], kind: str, detail: dict[str, Any], before: str | None = None, seq: int | None = None) -> None:
    seq = seq or len(events) + 1
    before = before or (events[-1].hash if events else chain.GENESIS)
    at = START + timedelta(seconds=seq)
    detail = chain.plain(detail)
    digest = chain.link(before, chain.said(NAME, seq, at, "archiver", kind, detail))
    events.append(Event(seq, 1, seq, at, "archiver", kind, detail, digest))


@pytest.fixture
def events() -> list[Event]:
    made: list[Event] = []
    for number in range(1, 9):
        append(made, f"kind{number}", {"number": number, "path": "né/vé"})
    return made


def problems(events: list[Event]) -> list[str]:
    return list(chain.verify(NAME, events))


def numbered(events: list[Event]) -> list[Event]:
    return [replace(event, seq=seq) for seq, event in enumerate(events, start=1)]


def test_a_whole_chain_has_nothing_wrong(events: list[Event]):
    assert problems(events) == []


def test_the_hash_is_what_the_docstring_says():
    """Computed here from the text of the law, not by the code under test: strangers verify by it."""
    import hashlib
    import json

    def digest(array: list[Any]) -> str:
        return hashlib.sha256(json.dumps(array, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    made: list[Event] = []
    append(made, "drop.planned", {"b": [1, 2.5], "a": "é"})
    said = digest(["saxs/run1", 1, "2026-03-01T12:00:01.000000Z", "archiver", "drop.planned", {"a": "é", "b": [1, 2.5]}])
    assert made[0].hash == digest(["0" * 64, said])


@pytest.mark.parametrize(
    "change",
    [
        lambda e: replace(e, detail={"number": 40}),
        lambda e: replace(e, kind="kind4x"),
        lambda e: replace(e, actor="somebody"),
        lambda e: replace(e, at=e.at + timedelta(microseconds=1)),
        lambda e: replace(e, hash="f" * 64),
    ],
)
def test_a_changed_event_is_named(events: list[Event], change: Callable[[Event], Event]):
    events[3] = change(events[3])
    assert next(line.split(" (")[0] for line in problems(events)) == "event 4"


def test_one_that_was_changed_and_hashed_anew_breaks_the_next(events: list[Event]):
    changed = events[:3]
    append(changed, "kind4", {"number": 40})
    assert [p.split(" (")[0] for p in problems([*changed, *events[4:]])] == ["event 5"]


def test_missing_events_are_named(events: list[Event]):
    assert problems([*events[:3], *events[4:]]) == ["event 4 is missing"]
    assert problems([*events[:2], *events[6:]]) == ["events 3 to 6 are missing"]
    assert problems(events[1:]) == ["event 1 is missing"]
    assert problems([]) == ["its history is missing"]


def test_one_left_out_with_the_others_numbered_anew(events: list[Event]):
    found = problems(numbered([*events[:3], *events[4:]]))
    assert found
    assert "event 4" in found[0]


def test_exchanged_events_are_named_with_their_true_numbers(events: list[Event]):
    events[3], events[4] = replace(events[4], seq=4), replace(events[3], seq=5)
    found = problems(events)
    assert "event 4 (kind5) was moved: it was written as number 5" in found
    assert "event 5 (kind4) was moved: it was written as number 4" in found


def test_an_event_that_was_put_in_is_named(events: list[Event]):
    forged = replace(events[3], kind="forged")
    found = problems(numbered([*events[:4], forged, *events[4:]]))
    assert "event 5 (forged) is not what was written: it was changed or put in" in found


def test_another_datasets_events_do_not_pass(events: list[Event]):
    assert list(chain.verify("saxs/run2", events))


def test_a_rebuilt_chain_begins_where_the_anchor_saw_it(events: list[Event]):
    head = events[-1]
    again: list[Event] = []
    append(again, chain.CONTINUED, {"anchor": "2026-03-02", "anchor_sha256": "00", "seq": 8, "head": head.hash}, before=head.hash, seq=9)
    append(again, "kind10", {}, seq=10)
    assert problems(again) == []
    wrong = replace(again[0], detail={**again[0].detail, "head": "1" * 64})
    assert problems([wrong, again[1]])


_plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_json = st.recursive(_plain, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner), max_leaves=5)


@given(st.dictionaries(st.text(), _json))
def test_what_is_written_is_hashed_as_it_is_read_back(detail: dict[str, Any]):
    import json

    first = chain.plain(detail)
    read = json.loads(json.dumps(first))
    assert chain.said(NAME, 1, START, "a", "k", first) == chain.said(NAME, 1, START, "a", "k", read)


def test_what_json_cannot_say_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        chain.plain({"a": float("nan")})
