"""What a format module is given and hands back, and how values from a file become JSON. Runs in the child process of `sandbox`.

A format module has `read(source)`, a generator: first a `Reading`, then, if there is something to see, a `Preview`, while the file
is open once. Whatever goes wrong after the first step costs the preview only.
Law: JSON-ready and bounded. No NaN, bytes or numpy objects; text is cleaned and cut; the whole stays below METADATA_MAX_BYTES,
and `cut` says in words what was left out.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

TEXT_MAX = 500  # characters of one text; a title longer than this is a document
ARRAY_MAX = 16  # elements of an attribute's array that are shown
METADATA_MAX_BYTES = 60_000  # of the metadata as ASCII JSON: a row of the ledger, not a copy of the file


@dataclass(frozen=True)
class Source:
    """The file to read, open as `descriptor`, and the `zone` of times that name none.

    By descriptor: the C libraries need no opinion on names that are not UTF-8, and relative links lead nowhere.
    """

    descriptor: int
    zone: tzinfo = UTC

    @property
    def path(self) -> str:
        return f"/dev/fd/{self.descriptor}"

    @property
    def size_bytes(self) -> int:
        return os.fstat(self.descriptor).st_size

    def open(self) -> BinaryIO:
        return Path(self.path).open("rb")


@dataclass(frozen=True)
class Reading:
    """What was understood of a file. `problem`: the file is damaged, yet this much could be read."""

    format: str
    title: str | None = None
    acquired_at: datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


class NotOfThisFormat(Exception):
    """Seen whole, the file is not what its beginning promised: no damage, only nothing that we know."""


class Unreadable(Exception):
    """The file cannot be read; the message is a sentence for a scientist."""


def text(value: str | bytes) -> str:
    """Text from a file: UTF-8, else Latin-1 (old instruments), without control characters, cut at TEXT_MAX characters."""
    # h5py hands undecodable bytes over as lone surrogates: back to bytes, then judged like any other bytes
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    raw = raw.split(b"\0", 1)[0]
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError:
        decoded = raw.decode("latin-1")
    decoded = "".join(c if c.isprintable() or c == "\n" else " " for c in decoded[: 4 * TEXT_MAX]).strip()
    return decoded if len(decoded) <= TEXT_MAX else decoded[: TEXT_MAX - 1] + "…"


def plain(value: Any) -> Any:  # noqa: PLR0911  one line per kind of value
    """A value as JSON knows it; None for what JSON cannot say (NaN, infinity, references, empty)."""
    if isinstance(value, str | bytes):
        return text(value)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        if value.size == 0 or value.size > ARRAY_MAX:
            return None if value.size == 0 else f"{value.dtype.name} array of {value.size} values"
        value = value.tolist()
        return plain(value[0]) if isinstance(value, list) and len(value) == 1 else plain(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value[:ARRAY_MAX]]
    if isinstance(value, complex | np.complexfloating):
        return str(value)
    return None


def cut_off(announced_bytes: int, there_bytes: int) -> str:
    """The sentence for a file that ends before its own header says so."""
    return (
        f"The file is cut off: its header announces {announced_bytes:,} bytes, {there_bytes:,} are there. "
        "It was probably copied before it was complete, or the transfer stopped."
    )


def without_blanks(record: dict[str, Any]) -> dict[str, Any]:
    """The record without members that say nothing (None, "", [], {})."""
    return {key: value for key, value in record.items() if value is not None and value not in ("", [], {})}


def type_name(dtype: np.dtype[Any]) -> str:
    """A dtype in the words of numpy's users: int32, float64, string, compound."""
    if dtype.names:
        return "compound"
    if dtype.subdtype:
        return type_name(dtype.subdtype[0])
    if dtype.kind in "SUO":
        return "string" if dtype.kind != "O" or dtype.metadata is None or dtype.metadata.get("vlen") in (str, bytes) else "variable length"
    return dtype.name


def bounded(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata, its largest lists and tables halved until all of it fits into METADATA_MAX_BYTES; `cut` lists how."""
    full: dict[str, int] = {}
    before = list(metadata.get("cut", []))
    shown: dict[str, int] = {}
    while len(json.dumps(metadata)) > METADATA_MAX_BYTES:
        holders = _holders(metadata, ())
        if not holders:  # a few members with very long texts
            return {key: _shortened(item) for key, item in metadata.items()}
        path, holder = max(holders, key=lambda found: len(json.dumps(found[1])))
        full.setdefault(path, len(holder))
        shown[path] = len(holder) // 2
        if isinstance(holder, list):
            del holder[shown[path] :]
        else:
            for key in list(holder)[shown[path] :]:
                del holder[key]
        metadata["cut"] = (before + [f"{place}: {count} of {full[place]} shown" for place, count in shown.items()])[:30]
    return metadata


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return f"{value[:80]}…" if isinstance(value, str) and len(value) > 80 else value


def _holders(value: Any, path: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Every list and table below the top that holds many things of a kind; the top level itself and records stay whole."""
    found: list[tuple[str, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        here = (*path, str(key))
        if isinstance(item, list | dict) and key != "cut":
            if len(item) > (1 if isinstance(item, list) else 20):  # a record (an entry, a variable) has at most 20 members; a table has more
                found.append((".".join(here), item))
            found += _holders(item, here)
    return found
