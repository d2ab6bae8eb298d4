"""Which dataset a file of an inbox belongs to: by folder, by a pattern on its path, or by a field in its metadata.

Law: the same path gives the same dataset and the same name in it, for ever; so a file is sent once, and a late one finds its dataset. What no
rule gives a dataset waits and says so. A name that the archiver would not take is changed in one way, told apart by a hash of the true one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from neve.errors import WrongUse
from neve.send.ready import Names

By = Literal["first-folder", "deepest-folder", "pattern", "field"]
RULES: dict[By, str] = {
    "first-folder": "each folder in the inbox is a dataset, with all below it",
    "deepest-folder": "each folder that holds files is a dataset, named after its path",
    "pattern": "a regular expression on the path below the inbox says it, by its group `dataset`",
    "field": "a field of the NeXus/HDF5 file says it; other files go by first-folder",
}
_MAX_BYTES = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file goes. `dataset`: its name; `name`: the file's path in it; `project`: where the rule says one, else that of the settings."""

    dataset: str
    name: bytes
    project: str | None = None


class Grouping(Protocol):
    """A rule. `needs_file`: whether the file itself is read, so that it is asked only once the file is complete."""

    needs_file: bool

    def place(self, relative: bytes, path: Path) -> Place | None:
        """The place of the file that stands at `relative`, raw bytes joined by "/" below the inbox; None where the rule gives none."""


def dataset_name(raw: bytes, tell_apart: bytes | None = None) -> str:
    """A folder's name as that of a dataset, which is 1 to 200 bytes of printable UTF-8 without slashes, a leading dot or spaces at the ends.

    What has to be changed for that ends in a hash of the true name; so does every name with `tell_apart`, in a hash of that.
    """
    text = raw.decode("utf-8", "replace").replace("\ufffd", "_")
    kept = "".join(letter if letter.isprintable() and letter not in "/\\" else "_" for letter in text).strip().lstrip(".").strip()
    if kept.encode() == raw and 1 <= len(raw) <= _MAX_BYTES and tell_apart is None:
        return kept
    suffix = "-" + hashlib.sha256(raw if tell_apart is None else tell_apart).hexdigest()[:8]
    return kept.encode()[: _MAX_BYTES - len(suffix)].decode("utf-8", "ignore").rstrip() + suffix


class ByFolder:
    """The first folder below the inbox, or the deepest. A file beside the folders is a dataset of its own, named without its ending.

    `signals`: the names of markers and manifests: `run42.done` and `run42.sha256` beside a folder or file `run42` go with it.
    """

    needs_file = False

    def __init__(self, signals: Names, is_folder: Callable[[bytes], bool], *, deepest: bool = False) -> None:
        self._signals, self._is_folder, self._deepest = signals, is_folder, deepest

    def place(self, relative: bytes, path: Path) -> Place | None:  # noqa: ARG002 - the path alone says it
        folder, _, name = relative.rpartition(b"/")
        of = self._signals.stem(name)
        if of and self._is_folder(folder + b"/" + of if folder else of) and (self._deepest or not folder):
            return Place(self._named(folder + b"/" + of if folder else of), name)
        if not folder:
            return Place(dataset_name(_without_ending(of or name)), name)
        if self._deepest:
            return Place(self._named(folder), name)
        first, _, rest = relative.partition(b"/")
        return Place(dataset_name(first), rest)

    @staticmethod
    def _named(folder: bytes) -> str:
        # The whole path, so that `a/run1` and `b/run1` stay two; where `_` makes two ways to read it, the hash keeps `a_b/c` and `a/b_c` two as well.
        return dataset_name(folder.replace(b"/", b"_"), folder if b"/" in folder and b"_" in folder else None)


class ByPattern:
    """A regular expression that the path below the inbox must match from its beginning: groups `dataset`, and if wanted `project` and `path`.

    Without a group `path` the file keeps its whole path below the inbox, so that two files never meet under one name.
    """

    needs_file = False

    def __init__(self, pattern: str) -> None:
        try:
            self._pattern = re.compile(os.fsencode(pattern), re.DOTALL)
        except re.error as error:
            raise WrongUse(f"{pattern!r} is no regular expression: {error}.", "Correct `pattern` in the settings.") from error
        if "dataset" not in self._pattern.groupindex:
            raise WrongUse(f"{pattern!r} has no group `dataset`.", r"Name what is the dataset: (?P<dataset>scan\d+).")

    def place(self, relative: bytes, path: Path) -> Place | None:  # noqa: ARG002 - the path alone says it
        found = self._pattern.match(relative)
        groups = found.groupdict() if found else {}
        if not groups.get("dataset"):
            return None
        project = groups.get("project")
        return Place(dataset_name(groups["dataset"]), groups.get("path") or relative, os.fsdecode(project) if project else None)


class ByField:
    """A field of the file's own metadata, as `/entry/entry_identifier`; `project_field` likewise. Files without it go by `otherwise`."""

    needs_file = True

    def __init__(self, field: str, project_field: str | None, otherwise: Grouping) -> None:
        if importlib.util.find_spec("h5py") is None:
            raise WrongUse(
                "Datasets by a field need h5py, which is not installed here.", "Install it (`pip install h5py`), or set `by` to another rule."
            )
        self._field, self._project_field, self._otherwise = field, project_field, otherwise

    def place(self, relative: bytes, path: Path) -> Place | None:
        values = read_fields(path, [self._field, *([self._project_field] if self._project_field else [])])
        if not values or not values[0]:
            return self._otherwise.place(relative, path)
        return Place(dataset_name(values[0].encode()), relative, (values[1] or None) if len(values) > 1 else None)


def read_fields(path: Path, fields: list[str]) -> list[str] | None:
    """The fields' (or attributes', as `/entry@title`) values as text, empty where one is missing; None where the file is no HDF5 that can be read."""
    import h5py  # noqa: PLC0415 - heavy, and only for this rule

    try:
        with h5py.File(path, "r", locking=False) as file:
            return [_value(file, field) for field in fields]
    except OSError:
        return None


def _value(file: Any, field: str) -> str:
    where, _, attribute = field.partition("@")
    try:
        found = file[where or "/"]
        value = found.attrs[attribute] if attribute else found[()]
    except (KeyError, OSError, AttributeError, TypeError):  # not there, a broken link, a group where a field was meant
        return ""
    while getattr(value, "shape", None):  # arrays of one, as NeXus has them
        if len(value) != 1:
            return ""
        value = value[0]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "").strip()


def _without_ending(name: bytes) -> bytes:
    stem, dot, ending = name.rpartition(b".")
    return stem if dot and stem.strip(b".") and 1 <= len(ending) <= 8 and ending.isalnum() else name
