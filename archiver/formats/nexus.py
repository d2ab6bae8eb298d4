"""NeXus: what its NXentry groups say, in the spellings that facilities use.

The default entry's fields stand at the top of the metadata, the others under `other_entries`. An entry is found by class, not
by name, and a field is taken from where it is first met: the entry, its NXsubentry, then their NXinstrument, NXsample and so on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import h5py

from archiver.formats.arrays import Array, preview
from archiver.formats.hdf5 import Document, Elsewhere, numbers
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, plain, text, without_blanks
from archiver.formats.times import Moment, iso, zone_said

ENTRIES_MAX = 20  # that are described; of a file with more, the others' names are listed
NAMES_MAX = 1_000
DEFAULTS_MAX = 8  # groups that `default` leads through: entry, subentry, data
DATA_MAX = 40  # NXdata groups of one entry that are described

_START = ("start_time", "startTime", "start_date", "date", "run_start")
_END = ("end_time", "endTime", "end_date", "run_end")
_PROPOSAL = ("proposal", "proposal_id", "proposal_number", "proposal_identifier", "experiment_id")


@dataclass(frozen=True)
class _Entry:
    """One NXentry: its groups by NX_class, each with its path below the file, nearest first."""

    name: str
    group: Any
    by_class: dict[str, list[tuple[str, Any]]]

    def all(self, *classes: str) -> list[tuple[str, Any]]:
        return [found for each in classes for found in self.by_class.get(each, [])]


def read(document: Document) -> tuple[Reading, Callable[[], Preview | None]] | None:
    """The file as NeXus and how to draw it, or None if it has no NXentry."""
    entries: list[_Entry] = []
    elsewhere: list[str] = []
    more: list[str] = []
    for name, found in document.children(document.file):
        if isinstance(found, Elsewhere):
            elsewhere.append(f"{text(name)} in {found}")
        elif isinstance(found, h5py.Group) and document.attribute(found, "NX_class") == "NXentry":
            if len(entries) == ENTRIES_MAX:
                document.note(f"only the first {ENTRIES_MAX} entries were read")
                more.append(text(name))
            else:
                entries.append(_entry(document, name, found))
    is_root = document.attribute(document.file, "NX_class") == "NXroot"
    if not entries and not (is_root and elsewhere):
        return None
    metadata: dict[str, Any] = {"entries_in_other_files": elsewhere[:ENTRIES_MAX]} if elsewhere else {}
    root = document.attributes(document.file)
    metadata |= {key: root[key] for key in ("creator", "file_time", "NeXus_version") if key in root}
    if not entries:
        return Reading("nexus", None, None, metadata), lambda: None
    chosen, why = _default(document, entries)
    metadata |= {"entry": text(chosen.name), "entry_count": len(entries) + len(more), "entry_chosen": why, **_describe(document, chosen)}
    others = [{"entry": text(each.name), **_describe(document, each)} for each in entries if each is not chosen]
    if others:
        metadata["other_entries"] = others
    if more:
        metadata["entries_not_read"] = more[:NAMES_MAX]
    acquired_at = _acquired(document, chosen, metadata)
    first = [chosen, *(entry for entry in entries if entry is not chosen)]
    return Reading("nexus", metadata.get("title"), acquired_at, metadata), lambda: _draw(document, first)


def _entry(document: Document, name: str, group: Any) -> _Entry:
    by_class: dict[str, list[tuple[str, Any]]] = {}
    for path, found in document.walk(group):
        nx_class = document.attribute(found, "NX_class") if isinstance(found, h5py.Group) else None
        if isinstance(nx_class, str):
            by_class.setdefault(nx_class, []).append((f"/{name}/{path}", found))
    return _Entry(name, group, by_class)


def _default(document: Document, entries: list[_Entry]) -> tuple[_Entry, str]:
    """The entry a reader should open, and why this one (many files with several entries name none)."""
    named = document.attribute(document.file, "default")
    if isinstance(named, str):
        first = named.strip("/").split("/")[0]
        for entry in entries:
            if entry.name == first:
                return entry, "named by the file"
    if len(entries) == 1:
        return entries[0], "the only one"
    return next((entry for entry in entries if entry.all("NXdata")), entries[0]), "the first with data; the file names none"


def _describe(document: Document, entry: _Entry) -> dict[str, Any]:
    places = [("/" + entry.name, entry.group), *entry.all("NXsubentry")]
    users = [name for _, user in entry.all("NXuser") if isinstance(name := document.value(user, "name"), str)]
    data = entry.all("NXdata")
    if len(data) > DATA_MAX:
        document.note(f"/{text(entry.name)}: {DATA_MAX} of {len(data)} NXdata groups shown")
    default_data = document.attribute(entry.group, "default")
    return without_blanks(
        {
            "title": _text(document, places, "title"),
            "definition": _text(document, places, "definition"),
            "start_time": _time(document, places, *_START),
            "end_time": _time(document, places, *_END),
            "experiment_identifier": _text(document, places, "experiment_identifier"),
            "proposal": _text(document, [*places, *entry.all("NXuser")], *_PROPOSAL),
            "users": [name for name in users if name][:50],
            "duration": _quantity(document, places, "duration", "collection_time"),
            "program": _text(document, places, "program_name"),
            "instrument": _text(document, entry.all("NXinstrument"), "name"),
            "source": _text(document, entry.all("NXsource"), "name", "facility_name"),
            "probe": _text(document, entry.all("NXsource"), "probe"),
            "sample": _text(document, entry.all("NXsample"), "name"),
            "sample_description": _text(document, entry.all("NXsample"), "description"),
            "sample_formula": _text(document, entry.all("NXsample"), "chemical_formula"),
            "sample_temperature": _quantity(document, entry.all("NXsample"), "temperature"),
            "detector": _text(document, entry.all("NXdetector"), "description", "local_name"),
            "detector_distance": _quantity(document, entry.all("NXdetector"), "distance"),
            "exposure": _quantity(document, entry.all("NXdetector"), "count_time", "exposure_time", "frame_time"),
            "energy": _beam(document, entry, "energy"),
            "wavelength": _beam(document, entry, "wavelength"),
            "default_data": default_data if isinstance(default_data, str) else None,
            "data": [_data(document, path, group) for path, group in data[:DATA_MAX]],
        }
    )


def _text(document: Document, places: list[tuple[str, Any]], *names: str) -> str | None:
    """The first of the fields that says something, as text (a proposal may be a number)."""
    for _, group in places:
        for name in names:
            value = document.value(group, name)
            value = ", ".join(str(item) for item in value) if isinstance(value, list) else value
            if value not in (None, ""):
                return str(value)
    return None


def _time(document: Document, places: list[tuple[str, Any]], *names: str) -> str | None:
    """A time as ISO 8601 UTC where it could be understood, else as the file spells it."""
    moment, spelled = _moment(document, places, *names)
    return iso(moment.at) if moment else spelled


def _moment(document: Document, places: list[tuple[str, Any]], *names: str) -> tuple[Moment | None, str | None]:
    spelled = None
    for _, group in places:
        for name in names:
            value = document.value(group, name)
            value = document.attribute(group, name) if value is None else value
            if moment := document.moment(value):
                return moment, None
            spelled = spelled or (str(value) if value not in (None, "") else None)
    return None, spelled


def _acquired(document: Document, entry: _Entry, metadata: dict[str, Any]) -> datetime | None:
    """When the measurement began: its start, else its end, else when the file was made. `acquired_from` says which."""
    places = [("/" + entry.name, entry.group), *entry.all("NXsubentry")]
    for source, moment in (
        ("start_time", _moment(document, places, *_START)[0]),
        ("end_time", _moment(document, places, *_END)[0]),
        ("file_time", document.moment(document.attribute(document.file, "file_time"))),
    ):
        if moment:
            metadata["acquired_from"] = source
            metadata |= zone_said(moment.zone_assumed, document.zone)
            return moment.at
    return None


def _beam(document: Document, entry: _Entry, quantity: str) -> dict[str, Any] | None:
    """Energy or wavelength of the beam with units: one value, or the range of a scan. Never the ring's (NXsource)."""
    searched = (
        (("NXmonochromator", "NXcrystal"), (quantity,)),
        (("NXbeam",), (f"incident_{quantity}", quantity)),
        (("NXinstrument", "NXdata", "NXsample"), (quantity, f"incident_{quantity}")),
    )
    for classes, names in searched:
        if found := _quantity(document, entry.all(*classes), *names):
            return found
    return None


def _quantity(document: Document, places: list[tuple[str, Any]], *names: str) -> dict[str, Any] | None:
    """The first of the fields that holds numbers, with units: one value, or the range of many."""
    for _, group in places:
        for name in names:
            found = document.child(group, name)
            values = numbers(document.array(found)) if isinstance(found, h5py.Dataset) else None
            if values is None:
                continue
            units = document.attribute(found, "units")
            if values.size == 1:
                return without_blanks({"value": plain(values[0]), "units": units})
            return without_blanks({"min": plain(values.min()), "max": plain(values.max()), "count": int(values.size), "units": units})
    return None


def _data(document: Document, path: str, group: Any) -> dict[str, Any]:
    """An NXdata group: its signal and axes, in today's spelling (group attributes) or the old one (attributes of the datasets)."""
    fields = _fields(document, group)
    signal = _signal(document, group, fields)
    described: dict[str, Any] = {"path": text(path)}
    if signal is None:
        described["fields"] = [{"name": text(name), **document.shape_of(found)} for name, found in list(fields.items())[:20]]
        return without_blanks(described)

    def one(name: str) -> dict[str, Any]:
        return {"name": text(name), **(document.shape_of(fields[name]) if name in fields else {"missing": True})}

    described["signal"] = one(signal)
    described["axes"] = [one(name) for name in _axes(document, group, fields.get(signal), fields) if name not in ("", ".")]
    return without_blanks(described)


def _fields(document: Document, group: Any) -> dict[str, Any]:
    return {name: found for name, found in document.children(group) if isinstance(found, h5py.Dataset | Elsewhere)}


def _signal(document: Document, group: Any, fields: dict[str, Any]) -> str | None:
    named = document.attribute(group, "signal")
    if isinstance(named, str) and named:
        return named
    marked = [name for name, found in fields.items() if isinstance(found, h5py.Dataset) and document.attribute(found, "signal") in (1, "1")]
    return marked[0] if marked else "data" if "data" in fields else None


def _axes(document: Document, group: Any, signal: Any, fields: dict[str, Any]) -> list[str]:
    named = document.attribute(group, "axes")
    if named is None and isinstance(signal, h5py.Dataset):
        named = document.attribute(signal, "axes")
    if isinstance(named, str):
        named = re.split(r"[:,]", named.strip("[] "))
    if isinstance(named, list):
        return [name.strip() for name in named if isinstance(name, str)][:32]
    numbered = []
    for name, found in fields.items():
        place = document.attribute(found, "axis") if isinstance(found, h5py.Dataset) else None
        if str(place).isdigit():
            numbered.append((int(str(place)), name))
    return [name for _, name in sorted(numbered)][:32]


def _draw(document: Document, entries: list[_Entry]) -> Preview | None:
    """The first signal in this file that is worth seeing: the one that `default` leads to, else in the order of the file."""
    for group in _data_groups(document, entries):
        fields = _fields(document, group)
        name = _signal(document, group, fields)
        names = [name] if name else list(fields)[:20]
        for each in names:
            signal = document.drawable(fields.get(each), each)
            if signal and (seen := preview(signal, _along(document, fields, _axes(document, group, fields[each], fields), signal))):
                return seen
    return None


def _data_groups(document: Document, entries: list[_Entry]) -> Iterator[Any]:
    root = document.attribute(document.file, "default")
    led = document.child(document.file, root) if isinstance(root, str) and root.strip("/") else None
    here: Any = led if isinstance(led, h5py.Group) else entries[0].group
    if document.attribute(here, "NX_class") == "NXdata":
        yield here
    for _ in range(DEFAULTS_MAX):
        named = document.attribute(here, "default")
        here = document.child(here, named) if isinstance(named, str) and named else None
        if not isinstance(here, h5py.Group):
            break
        if document.attribute(here, "NX_class") == "NXdata":
            yield here
    for entry in entries:
        yield from (group for _, group in entry.all("NXdata")[:DATA_MAX])


def _along(document: Document, fields: dict[str, Any], names: list[str], signal: Array) -> list[Array | None]:
    """The axes for each dimension: in their order where there are as many, else by length."""
    found = [document.drawable(fields.get(name), name) for name in names]
    if len(names) == len(signal.shape):
        return found
    by_length = {axis.shape[0]: axis for axis in reversed(found) if axis and len(axis.shape) == 1}
    return [by_length.get(edge) for edge in signal.shape]
