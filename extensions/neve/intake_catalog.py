"""The catalog: an intake 2 catalog that is a view of the archiver's ledger.

Law: nothing is fetched before it is asked for, and what is fetched comes page by page, narrowed by the server. The catalog holds no copy of its
own, so it is never out of date; and it holds no token that could be written to a file: what it writes are names and an address.

intake's own Catalog keeps everything in dicts (length and iteration look at `aliases`, search walks all entries), so all of that is done anew here.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any, NoReturn, Self

from intake.readers.entry import Catalog, ReaderDescription
from intake.readers.readers import BaseReader
from intake.readers.search import SearchBase

from neve import records
from neve.client import Client, connect
from neve.errors import NeveError, NotFound, WrongUse
from neve.readers import DatasetReader
from neve.wording import size_text, table_html, tier_text, time_text, utc_json

SHOWN = 10
"""Rows of a repr."""


class NeveCatalog(Catalog):  # type: ignore[misc]
    """All datasets you may read, newest first; `cat[name]` is one, by full name (`saxs/run42`) or, where that is unambiguous, by bare name.

    Iterating gives full names. `search` narrows on the server and gives a catalog again. Raises NeveErrors; an unknown name is also a KeyError.
    """

    def __init__(self, client: Client, filters: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._client = client
        self._filters = dict(filters or {})
        # Set after intake's own set-up, which would take an empty mapping's place with a dict of its own.
        self.entries = _Entries(self)

    # Looking up

    def __getitem__(self, name: str) -> DatasetReader:
        return DatasetReader.of(self._client, self._find(name))

    def __contains__(self, thing: object) -> bool:
        name = thing.name if isinstance(thing, DatasetReader) else thing
        if not isinstance(name, str):
            return False
        return self._client.page({**self._filters, "name": name}, limit=1).total > 0

    def __iter__(self) -> Iterator[str]:
        return (item.full_name for item in self._client.datasets(self._filters))

    def __len__(self) -> int:
        page = self._client.page(self._filters, limit=1)
        return sum(1 for _ in self) if page.total_more else page.total  # the archiver counts up to 10,000

    def __bool__(self) -> bool:
        return True  # a catalog is one even when nothing is in it, and `if cat` should ask nobody

    def search(  # type: ignore[override, unused-ignore]
        self,
        text: str | SearchBase | None = None,
        *,
        project: str | None = None,
        instrument: str | None = None,
        tier: str | None = None,
        since: str | date | datetime | None = None,
        until: str | date | datetime | None = None,
        tag: str | None = None,
        **metadata: str | float | tuple[float | None, float | None],
    ) -> Catalog:
        """The datasets that fit, as a catalog. `text`: words, parts of them too, in name, title, instrument, project, tags, comments or metadata;
        `tier`: the nearest that holds all of it (hot, archive, deep); `since`, `until`: when measured, days inclusive (UTC unless the time says
        otherwise). Any other name is a field of the metadata: `sample="silver"`, `energy_kev=12.4`, `energy_kev=(8, 12)` for a range (None: no
        end), `energy_kev=">12"`; `sample__name` for a field within another.

        An intake search expression is taken too; it fetches every entry first, as intake does."""
        if isinstance(text, SearchBase):
            return self.fetched().search(text)
        filters = dict(self._filters)
        if text:
            filters["q"] = " ".join([*filters.get("q", "").split(), *str(text).split()])
        asked = {f"meta.{name.replace('__', '.')}": _condition(value) for name, value in metadata.items()}
        for name, value in {"project": project, "instrument": instrument, "tier": tier, "tag": tag, **asked}.items():
            if value is None:
                continue
            if filters.get(name, value) != value:
                raise WrongUse(f"This catalog holds only {name} {filters[name]}; {value} cannot be in it.", "SearchBase in neve.catalog() instead.")
            filters[name] = value
        if since is not None:
            filters["from"] = max(utc_json(_moment(since, "since")), filters.get("from", ""))
        if until is not None:
            end = _moment(until, "until", end_of_day=True)
            filters["to"] = min(utc_json(end), filters.get("to", "9999"))
        return NeveCatalog(self._client, filters)

    def _find(self, name: str) -> records.Dataset:
        found = self._client.find(name)
        # Inside a search only what fits it is there; the whole catalog need not ask twice.
        if self._filters and not self._client.page({**self._filters, "name": found.full_name}, limit=1).items:
            raise NotFound(f"{found.full_name} is not in this search ({self._said()}).", f'It is there as neve.catalog()["{found.full_name}"].')
        return found

    # As an intake catalog

    def fetched(self) -> Catalog:
        """An ordinary intake catalog with an entry for each dataset as it is now: fetches all pages."""
        plain = Catalog(metadata={"source": self._client.url})
        for item in self._client.datasets(self._filters):
            plain.entries[item.full_name] = _description(self._client, item)
            plain.aliases[item.full_name] = item.full_name
        return plain

    def to_dict(self) -> dict[str, Any]:
        """For `to_yaml_file`: all entries. They read with the token of whoever opens the file, from the environment."""
        return dict(self.fetched().to_dict())

    def __call__(self, **parameters: Any) -> NeveCatalog:
        if parameters:
            raise WrongUse("This catalog has no parameters.", "Narrow it with .search(…).")
        return self

    def __add__(self, other: Any) -> Catalog:
        return self.fetched() + (other.fetched() if isinstance(other, NeveCatalog) else other)

    def add_entry(self, entry: Any, name: str | None = None, **_kwargs: Any) -> NoReturn:  # noqa: ARG002 - intake's signature
        raise WrongUse("This catalog is the archiver's; it is not written to from here.", "cat.fetched() gives an intake catalog of your own.")

    def __delitem__(self, key: str) -> NoReturn:
        self.add_entry(key)

    def __iadd__(self, other: Any) -> Self:
        self.add_entry(other)

    def rename(self, old: str, new: str, clobber: bool = True) -> None:  # noqa: ARG002 - intake's signature
        self.add_entry(old, new)

    def give_name(self, tok: str, name: str, clobber: bool = True) -> None:  # noqa: ARG002 - intake's signature
        self.add_entry(tok, name)

    def get_entity(self, item: str) -> Any:
        return self if item.lower() in {"cat", "catalog"} else _description(self._client, self._find(item))

    def __getattr__(self, name: str) -> Any:
        # Dataset names hold a slash, and a misspelt attribute should not ask the server.
        raise AttributeError(f'A catalog has no {name!r}; a dataset is cat["instrument/name"].')

    def __dir__(self) -> list[str]:
        return sorted(object.__dir__(self))

    def _ipython_key_completions_(self) -> list[str]:
        try:
            page = self._client.page(self._filters, limit=200)
        except NeveError:
            return []  # completion has no place for an error; using the catalog will say it
        names = [item.name for item in page.items]
        return sorted({item.full_name for item in page.items} | {name for name in names if names.count(name) == 1})

    def _token(self) -> str:
        return sha256(f"{self._client.url} {sorted(self._filters.items())}".encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NeveCatalog) and self.token == other.token

    def __hash__(self) -> int:
        return int(self.token, 16)

    # For people

    def __repr__(self) -> str:
        page = self._first_page()
        return f"<Névé catalog at {self._client.url}: {page}>" if isinstance(page, NeveError) else page_text(page, self._filters)

    def _repr_html_(self) -> str:
        page = self._first_page()
        return f"<p>{html.escape(str(page))}</p>" if isinstance(page, NeveError) else page_html(page, self._filters, "narrow them with .search(…)")

    def _first_page(self) -> records.Page | NeveError:
        try:
            return self._client.page(self._filters, limit=SHOWN)
        except NeveError as error:
            return error  # a repr must not raise; it shows the sentence

    def _said(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self._filters.items())


class CatalogReader(BaseReader):  # type: ignore[misc]
    """Opens the catalog, for a file (`catalog.yaml` of the archiver) that names no token: it is taken from the environment of whoever reads."""

    output_instance = "neve.intake_catalog:NeveCatalog"

    def _read(self, **_kwargs: Any) -> NeveCatalog:
        return catalog(url=self.kwargs.get("url"))


class _Entries(Mapping[str, ReaderDescription]):
    """The catalog's datasets as intake's descriptions, fetched when asked for."""

    def __init__(self, catalog: NeveCatalog) -> None:
        self._catalog = catalog

    def __getitem__(self, name: str) -> ReaderDescription:
        return _description(self._catalog._client, self._catalog._find(name))  # noqa: SLF001 - its other half

    def __iter__(self) -> Iterator[str]:
        return iter(self._catalog)

    def __len__(self) -> int:
        return len(self._catalog)

    def __bool__(self) -> bool:
        return True  # intake writes `entries or {}`: an empty one would be thrown away

    def __repr__(self) -> str:
        return f"<entries of {self._catalog!r}>"


def _description(client: Client, dataset: records.Dataset) -> ReaderDescription:
    reader: BaseReader = DatasetReader.of(client, dataset)
    entry = reader.to_entry()
    # YAML knows no dates that intake would read back as they were; JSON's form says the same.
    entry.metadata = {key: utc_json(value) if isinstance(value, datetime) else value for key, value in entry.metadata.items()}
    entry._tok = dataset.full_name  # noqa: SLF001 - intake's way to name an entry
    return entry


def page_text(page: records.Page, filters: Mapping[str, str]) -> str:
    """The first rows of what fits, as text."""
    lines = [f"  {'  '.join(_row(item))}" for item in page.items[:SHOWN]]
    more = page.total - len(lines)
    return "\n".join([f"<{_head(page, filters)}>", *lines, *([f"  … and {more} more"] if more > 0 else [])])


def page_html(page: records.Page, filters: Mapping[str, str], hint: str) -> str:
    """The same as a table; `hint` says how the others are seen."""
    rows = [_row(item) for item in page.items[:SHOWN]]
    more = page.total - len(rows)
    foot = f"<p>… and {more} more: {html.escape(hint)}</p>" if more > 0 else ""
    return table_html(_head(page, filters), ("Dataset", "Measured", "Size", "Where", "Title"), rows) + foot


def _head(page: records.Page, filters: Mapping[str, str]) -> str:
    narrowed = ", ".join(f"{name} {value}" for name, value in filters.items() if value)
    more = "more than " if page.total_more else ""
    return f"Névé catalog{f' ({narrowed})' if narrowed else ''}: {more}{page.total} dataset{'' if page.total == 1 else 's'}"


def _row(item: records.Dataset) -> tuple[str, ...]:
    where = tier_text(item.tier)
    if item.tier == "hot" and item.hot_until is not None:
        where += f" until {item.hot_until:%Y-%m-%d}"
    if item.restore is not None and item.restore.running:
        where += f", {records.RESTORE_STATES[item.restore.state]}"
    return item.full_name, time_text(item.when), size_text(item.size_bytes), where, item.title or ""


def _condition(value: str | float | tuple[float | None, float | None]) -> str:
    """As the archiver reads it."""
    if isinstance(value, tuple):
        if len(value) != 2:
            raise WrongUse(f"{value!r} is no range.", "A range is (least, most), with None where it has no end.")
        return "..".join("" if end is None else repr(float(end)) for end in value)
    return value if isinstance(value, str) else repr(value)


def _moment(value: str | date | datetime, name: str, *, end_of_day: bool = False) -> datetime:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) <= len("2024-05-17") else datetime.fromisoformat(value)
        except ValueError:
            raise WrongUse(f"{name}={value!r} is no date.", "Dates look like 2024-05-17 or 2024-05-17T08:30:00Z.") from None
    if isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day) + timedelta(days=1 if end_of_day else 0)  # noqa: DTZ001 - utc_json reads it as UTC


def catalog(*, url: str | None = None, token: str | None = None) -> NeveCatalog:
    """All datasets you may read. Opening it asks nobody anything yet. `url`, `token`: of another archiver than this notebook's."""
    return NeveCatalog(connect(url, token))
