"""HDF5: opened read-only, walked within bounds, told apart into NeXus, netCDF-4 and plain HDF5.

Law: nothing outside the file is ever read. External links, external storage and virtual datasets name other paths of this
machine, so they are described, never followed; soft links are resolved by hand because HDF5 would walk on into an external one.
Big arrays are described by shape and type. A cycle of links ends at the object already seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from itertools import islice
from math import prod
from typing import Any

import h5py
import numpy as np

from archiver.formats import arrays
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Source, Unreadable, bounded, cut_off, plain, text, type_name, without_blanks
from archiver.formats.times import Moment, parse

CHILDREN_MAX = 2_000  # links of one group that are looked at
OBJECTS_MAX = 20_000  # of one file; the largest real files have some thousands
DEPTH_MAX = 12  # groups below one another; NeXus needs six
LINKS_MAX = 16  # soft links that lead to one object
VALUE_MAX_BYTES = 2**20  # of a value or attribute that is read at all
CHUNK_MAX_BYTES = 16 * 2**20  # a chunk is unpacked whole, however little of it is wanted
DRAWN_CHUNK_MAX_BYTES = 256 * 2**20  # the same for a preview: one frame of the largest detectors
OWN_FILTERS = (32000,)  # above 255 stand the filters that others registered; h5py brings this one (LZF)
DAMAGE = (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)  # what h5py raises on it, according to where it lies
LENGTH_MAX_BYTES = 2**50  # a header that announces more is damaged, not of a file that was cut off
TREE_MAX = 300  # objects of a plain HDF5 file that are listed


@dataclass(frozen=True)
class Elsewhere:
    """What a link leads to when that lies in another file."""

    file: str
    path: str

    def __str__(self) -> str:
        return f"{self.file}:{self.path}"


@dataclass
class Document:
    """An open file and what is left of the budget for looking at it."""

    file: Any
    zone: tzinfo = UTC
    objects_left: int = OBJECTS_MAX
    cut: list[str] = field(default_factory=list)

    def child(self, group: Any, name: str) -> Any:
        """The object called `name` (a path is allowed): a group, a dataset, an `Elsewhere`, or None."""
        return self._follow(group, name, LINKS_MAX)

    def _follow(self, group: Any, path: str, links_left: int) -> Any:
        here = self.file if path.startswith("/") else group
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for index, part in enumerate(parts):
            if not isinstance(here, h5py.Group):
                return None
            try:
                key = part if part.isprintable() else os.fsencode(part)
                link = here.get(key, getlink=True)
                if isinstance(link, h5py.ExternalLink):
                    return Elsewhere(text(link.filename), "/".join([text(link.path), *parts[index + 1 :]]))
                if isinstance(link, h5py.SoftLink):
                    here = self._follow(here, os.fsdecode(link.path), links_left - 1) if links_left else None
                elif isinstance(link, h5py.HardLink):
                    here = here[key]
                else:
                    return None
            except DAMAGE:
                self.note(f"{text(path)}: damaged or of an unknown kind")
                return None
            if isinstance(here, Elsewhere):
                return Elsewhere(here.file, "/".join([here.path, *parts[index + 1 :]]))
        return here

    def children(self, group: Any) -> Iterator[tuple[str, Any]]:
        """Names and objects in a group, damaged ones left out."""
        try:
            names = [os.fsdecode(name) for name in islice(group, CHILDREN_MAX + 1)]  # bytes where a name is no UTF-8
        except DAMAGE:
            names = []
            self.note(f"{text(group.name or '?')}: its list of members is damaged")
        if len(names) > CHILDREN_MAX:
            self.note(f"{text(group.name or '?')}: only the first {CHILDREN_MAX} members were looked at")
        for name in names[:CHILDREN_MAX]:
            if self.objects_left <= 0:
                self.note(f"only the first {OBJECTS_MAX} objects were looked at")
                return
            self.objects_left -= 1
            found = self.child(group, name)
            if found is not None:
                yield name, found

    def walk(self, top: Any) -> Iterator[tuple[str, Any]]:
        """Every group and dataset below `top`, breadth first, each once, with its path below `top`."""
        seen = {_address(top)}
        level = [("", top)]
        for depth in range(DEPTH_MAX + 1):
            below: list[tuple[str, Any]] = []
            for path, group in level:
                for name, found in self.children(group):
                    here = f"{path}/{name}" if path else name
                    if isinstance(found, h5py.Group):
                        try:
                            address = _address(found)
                        except DAMAGE:
                            self.note(f"{text(here)}: damaged")
                            continue
                        if address in seen:
                            continue
                        seen.add(address)
                        below.append((here, found))
                    yield here, found
            level = below
            if depth == DEPTH_MAX and level:
                self.note(f"groups deeper than {DEPTH_MAX} were not looked at")

    def note(self, sentence: str) -> None:
        if sentence not in self.cut and len(self.cut) < 20:
            self.cut.append(sentence)

    def attribute(self, thing: Any, name: str) -> Any:
        """An attribute as JSON; None if absent, empty, too big or damaged."""
        return plain(self.raw_attribute(thing, name))

    def raw_attribute(self, thing: Any, name: str) -> Any:
        """An attribute as h5py gives it; None if absent, empty, too big or damaged."""
        try:
            if name not in thing.attrs or thing.attrs.get_id(name).get_storage_size() > VALUE_MAX_BYTES:
                return None
            value = thing.attrs[name]
        except DAMAGE:
            return None
        return None if isinstance(value, h5py.Empty) else value

    def attributes(self, thing: Any, most: int = 50) -> dict[str, Any]:
        """The attributes that say something, as JSON."""
        try:
            names = list(islice(thing.attrs, most))
        except DAMAGE:
            return {}
        return without_blanks({text(name): self.attribute(thing, name) for name in names})

    def array(self, dataset: Any, select: Any = ()) -> Any:
        """The values of a dataset that is small and lies in this file; None for any other."""
        try:
            if dataset.shape is None or not dataset.size or dataset.external or dataset.is_virtual:
                return None
            wanted = dataset.size if select == () else 1
            chunk = prod(dataset.chunks) if dataset.chunks else 0
            if wanted * dataset.dtype.itemsize > VALUE_MAX_BYTES or chunk * dataset.dtype.itemsize > CHUNK_MAX_BYTES:
                return None
            return dataset[select]
        except DAMAGE:
            return None  # a filter that is not installed, or damage

    def value(self, group: Any, name: str) -> Any:
        """The value of the dataset `name`, as JSON (an array of one is its element); None if there is none."""
        found = self.child(group, name)
        return plain(self.array(found)) if isinstance(found, h5py.Dataset) else None

    def moment(self, value: Any) -> Moment | None:
        """The time that a value names, in the zone of this file's instrument if it names none."""
        return parse(value, self.zone)

    def drawable(self, found: Any, name: str) -> arrays.Array | None:
        """A dataset of numbers as one to draw; None if it has none or they lie elsewhere."""
        if not isinstance(found, h5py.Dataset):
            return None
        try:
            if found.shape is None or found.external or found.is_virtual or found.dtype.kind not in "iufb":
                return None
            chunk_bytes = prod(found.chunks or (0,)) * found.dtype.itemsize
            packed = found.id.get_create_plist()
            foreign = any(255 < packed.get_filter(index)[0] not in OWN_FILTERS for index in range(packed.get_nfilters()))
            said = self.attribute(found, "units"), self.attribute(found, "calendar")
        except DAMAGE:
            return None

        def read(select: tuple[Any, ...]) -> Any:
            if chunk_bytes > DRAWN_CHUNK_MAX_BYTES:
                raise Unreadable(f"{text(name)} lies in chunks of {chunk_bytes:,} bytes; no preview unpacks more than {DRAWN_CHUNK_MAX_BYTES:,}.")
            if foreign:
                import hdf5plugin  # noqa: F401, PLC0415  the filters of detectors: loaded for those who use them
            return found[select]

        units, calendar = (value if isinstance(value, str) else None for value in said)
        return arrays.Array(text(name), found.shape, found.dtype, read, units, calendar or "standard")

    def shape_of(self, found: Any) -> dict[str, Any]:
        """Shape, type and units of a dataset, or where it lies."""
        if isinstance(found, Elsewhere):
            return {"in_other_file": str(found)}
        try:
            return without_blanks({"shape": list(found.shape or ()), "dtype": type_name(found.dtype), "units": self.attribute(found, "units")})
        except DAMAGE:
            return {"dtype": "unreadable"}


def _address(group: Any) -> Any:
    info = h5py.h5o.get_info(group.id)
    return (info.fileno, info.addr)


def _open(path: str) -> tuple[Any, str | None]:
    """The file, and a remark if it can be read only while its writer goes on."""
    try:
        return h5py.File(path, "r", locking=False), None
    except DAMAGE as error:
        reason = str(error)
    if "already open for" in reason:
        try:
            return h5py.File(path, "r", locking=False, swmr=True), "a program was still writing this file (SWMR)"
        except DAMAGE as error:
            reason = str(error)
    raise Unreadable(_in_words(reason))


def _in_words(reason: str) -> str:
    if cut := re.search(r"truncated file: eof = (\d+), sblock->base_addr = (\d+), stored_eof = (\d+)", reason):
        there, user_block, told = (int(number) for number in cut.groups())
        if told > LENGTH_MAX_BYTES:
            return f"The file's header is damaged: it announces {told:,} bytes, {there + user_block:,} are there."
        return cut_off(told, there + user_block)
    if "already open for write" in reason or "h5clear" in reason:
        return "The program that wrote the file never closed it, so HDF5 refuses to open it. The data may be whole; `h5clear -s` on a copy opens it."
    if "version" in reason:
        return f"The file was written by a newer HDF5, or its header is damaged. (HDF5 says: {_short(reason)})"
    return f"The file begins like HDF5, but its structure is damaged. (HDF5 says: {_short(reason)})"


def _short(reason: str) -> str:
    inner = re.search(r"\((.*)\)\s*$", reason, re.DOTALL)
    return text(inner.group(1) if inner else reason)[:200]


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of an HDF5 file. Raises `Unreadable`."""
    from archiver.formats import netcdf, nexus  # noqa: PLC0415  they build on this module

    file, remark = _open(source.path)
    with file:
        document = Document(file, source.zone)
        try:
            found, draw = nexus.read(document) or netcdf.read_hdf5(document) or _plain_hdf5(document)
        except DAMAGE as error:
            raise Unreadable(f"The file can be opened, but its structure is damaged. (HDF5 says: {_short(str(error))})") from None
        if remark:
            found.metadata["remark"] = remark
        if document.cut:
            found.metadata["cut"] = document.cut
        yield replace(found, metadata=bounded(found.metadata))
        if preview := draw():
            yield preview


def _plain_hdf5(document: Document) -> tuple[Reading, Callable[[], Preview | None]]:
    """An HDF5 file of no convention that we know: its root attributes and its tree; its largest array to see."""
    tree: list[dict[str, Any]] = []
    document.objects_left = OBJECTS_MAX  # looking for dimension scales has used some
    groups = datasets = 0
    largest: arrays.Array | None = None
    for path, found in document.walk(document.file):
        is_group = isinstance(found, h5py.Group)
        groups, datasets = groups + is_group, datasets + (not is_group)
        if len(tree) < TREE_MAX:
            tree.append({"path": f"/{text(path)}", **({"kind": "group"} if is_group else document.shape_of(found))})
        candidate = document.drawable(found, path)
        if candidate and candidate.is_drawable() and (largest is None or prod(candidate.shape) > prod(largest.shape)):
            largest = candidate
    if groups + datasets > TREE_MAX:
        document.note(f"tree: {TREE_MAX} of {groups + datasets} objects shown")
    attributes = document.attributes(document.file)
    title = next((attributes[key] for key in ("title", "Title", "TITLE") if isinstance(attributes.get(key), str)), None)
    said = without_blanks({"attributes": attributes, "groups": groups, "datasets": datasets, "tree": tree})
    return Reading("hdf5", title, None, said), lambda: arrays.preview(largest, []) if largest else None


def numbers(values: Any) -> Any:
    """The finite numbers in an array, flat; None if it holds none."""
    if values is None:
        return None
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        return None
    flat = array.ravel()
    flat = flat[np.isfinite(flat)]
    return flat if flat.size else None
