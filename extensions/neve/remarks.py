"""What people say of datasets: tags, comments, what they were made of; and looking at what is in one.

Law: the state lives on the server, beside the data; every member of the project sees it, and its history says who.
This module has none of its functions' names: importing it would put it in their place.
"""

from __future__ import annotations

from collections.abc import Iterable

from neve import records
from neve.client import connect
from neve.errors import WrongUse
from neve.wording import size_text, table_html


def tag(name: str, *tags: str, remove: str | Iterable[str] = (), url: str | None = None, token: str | None = None) -> tuple[str, ...]:
    """Give a dataset tags and take others from it; returns those that it has now. Without any, only tells them.

    Raises NotFound (with the nearest names), Ambiguous, NotAllowed, WrongUse (what cannot be a tag).
    """
    client = connect(url, token)
    dataset = client.find(name)
    without = [remove] if isinstance(remove, str) else list(remove)
    return client.tag(dataset.id, tags, without).tags if tags or without else dataset.tags


def comment(name: str, text: str, *, url: str | None = None, token: str | None = None) -> records.Comment:
    """Say something of a dataset, for all who may see it."""
    client = connect(url, token)
    return client.comment(client.find(name).id, text)


def comments(name: str, *, url: str | None = None, token: str | None = None) -> list[records.Comment]:
    """What people say of a dataset, oldest first."""
    client = connect(url, token)
    return client.comments(client.find(name).id)


def lineage(name: str, *, url: str | None = None, token: str | None = None) -> records.Lineage:
    """What a dataset was made of and what was made of it, as far as you may see.

    Raises NotFound (with the nearest names), Ambiguous."""
    client = connect(url, token)
    return client.lineage(client.find(name).id)


class Listing(list[records.File]):
    """A dataset's files, or some of them, in order of their paths."""

    def __repr__(self) -> str:
        return "\n".join("  ".join(row) for row in self._rows())

    def _repr_html_(self) -> str:
        total = size_text(sum(file.size_bytes for file in self))
        return table_html(f"{len(self)} file{'' if len(self) == 1 else 's'}, {total}", ("File", "Size", "Format", "State"), self._rows())

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [(file.path, size_text(file.size_bytes), file.format or "", "" if file.state == "received" else file.state) for file in self]


def ls(name: str, files: str | None = None, *, url: str | None = None, token: str | None = None) -> Listing:
    """A dataset's files; with `files`, those that match this pattern (`scan*.h5`)."""
    import fnmatch  # noqa: PLC0415 - only here

    if not name:
        raise WrongUse("No dataset is named.", "neve.catalog() lists datasets; neve.ls(name) the files of one.")
    client = connect(url, token)
    found = client.files(client.find(name).id)
    return Listing(file for file in found if files is None or fnmatch.fnmatchcase(file.path, files))
