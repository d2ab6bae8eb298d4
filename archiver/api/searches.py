"""What can be asked of the catalog, in an address: words, filters, conditions on metadata.

Law: every text is plain text. What is no condition is refused with a sentence; nothing that is asked is passed over.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from archiver.api.models import Asked, Text, Time
from archiver.auth import Identity
from archiver.errors import WrongUse
from archiver.ledger.indexing import fold
from archiver.ledger.narrowing import Measured, Query
from archiver.ledger.searching import Sort
from archiver.model import DatasetState
from archiver.remark import tag_of

_META = "meta."
_CONDITIONS = 10
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
_COMPARED = re.compile(rf"(>=|<=|>|<)\s*({_NUMBER})", re.ASCII)
_RANGE = re.compile(rf"({_NUMBER})?\.\.({_NUMBER})?", re.ASCII)
_PLAIN = re.compile(_NUMBER, re.ASCII)

META = {
    "name": "meta",
    "in": "query",
    "required": False,
    "style": "form",
    "explode": True,
    "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    "example": {"meta.energy_kev": ">12", "meta.sample.name": "silver"},
    "description": "`meta.FIELD=CONDITION`, for any field of the metadata (`outer.inner` for one within another; upper and lower case are the same), "
    "up to 10. A condition is a number (`12.4`: equal), `>12`, `>=12`, `<12`, `<=12`, a range with both ends (`8..12`, `8..`, `..12`), `*` (it is "
    'there), or text: all of the field, case aside. `"…"` around it means text, whatever it looks like.',
}


class SearchQuery(Asked):
    """What the list of datasets is narrowed to; all of it must fit."""

    model_config = ConfigDict(extra="allow")

    q: Text | None = Field(
        None,
        description="Words, each of which must stand somewhere, also within others: in name, title, instrument, project, tags, comments or metadata.",
    )
    name: Text | None = Field(None, description="Exact name, bare or `instrument/name`.")
    project: Text | None = Field(None, description="Exact name of a project.")
    instrument: Text | None = Field(None, description="Exact name of an instrument.")
    tier: Text | None = Field(None, description="The nearest tier with a full set of copies; a change is seen within a minute.")
    format: Text | None = Field(None, description="Format of its files, as facets name it.")
    state: DatasetState | None = Field(None, description="`open` while files arrive, then `closed`.")
    since: Time | None = Field(None, alias="from", description="Acquired (or, where unknown, received) at or after this time, to the minute.")
    until: Time | None = Field(None, alias="to", description="Acquired (or, where unknown, received) before this time, to the minute.")
    tag: list[Text] = Field([], max_length=_CONDITIONS, description="A tag; given several times, all of them.")

    @field_validator("tag")
    @classmethod
    def _a_tag(cls, tags: list[str]) -> list[str]:
        try:
            return [tag_of(tag) for tag in tags]
        except WrongUse as error:
            raise ValueError(error.detail.rstrip(".")) from None

    @model_validator(mode="after")
    def _only_metadata_beside(self) -> SearchQuery:
        for name in self.model_extra or {}:
            if not name.startswith(_META) or not fold(name.removeprefix(_META)):
                raise ValidationError.from_exception_data("query", [{"type": "extra_forbidden", "loc": (name,), "input": None}])
        return self

    def query(self, who: Identity) -> Query:
        """The same for the ledger. Raises `WrongUse`."""
        said, measured = _conditions(self.model_extra or {})
        return Query(
            projects=who.readable,
            text=self.q,
            name=self.name,
            project=self.project,
            instrument=self.instrument,
            tier=self.tier,
            format=self.format,
            state=self.state,
            since=self.since,
            until=self.until,
            tags=tuple(self.tag),
            said=tuple(said),
            measured=tuple(measured),
        )


class PageOfSearch(SearchQuery):
    """A page of what fits."""

    sort: Sort = Field(Sort.NEWEST, description="Order; `newest` is by the time that `from` and `to` mean.")
    limit: int = Field(50, ge=1, le=200, description="Most items to answer.")
    cursor: Text | None = Field(None, description="`next_cursor` of the page before, of the same sort.")


def _conditions(asked: dict[str, Any]) -> tuple[list[tuple[str, str | None]], list[Measured]]:
    said: list[tuple[str, str | None]] = []
    measured: list[Measured] = []
    for name, values in asked.items():
        field = fold(name.removeprefix(_META))
        for value in values if isinstance(values, list) else [values]:
            text = str(value).strip()
            if not text or len(text) > 500 or not text.isprintable():
                raise WrongUse(
                    f"`{_META}{field[:80]}` has no condition that can be read.", "Give a number, >12, 8..12, * or a text of 500 characters."
                )
            found = _number_condition(field, text)
            if found is not None:
                measured.append(found)
            elif text == "*":
                said.append((field, None))
            elif text[0] in "<>" or (".." in text and _RANGE.sub("", text) == ""):
                raise WrongUse(f"`{_META}{field[:80]}` is compared with what is no number.", 'Write >12, <=12 or 8..12, or put text between "…".')
            else:
                bare = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
                said.append((field, bare[:200]))
    if len(said) + len(measured) > _CONDITIONS:
        raise WrongUse(f"More than {_CONDITIONS} conditions on metadata are asked for.", "Leave some out.")
    return said, measured


def _number_condition(field: str, text: str) -> Measured | None:
    if found := _COMPARED.fullmatch(text):
        sign, value = found[1], float(found[2])
        if sign[0] == ">":
            return Measured(field, least=value, least_open=sign == ">")
        return Measured(field, most=value, most_open=sign == "<")
    if (found := _RANGE.fullmatch(text)) and (found[1] or found[2]):
        least, most = (float(end) if end else None for end in found.groups())
        if least is not None and most is not None and least > most:
            raise WrongUse(f"The range of `{_META}{field[:80]}` ends before it begins.", "Exchange its ends.")
        return Measured(field, least=least, most=most)
    if _PLAIN.fullmatch(text):
        return Measured(field, least=float(text), most=float(text))
    return None
